"""Secrets come from the file, the environment or a file of their own, and never show themselves."""

import copy
import pickle
from pathlib import Path

import pytest

from config import Secret, differences
from config.sections.upstreams import SmppUpstream
from tests.config.conftest import Faults, Loader

OPERATOR = "[upstream.a]\ntype = 'smpp'\nhost = 'smpp.example.org'\nsystem_id = 'gateway'\n"


def _password(load_text: Loader, line: str) -> Secret:
    """The password of the upstream with this line in its table."""
    upstream = load_text(OPERATOR + line).upstream["a"]
    assert isinstance(upstream, SmppUpstream)
    return upstream.password


def test_a_secret_is_read_in_place(load_text: Loader) -> None:
    assert _password(load_text, "password = 'abc'").reveal() == "abc"


def test_a_secret_is_read_from_the_environment(load_text: Loader) -> None:
    assert _password(load_text, "password_env = 'OPERATOR_PASSWORD'").reveal() == "s3cret"


def test_a_secret_is_read_from_a_file_without_its_line_end(load_text: Loader, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("päss wörd\n", encoding="utf-8")
    file.chmod(0o640)
    assert _password(load_text, "password_file = 'secret'").reveal() == "päss wörd"


def test_a_world_readable_secret_file_is_refused(faults_of: Faults, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("abc")
    file.chmod(0o604)
    assert faults_of(OPERATOR + "password_file = 'secret'") == [
        f"upstream.a.password_file: {file} is open to every user of this machine, run chmod o= {file}"
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"a\0b", b"\xff\xfe"])
def test_a_secret_file_without_one_line_of_text_is_refused(
    faults_of: Faults, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    assert faults_of(OPERATOR + "password_file = 'secret'")[0].startswith(
        f"upstream.a.password_file: {file} "
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "password_env = 'NOT_SET'",
            "password_env: the environment variable NOT_SET is not set, set it before the start",
        ),
        (
            "password_env = 'EMPTY'",
            "password_env: the environment variable EMPTY is not set, set it before the start",
        ),
        ("password_env = 3", "password_env: must be a text"),
        ("password = ''", "password: must not be empty"),
        ("", "password: missing, give password, password_env or password_file"),
        (
            "password = 'abc'\npassword_env = 'OPERATOR_PASSWORD'",
            "password_env: contradicts password, keep one of them",
        ),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_fault(faults_of: Faults, line: str, fault: str) -> None:
    assert faults_of(OPERATOR + line) == [f"upstream.a.{fault}"]


def test_a_missing_or_odd_secret_file_is_a_fault(faults_of: Faults) -> None:
    assert "cannot be read" in faults_of(OPERATOR + "password_file = 'nowhere'")[0]
    assert "is not a file" in faults_of(OPERATOR + "password_file = '.'")[0]


def test_no_rendering_of_settings_or_faults_shows_a_secret(load_text: Loader, faults_of: Faults) -> None:
    settings = load_text(OPERATOR + "password = 'hunter2'")
    for text in (repr(settings), str(settings), f"{settings.upstream['a']}", f"{settings}"):
        assert "hunter2" not in text
    assert "password=***" in repr(settings)
    assert "hunter2" not in "".join(faults_of(OPERATOR + "password = 'hunter2'\nwindo = 1"))


def test_a_secret_is_never_pickled() -> None:
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(Secret("abc"))
    with pytest.raises(TypeError, match="not serialised"):
        copy.copy(Secret("abc"))


def test_a_changed_secret_is_a_difference_that_a_reload_sees(load_text: Loader) -> None:
    old = load_text(OPERATOR + "password = 'abc'")
    new = load_text(OPERATOR + "password = 'abd'")
    assert differences(old, new) == ("upstream.a.password",)
    assert len({Secret("abc"), Secret("abc"), Secret("abd")}) == 2
