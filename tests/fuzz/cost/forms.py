"""Inputs that grow: tokens of a grammar repeated, paired, left open, and nested. Deterministic."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.fuzz.cost.entry import KIB, Entry

Form = Literal["repeat", "open", "pair", "nest"]

_PAIRED_MAX_OCTETS = 64 * KIB
"""Pairs are many; a growth beyond linear shows well below this."""


@dataclass(frozen=True, slots=True)
class Case:
    """A way to grow an input of the entry: `octets(entry, n)` has n times the tokens."""

    entry: str
    form: Form
    tokens: tuple[bytes, ...]

    def octets(self, entry: Entry, count: int) -> bytes:
        """The input with `count` repetitions."""
        if self.form == "nest":
            opening, closing = self.tokens
            return entry.before + opening * count + closing * count + entry.after
        after = b"" if self.form == "open" else entry.after
        return entry.before + b"".join(self.tokens) * count + after

    def counts(self, entry: Entry, most_octets: int) -> Iterator[int]:
        """1, 10, 100 … and as many as `most_octets` hold."""
        room = max(0, most_octets - len(entry.before) - len(entry.after))
        most = max(1, room // max(1, sum(map(len, self.tokens))))
        count = 1
        while count < most:
            yield count
            count *= 10
        yield most

    def most_octets(self, entry: Entry) -> int:
        """How large the input of this case becomes at most."""
        return min(entry.reach_octets, _PAIRED_MAX_OCTETS) if self.form == "pair" else entry.reach_octets

    def __str__(self) -> str:
        """`nest '(' ')'`, cut to a readable length."""
        shown = (repr(token)[1:] for token in self.tokens)
        return f"{self.form} {' '.join(one if len(one) <= 40 else f'{one[:37]}…' for one in shown)}"


def single(entry: Entry) -> list[Case]:
    """Each token repeated and each pair nested: the cases that come first."""
    forms: tuple[Form, ...] = ("repeat", "open") if entry.after else ("repeat",)
    return [
        *(Case(entry.name, form, (token,)) for form in forms for token in entry.tokens),
        *(Case(entry.name, "nest", pair) for pair in entry.nested),
    ]


def pairs(entry: Entry) -> list[Case]:
    """Each token with each other one, in both orders."""
    return [
        Case(entry.name, "pair", (one, other))
        for one in entry.tokens
        for other in entry.tokens
        if one != other
    ]
