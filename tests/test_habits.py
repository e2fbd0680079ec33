"""Habits that hold themselves: each lint exception has its reason on its own line, in one form."""

import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("gateway", "smtp", "smpp", "policy", "config", "tests", "bench")
_EXCEPTION = re.compile(r"#\s*(?:noqa|type:\s*ignore|mypy:|ruff:)", re.IGNORECASE)
_WITH_REASON = re.compile(
    r"# (ruff: )?noqa: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)* - \S.*"
    r"|# type: ignore\[[a-z-]+(, [a-z-]+)*\]  # \S.*"
)


def exceptions(source: str) -> Iterator[tuple[int, str]]:
    """The comments that silence a linter, with their lines."""
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT and _EXCEPTION.search(token.string):
            yield token.start[0], token.string


def test_every_lint_exception_has_its_reason_on_its_line() -> None:
    found = [
        (f"{path.relative_to(ROOT)}:{line}", comment)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for line, comment in exceptions(path.read_text())
    ]
    assert len(found) > 100
    assert [one for one in found if not _WITH_REASON.fullmatch(one[1])] == []


@pytest.mark.parametrize(
    ("comment", "good"),
    [
        ("# noqa: BLE001 - the last line of defence", True),
        ("# noqa: N802, N803 - Twisted's names", True),
        ("# ruff: noqa: PT017 - a refusal is looked at", True),
        ("# type: ignore[arg-type]  # our own word", True),
        ("# noqa", False),
        ("# noqa: BLE001", False),
        ("# noqa: BLE001  the last line of defence", False),
        ("# type: ignore", False),
        ("# type: ignore[arg-type]", False),
        ("# type: ignore  # our own word", False),
        ("#type:ignore[arg-type]", False),
        ("# ruff: noqa", False),
    ],
)
def test_only_one_form_is_a_reason(comment: str, good: bool) -> None:
    assert [one for _, one in exceptions(f"x = 1  {comment}\n")] == [comment]
    assert bool(_WITH_REASON.fullmatch(comment)) is good
