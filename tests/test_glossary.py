"""The terms of docs/glossary.md: in order, each in a module that exists and uses it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_ROW = re.compile(r"\| ([^|]+) \| [^|]+ \| \[([\w./]+)\]\(\.\./\2\) \|")
LINES = (ROOT / "docs/glossary.md").read_text().partition("|---|---|---|\n")[2].splitlines()
TERMS = {row[1]: row[2] for row in map(_ROW.fullmatch, LINES) if row}


def test_every_line_is_a_term_once_in_the_order_of_the_alphabet() -> None:
    assert len(TERMS) == len(LINES) > 80
    assert list(TERMS) == sorted(TERMS, key=str.casefold)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_at_home_in_a_module_that_is_there(term: str) -> None:
    text = squeezed(TERMS[term] + (ROOT / TERMS[term]).read_text())
    for word in term.split(", "):
        assert squeezed(word) in text


def squeezed(text: str) -> str:
    """The text without what separates words: SenderName, sender_name and sender name are one."""
    return re.sub(r"[\s_]", "", text).casefold()
