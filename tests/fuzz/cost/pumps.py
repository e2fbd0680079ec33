"""Texts that make a regular expression work: each of its repeats is pumped, and then disappointed.

Derived from the pattern itself, as `re` parses it. For a repeat, what stands before it is written once, what
it repeats is written again and again, and then comes what stands behind it, or a character that fits nowhere.
Of a set of characters several are tried, of alternatives all: where two of them read the same text, or a
repeat stands in a repeat, the engine tries the ways to divide it, and that is what the oracle is to see.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from re import _constants as code  # there is no public parser of patterns
from re import _parser as parser
from typing import Any

_FAVOURITES = 'a0 "-.,<@(\\\t:A9é\x00'
_FEW = 4
_UNBOUNDED = 8
"""A repeat of so many is worth pumping."""
_STRANGERS = ("", "\x00", "!", "\n", '"<>')
"""What may end the text."""


@dataclass(frozen=True, slots=True)
class Pump:
    """`before`, then `body` as often as wanted, then `after`."""

    before: str
    body: str
    after: str

    def text(self, characters: int) -> str:
        """As long as that, or little longer."""
        return self.before + self.body * max(1, characters // len(self.body)) + self.after


def pumps(pattern: re.Pattern[Any]) -> set[Pump]:
    """Every pump of the pattern."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    parsed = parser.parse(pattern.pattern, flags)
    found = {Pump(before, body, after) for before, body, after in _walk(list(parsed), "", "")}
    usual = Pump("", source[:1] or "a", "")
    return {one for one in found if one.body} or {usual}


def _walk(nodes: list[Any], before: str, after: str) -> Iterator[tuple[str, str, str]]:
    """The pumps of a sequence that stands between `before` and `after`."""
    for position, (kind, value) in enumerate(nodes):
        head = before + next(_samples(nodes[:position]), "")
        tail = next(_samples(nodes[position + 1 :]), "") + after
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            _least, most, inner = value
            if most >= _UNBOUNDED:
                for body in set(islice(_samples(list(inner)), 12)):
                    for end in {*_STRANGERS, tail, tail[:-1]}:
                        yield head, body, end
            yield from _walk(list(inner), head, tail)
        for inner_nodes in _inside(kind, value):
            yield from _walk(inner_nodes, head, tail)


def _inside(kind: Any, value: Any) -> Iterator[list[Any]]:
    """The sequences within a node that is no repeat."""
    if kind is code.SUBPATTERN:
        yield list(value[-1])
    elif kind is code.ATOMIC_GROUP:
        yield list(value)
    elif kind is code.BRANCH:
        yield from (list(one) for one in value[1])
    elif kind in (code.ASSERT, code.ASSERT_NOT):
        yield list(value[1])


def _samples(nodes: Iterable[Any]) -> Iterator[str]:
    """Texts that the sequence matches, more or less, the plainest first; at least one."""
    choices = [list(islice(_of(kind, value), _FEW)) or [""] for kind, value in nodes]
    yield from ("".join(parts) for parts in islice(product(*choices), 24))


def _of(kind: Any, value: Any) -> Iterator[str]:
    """Texts for one node."""
    if kind is code.LITERAL:
        yield chr(value)
    elif kind is code.ANY:
        yield from _FAVOURITES
    elif kind in (code.IN, code.NOT_LITERAL):
        yield from _of_set(value if kind is code.IN else [(code.NEGATE, None), (code.LITERAL, value)])
    elif kind is code.BRANCH:
        yield from (text for one in value[1] for text in islice(_samples(list(one)), 2))
    elif kind is code.SUBPATTERN:
        yield from _samples(list(value[-1]))
    elif kind is code.ATOMIC_GROUP:
        yield from _samples(list(value))
    elif kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
        least, most, inner = value
        for text in _samples(list(inner)):
            yield text * max(least, min(1, most))
    else:
        yield ""  # an anchor, a look around, a reference


def _of_set(members: list[Any]) -> Iterator[str]:
    """Characters of a set: the favourites that are in it, then one of each member."""
    single = re.compile(_set_source(members), re.DOTALL)
    yield from (sign for sign in _FAVOURITES if single.fullmatch(sign))
    for kind, value in members:
        if kind is code.LITERAL and single.fullmatch(chr(value)):
            yield chr(value)
        if kind is code.RANGE and single.fullmatch(chr(value[0])):
            yield chr(value[0])


_CATEGORIES = {
    code.CATEGORY_DIGIT: r"\d", code.CATEGORY_NOT_DIGIT: r"\D", code.CATEGORY_SPACE: r"\s",
    code.CATEGORY_NOT_SPACE: r"\S", code.CATEGORY_WORD: r"\w", code.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip


def _set_source(members: list[Any]) -> str:
    """The set as a pattern again."""
    parts = []
    for kind, value in members:
        if kind is code.NEGATE:
            parts.append("^")
        elif kind is code.LITERAL:
            parts.append(re.escape(chr(value)))
        elif kind is code.RANGE:
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        else:
            parts.append(_CATEGORIES[value])
    return f"[{''.join(parts)}]"
