"""Children of metrics by their label values: looked up once, bound for ever, never more than so many.

A label lookup costs more than the count itself, so the hot path finds its child in a dictionary. The first
use of a combination makes the child. What is no plain word (an address, a text) and what comes when there are
too many combinations is counted under `other`: no input can make a metric grow without bound (A6), nor put
personal data into a label.
"""

import re
from typing import Generic, Protocol, TypeVar

OTHER = "other"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class Family(Protocol[C_co]):
    """A metric with labels (prometheus_client's Counter, Gauge, Histogram)."""

    def labels(self, *labelvalues: str) -> C_co:
        """The child with these label values."""
        ...


class Children(dict[tuple[str, ...], C], Generic[C]):
    """`children[a, b]` is the child with the label values a and b; at most `limit` and one more are made."""

    def __init__(self, family: Family[C], *, limit: int = 200) -> None:
        super().__init__()
        self._family = family
        self._limit = limit

    def __missing__(self, values: tuple[str, ...]) -> C:
        bounded = tuple(word(value) for value in values)
        if bounded != values:
            return self[bounded]  # not kept under `values`: those may be anything
        if len(self) >= self._limit:
            return self._family.labels(*(OTHER for _ in values))
        child = self[values] = self._family.labels(*bounded)
        return child


def word(value: str) -> str:
    """`value` if it is a plain word, else `other`."""
    return value if _WORD.fullmatch(value) else OTHER
