"""Identifiers: 26 characters, sortable by time (the ULID layout: 48 bits of milliseconds, 80 random bits).

Because an id begins with its time, tables keyed by it are clustered by time: retention deletes a range and
PostgreSQL can partition by it. Ids are unguessable enough to be queue ids, never secrets.
"""

import os
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
ID_LENGTH = 26
_MIN_RANDOM = "0" * 16
_POOL_OCTETS = 4096


def _base32(value: int, characters: int) -> str:
    """`value` in base 32 with exactly `characters` (even) digits, two digits a step."""
    digits = []
    for _ in range(characters // 2):
        digits.append(_PAIRS[value & 0x3FF])
        value >>= 10
    return "".join(reversed(digits))


class IdFactory:
    """Makes ids that also sort in the order they were made within one process."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._pool = b""
        self._used = 0
        self._last_ms = -1
        self._prefix = ""
        self._random = 0

    def new(self, now_ms: int) -> str:
        """A new id for the time `now_ms` (epoch milliseconds, UTC).

        Within one millisecond (or after a step back of the clock) the random part of the last id is counted
        up instead, so the order of making is kept.
        """
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._prefix = _base32(now_ms, 10)
            # The top bit stays clear, so counting up within a millisecond cannot overflow 80 bits.
            self._random = int.from_bytes(self._take(10)) >> 1
        else:
            self._random += 1 + self._take(1)[0]
        return self._prefix + _base32(self._random, 16)

    def _take(self, octets: int) -> bytes:
        """Random octets, each used once; asked of the system a pool at a time, since each call costs."""
        start = self._used
        self._used += octets
        if self._used > len(self._pool):
            self._pool = self._random_bytes(_POOL_OCTETS)
            start, self._used = 0, octets
        return self._pool[start : self._used]


def id_floor(at_ms: int) -> str:
    """The smallest id of the millisecond `at_ms`: `id < id_floor(t)` means made before t."""
    return _base32(max(0, at_ms), 10) + _MIN_RANDOM


def is_id(text: str) -> bool:
    """Whether `text` has the shape of an id (any other text is simply not found)."""
    return len(text) == ID_LENGTH and all(c in _ALPHABET for c in text)
