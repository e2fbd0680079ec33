"""Identifiers: 26 characters, sortable by time (the ULID layout: 48 bits of milliseconds, 80 random bits).

Because an id begins with its time, tables keyed by it are clustered by time: retention deletes a range and
PostgreSQL can partition by it. Ids are unguessable enough to be queue ids, never secrets.
"""

import os
from collections.abc import Callable
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
ID_LENGTH = 26
_MIN_RANDOM = "0" * 16
_POOL_OCTETS = 4096
_TAIL_MAX = (1 << 40) - 257  # what may still be counted up; the next millisecond is borrowed beyond it


def _base32(value: int, characters: int) -> str:
    """`value` in base 32 with exactly `characters` (even) digits, two digits a step."""
    digits = [_PAIRS[value >> shift & 0x3FF] for shift in range(0, 5 * characters, 10)]
    return "".join(reversed(digits))


def _eight_digits(value: int) -> str:
    """The same for 40 bits: this and the next are what every id costs."""
    pairs = _PAIRS
    return pairs[value >> 30] + pairs[value >> 20 & 0x3FF] + pairs[value >> 10 & 0x3FF] + pairs[value & 0x3FF]


def _time_digits(ms: int) -> str:
    """The ten digits of a time, of which six stay the same for a quarter of an hour."""
    return _slow_digits(ms >> 20) + _PAIRS[ms >> 10 & 0x3FF] + _PAIRS[ms & 0x3FF]


@lru_cache(maxsize=8)
def _slow_digits(value: int) -> str:
    return _base32(value, 6)


class IdFactory:
    """Makes ids that also sort in the order they were made within one process."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._pool = b""
        self._used = 0
        self._last_ms = -1
        self._head = ""
        self._tail = 0

    def new(self, now_ms: int) -> str:
        """A new id for the time `now_ms` (epoch milliseconds, UTC).

        Within one millisecond (or after a step back of the clock) the lower half of the random part of the
        last id is counted up instead, so the order of making is kept.
        """
        if now_ms > self._last_ms or self._tail > _TAIL_MAX:
            self._last_ms = max(now_ms, self._last_ms + 1) if self._tail > _TAIL_MAX else now_ms
            octets = self._take(10)
            self._head = _time_digits(self._last_ms) + _eight_digits(int.from_bytes(octets[:5]))
            self._tail = int.from_bytes(octets[5:]) >> 1
        else:
            self._tail += 1 + self._take(1)[0]
        return self._head + _eight_digits(self._tail)

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
