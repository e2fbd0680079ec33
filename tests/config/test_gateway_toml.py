"""The gateway.toml at the root is the demo, and documents every key of the schema with its default."""

import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from config import Settings, from_mapping, load
from config.kinds import key_name
from config.sections.listeners import SmtpTrusted
from config.sections.messages import MailRoute, SmsRoute
from config.sections.upstreams import Upstream

FILE = Path(__file__).parents[2] / "gateway.toml"
KEY_LINE = re.compile(r"#?(?P<key>[a-z][a-z0-9_]*) = (?P<value>\"[^\"]*\"|\[[^]]*\]|\S+)\s+# (?P<text>\S.+)")
ENV = {"DB_PASSWORD": "abc", "RELAY_PASSWORD": "abc"}
# Keys without a default, or without a meaningful one, are shown with an example; the rest is the demo's.
EXAMPLES = {"host", "system_id", "ca_file", "username", "password", "countries_file"}
DEMO = {
    "smtp.plain_auth_on_loopback": True,
    "log.format": "console",
    "sender_name.fallback_number": "+447700900100",
    "notices.from_": "Gateway <notices@demo.example>",
}


@pytest.fixture
def uncommented(tmp_path: Path) -> Settings:
    """The settings when every commented key and section is put in force."""
    text = re.sub(r"(?m)^#(?=\[|[a-z][a-z0-9_]* = )", "", FILE.read_text(encoding="utf-8"))
    copy = tmp_path / "gateway.toml"
    copy.write_text(text, encoding="utf-8")
    for name in ("ca.pem", "countries.toml"):
        (tmp_path / name).touch()
    secret = tmp_path / "operator_a.secret"
    secret.write_text("abc")
    secret.chmod(0o600)
    return load(copy, env=ENV)


def test_the_file_as_it_stands_is_the_demo_on_loopback() -> None:
    settings = load(FILE, env={})
    assert settings.sandbox
    assert settings.smtp.plain_auth_on_loopback
    assert settings.server.data_dir == FILE.parent / "var"


def test_every_key_of_the_schema_is_there_with_its_default(uncommented: Settings, tmp_path: Path) -> None:
    defaults = from_mapping({}, folder=tmp_path)
    seen = {"upstream"}
    for section in fields(Settings):
        if section.name == "upstream":
            continue
        seen.add(section.name)
        _compare(section.name, getattr(defaults, section.name), getattr(uncommented, section.name))
    assert seen == {f.name for f in fields(Settings)}


def test_every_written_key_is_the_schemas_and_every_schema_key_is_written(uncommented: Settings) -> None:
    written = _written_keys()
    for name, kind in [("", Settings), *_sections()]:
        known = {key_name(f.name) for f in fields(kind)}
        plain = {
            re.sub(r"_(env|file)$", "", key) if key.startswith("password") else key for key in written[name]
        }
        assert plain - _subtables(kind) == known - _subtables(kind), name


@pytest.mark.parametrize("kind", get_args(Upstream), ids=lambda kind: kind.__name__)
def test_every_type_of_upstream_is_shown_with_its_defaults(uncommented: Settings, kind: type) -> None:
    (shown,) = [upstream for upstream in uncommented.upstream.values() if type(upstream) is kind]
    for spec in fields(kind):
        if spec.default is not MISSING and spec.name not in EXAMPLES:
            assert getattr(shown, spec.name) == spec.default, spec.name


def test_every_key_is_explained_on_its_line() -> None:
    for line in FILE.read_text(encoding="utf-8").splitlines():
        assert len(line) <= 118, line
        if re.match(r"#?[a-z][a-z0-9_]* =", line):
            assert KEY_LINE.fullmatch(line), line


def _compare(path: str, default: Any, shown: Any) -> None:
    """Every value under one section equals its default, save the examples and the demo's."""
    for spec in fields(default):
        here = f"{path}.{spec.name}"
        a, b = getattr(default, spec.name), getattr(shown, spec.name)
        if is_dataclass(a):
            _compare(here, a, b)
        elif here in DEMO:
            assert (b, a != b) == (DEMO[here], True), here
        elif here == "smtp.trusted":  # an example, like the routes
            assert (a, len(b)) == ((), 1)
        elif spec.name not in EXAMPLES or path in ("smtp", "http", "metrics", "smpp"):
            assert b == a, here


def _written_keys() -> dict[str, set[str]]:
    """The keys written under each section name, commented or not."""
    found: dict[str, set[str]] = {"": set()}
    section = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if header := re.match(r"#?\[\[?([a-z_.]+)\]\]?$", line):
            section = header[1]
            found[section] = set()
            parent, _, child = section.rpartition(".")
            found.setdefault(parent, set()).add(child)
        elif key := KEY_LINE.fullmatch(line):
            found[section].add(key["key"])
    return found


def _sections() -> list[tuple[str, type]]:
    """The section names of the file with their schema classes."""
    hints = get_type_hints(Settings)
    plain = [(f.name, hints[f.name]) for f in fields(Settings) if f.name != "upstream"]
    upstreams = _parse_upstream_types()
    return [
        *plain,
        ("smtp.trusted", SmtpTrusted),
        ("mail.route", MailRoute),
        ("sms.route", SmsRoute),
        *upstreams,
    ]


def _parse_upstream_types() -> list[tuple[str, type]]:
    """The names of the upstreams shown, with the class of their type."""
    by_type = {get_args(get_type_hints(kind)["type"])[0]: kind for kind in get_args(Upstream)}
    text = re.sub(r"(?m)^#(?=\[|[a-z][a-z0-9_]* = )", "", FILE.read_text(encoding="utf-8"))
    pairs = re.findall(r'\[(upstream\.[a-z_]+)\]\ntype = "([a-z-]+)"', text)
    return [(name, by_type[kind]) for name, kind in pairs]


def _subtables(kind: type) -> set[str]:
    """The keys of a class that are tables of their own in the file."""
    names = {"route", "retry"} if kind.__name__ in ("Mail", "Sms") else set()
    names |= {"trusted"} if kind.__name__ == "Smtp" else set()
    return names | ({"upstream", ""} if kind is Settings else set())
