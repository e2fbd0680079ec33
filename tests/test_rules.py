"""The rules of docs/rules.md: all, in order, each with tests that cite it, and in no text that users read."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from gateway import verticals
from gateway.cli.app import app
from gateway.http.describe import openapi
from gateway.http.describe.catalogue import about
from gateway.verticals import OPERATIONS

ROOT = Path(__file__).parents[1]
RULES = ROOT / "docs/rules.md"
PACKAGES = ("gateway", "smtp", "smpp", "policy", "config")
KINDS = (".py", ".md", ".toml", ".yml", ".json")
NOT_BUILT = "not built yet"
# Not an octet of quoted-printable or percent-encoding (=A9, %A9), and nothing inside a longer word.
_ID = r"(?<![\w%=])[RA][1-9][0-9]{0,2}(?!\w)"
_RANGE = re.compile(rf"({_ID})(?:[–-]({_ID}))?")
_ROW = re.compile(r"\| ([RA][0-9]+) \| ([^|]+) \| ([^|]+) \|")
_SHOWN = re.compile(r"\[([^]]+)\]\(\.\./(tests/[^)]+\.py)\)")


def cited(text: str) -> set[str]:
    """The ids in a text; a range (R2–R6) names all that it spans."""
    found = set()
    for first, last in _RANGE.findall(text):
        ends = int(first[1:]), int((last or first)[1:])
        found |= {f"{first[0]}{number}" for number in range(ends[0], ends[1] + 1)}
    return found


def rows() -> dict[str, str]:
    """What stands in the last column, by id."""
    return {row[1]: row[3] for row in map(_ROW.fullmatch, RULES.read_text().splitlines()) if row}


BUILT = {rule: shown for rule, shown in rows().items() if shown != NOT_BUILT}


def files() -> Iterator[Path]:
    """Everything that may cite a rule."""
    for folder in (*PACKAGES, "tests", "bench", "deploy", "docs"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in KINDS)
    yield from (path for path in ROOT.iterdir() if path.suffix in KINDS)


def test_every_rule_stands_there_once_and_in_order() -> None:
    lines = [line for line in RULES.read_text().splitlines() if re.match(r"\| [RA][0-9]", line)]
    ids = [row[1] for row in map(_ROW.fullmatch, lines) if row]
    assert len(ids) == len(lines)
    assert ids == [*(f"R{number}" for number in range(1, 102)), *(f"A{number}" for number in range(1, 8))]


def test_every_id_that_is_cited_is_a_rule() -> None:
    known = set(rows())
    strange = {str(path.relative_to(ROOT)): cited(path.read_text()) - known for path in files()}
    assert {path: ids for path, ids in strange.items() if ids} == {}


@pytest.mark.parametrize("rule", BUILT)
def test_a_rule_that_is_built_is_cited_by_each_test_that_shows_it(rule: str) -> None:
    shown, semicolon, missing = BUILT[rule].partition("; missing: ")
    assert bool(semicolon) == bool(missing)
    tests = _SHOWN.findall(shown)
    assert ", ".join(f"[{name}](../tests/{name}.py)" for name, _ in tests) == shown
    for _, path in tests:
        assert rule in cited((ROOT / path).read_text()), path


def help_texts(command: object) -> Iterator[str]:
    """What `--help` says of a command and of all below it."""
    yield " ".join(str(text) for text in (getattr(command, "help", ""), getattr(command, "epilog", "")))
    yield from (str(getattr(one, "help", "")) for one in getattr(command, "params", []))
    if isinstance(command, TyperGroup):
        for one in command.commands.values():
            yield from help_texts(one)


def said(source: str) -> Iterator[str]:
    """The literal texts of a module that are no docstrings."""
    tree = ast.parse(source)
    docstrings = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_id_stands_in_what_users_read() -> None:
    texts = [json.dumps(openapi.document(about(OPERATIONS), server="/")), repr(verticals.KINDS)]
    commands = list(help_texts(get_command(app)))
    assert len(commands) > 100
    for folder in PACKAGES:
        for path in (ROOT / folder).rglob("*.py"):
            texts += said(path.read_text())
    assert [text for text in (*texts, *commands) if cited(text)] == []
