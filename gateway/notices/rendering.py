"""The text of a notice in one language: the catalogue's words, with numbers as the language writes them.

What a catalogue does not translate stays English. Raises KeyError where the data lacks what a text says.
Babel is imported here and nowhere else, and this module only by who renders: it takes its time.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from gateway.notices.kind import NoticeKind

ENGLISH = "en"
_LINE_CHARS = 72
_CATALOGUES_KEPT = 64


@dataclass(frozen=True, slots=True)
class Rendered:
    """A notice as a person reads it; the body in lines of up to 72 characters."""

    subject: str
    body: str


def render(kind: NoticeKind, language: str, data: Mapping[str, Any], *, account: str) -> Rendered:
    """What `kind` says in `language` of `data` to the account named `account`."""
    catalogue = None if language == ENGLISH else read(kind.catalogues, language)
    values = {"account": account}
    for name, value in data.items():
        if name in kind.words:
            values[name] = _translated(catalogue, kind.words[name][value])
        elif isinstance(value, int):
            values[name] = format_decimal(value, locale=language)
        else:
            values[name] = str(value)
    paragraphs = [_translated(catalogue, one).format_map(values) for one in kind.body]
    body = "\n\n".join(textwrap.fill(one, _LINE_CHARS, break_long_words=False) for one in paragraphs)
    return Rendered(_translated(catalogue, kind.subject).format_map(values), f"{body}\n")


@lru_cache(_CATALOGUES_KEPT)
def read(folder: Path, language: str) -> Catalog:
    """The catalogue of a language. Raises OSError and `babel.messages.pofile.PoFileError`."""
    with (folder / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def _translated(catalogue: Catalog | None, text: str) -> str:
    found = None if catalogue is None else catalogue.get(text)
    if found is None or found.fuzzy or not isinstance(found.string, str):
        return text
    return found.string or text
