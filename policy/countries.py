"""What countries allow as the sender of an SMS: a table, as data (R25).

The table that is shipped is `policy/data/countries.toml`; `parse` reads its text, and an operator's own text
in the same form is laid over it with `over`. Reading files is the caller's.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from config import toml

E = TypeVar("E", bound=StrEnum)


class Names(StrEnum):
    """How a country's operators treat alphanumeric senders."""

    FREE = "free"
    """They are shown as submitted."""
    REGISTRATION = "registration"
    """Only names registered with the operators are shown."""
    NOT_ALLOWED = "not_allowed"
    """They are replaced or refused."""


class Confidence(StrEnum):
    """How sure an entry is."""

    SURE = "sure"
    LESS_SURE = "less_sure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """One entry: the rule, how sure it is, and the day it was last looked at."""

    names: Names
    confidence: Confidence
    as_of: date


@dataclass(frozen=True, slots=True)
class CountryTable:
    """Entries by country code (ISO 3166-1); a country without one counts as free: delivery comes first."""

    entries: Mapping[str, Country]

    def of(self, country: str) -> Country | None:
        """The entry of a country, or None."""
        return self.entries.get(country)

    def over(self, other: "CountryTable") -> "CountryTable":
        """This table laid over another: its entries win."""
        return CountryTable({**other.entries, **self.entries})


class CountryTableError(ValueError):
    """A table's text that cannot be used; the message has a line per fault."""


def parse(text: str) -> CountryTable:
    """The table in a text of the form of `policy/data/countries.toml`; `CountryTableError` otherwise."""
    try:
        data = toml.parse(text)
    except tomllib.TOMLDecodeError as error:
        raise CountryTableError(str(error)) from None
    entries: dict[str, Country] = {}
    faults: list[str] = []
    for code, row in data.items():
        if not re.fullmatch(r"[A-Z]{2}", code):
            faults.append(f"{code}: is no country code, write two capital letters such as CH")
            continue
        try:
            entries[code] = _entry(row)
        except ValueError as error:
            faults.append(f"{code}: {error}")
    if faults:
        raise CountryTableError("\n".join(faults))
    return CountryTable(entries)


def _entry(row: Any) -> Country:
    """One entry; a ValueError says what is wrong with it."""
    if not isinstance(row, dict) or set(row) != {"names", "confidence", "as_of"}:
        raise ValueError("needs names, confidence and as_of, and nothing else")
    as_of = row["as_of"]
    if type(as_of) is not date:
        raise ValueError("as_of must be a date such as 2026-11-01")
    return Country(
        names=_choice(Names, row["names"]), confidence=_choice(Confidence, row["confidence"]), as_of=as_of
    )


def _choice(kinds: type[E], value: Any) -> E:
    """The member of an enumeration with this value; a ValueError lists them all."""
    for kind in kinds:
        if kind.value == value:
            return kind
    raise ValueError(f"{value!r} is not one of {', '.join(kind.value for kind in kinds)}")
