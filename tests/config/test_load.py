"""A file that cannot be read or parsed is answered with its place."""

from pathlib import Path

import pytest

from config import ConfigError, Settings, differences, load
from tests.config.conftest import Faults, Loader


def _fault(path: Path) -> str:
    """The one fault of a file."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    (fault,) = caught.value.faults
    assert str(caught.value).startswith(f"{path}: 1 fault")
    return str(fault)


def test_broken_toml_is_named_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[smtp]\nport 2525\n")
    assert _fault(path) == f"{path}:2:6: Expected '=' after a key in a key/value pair"


def test_toml_that_breaks_off_is_named_with_its_last_place(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[smtp]\nhost = """abc')
    assert _fault(path).startswith(f"{path}:2:14: Unterminated string")


def test_a_key_written_twice_is_a_fault_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[smtp]\nport = 1\nport = 2\n")
    assert _fault(path).startswith(f"{path}:3:")


def test_a_file_that_is_not_utf_8_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"[server]\nname = 'a\xff'\n")
    assert _fault(path) == f"{path}:2:10: the octet 0xff is not UTF-8, save the file as UTF-8"


def test_a_missing_file_or_a_folder_is_a_fault_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "gateway.toml"
    assert _fault(missing) == f"{missing}: cannot be read (No such file or directory), is the path right?"
    assert _fault(tmp_path) == f"{tmp_path}: cannot be read (Is a directory), is the path right?"


def test_toml_nested_too_deeply_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("a = " + "[" * 5000 + "]" * 5000)
    assert _fault(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n" + "a." * 1001 + "b = 1", ":2:1: More than 1000 dots"),
        ("#" * 1_048_577, "is larger than 1048576 octets"),
    ],
    ids=["dots", "size"],
)
def test_what_would_take_the_reader_minutes_is_a_fault(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    assert says in _fault(path)


def test_a_byte_order_mark_at_the_start_is_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xef\xbb\xbf[smtp]\nport = 25\n")
    assert load(path).smtp.port == 25


def test_a_relative_sqlite_url_starts_at_the_folder_of_the_file(load_text: Loader, tmp_path: Path) -> None:
    assert load_text("[store]\nurl = 'sqlite:x/y.db'").store.sqlite_path == tmp_path / "x" / "y.db"
    assert load_text("[store]\nurl = 'sqlite:/srv/y.db'").store.sqlite_path == Path("/srv/y.db")


@pytest.mark.parametrize("url", ["sqlite:", "sqlite::memory:", "sqlite:var/", "sqlite:a.db?mode=ro"])
def test_a_sqlite_url_without_a_plain_file_is_refused(faults_of: Faults, url: str) -> None:
    assert faults_of(f"[store]\nurl = '{url}'") == [
        'store.url: names no database file, write "sqlite:var/gateway.db"'
    ]


def test_a_password_in_a_postgresql_url_moves_out_of_it(load_text: Loader) -> None:
    store = load_text("[store]\nurl = 'postgresql://gw:p%40ss@db.example.org:5433/gateway'").store
    assert store.url == "postgresql://gw@db.example.org:5433/gateway"
    assert store.password is not None
    assert store.password.reveal() == "p@ss"
    assert store.sqlite_path is None


def test_two_passwords_for_postgresql_contradict_each_other(faults_of: Faults) -> None:
    faults = faults_of("[store]\nurl = 'postgresql://gw:a@db/gateway'\npassword = 'b'")
    assert faults == ["store.password: contradicts the password in store.url, keep one of them"]


def test_a_postgresql_url_that_is_none_is_a_fault(faults_of: Faults) -> None:
    assert faults_of("[store]\nurl = 'postgresql://db:port/x'")[0].startswith("store.url: is not a URL")


def test_differences_are_key_paths_in_the_order_of_the_schema(load_text: Loader) -> None:
    old = load_text("")
    new = load_text("[log]\nlevel = 'debug'\n[smtp]\nport = 25\n[upstream.out]\ntype = 'mx'")
    assert differences(old, old) == ()
    assert differences(old, new) == (
        "smtp.port", "mail.route", "upstream.sandbox_mail", "upstream.out", "log.level"
    )  # fmt: skip


def test_settings_built_in_code_are_complete_too() -> None:
    settings = Settings()
    assert [route.upstream for route in settings.mail.route] == ["sandbox_mail"]
    assert [route.upstream for route in settings.sms.route] == ["sandbox_sms"]
    assert list(settings.upstreams_of("sms")) == ["sandbox_sms"]
