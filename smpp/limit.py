"""How SMSCs limit what an ESME submits, for the simulator and for tests. Pure: times are passed in.

SMPP v3.4 says only that there may be a limit (section 5.1.3, ESME_RTHROTTLED). Two ways are usual: messages
are spaced, or counted in each second of the clock.
"""

import math
from typing import Final, Protocol

_ROUNDING: Final = 1e-9


class Limit(Protocol):
    """A limit on submit_sm."""

    def take(self, now: float) -> bool:
        """Whether one more is taken at `now`; what is not taken does not count."""
        ...


class Spaced:
    """A leaky bucket: `per_s` run out of it, and it holds `burst`."""

    def __init__(self, per_s: float, *, burst: int = 1) -> None:
        self._per_s, self._burst = per_s, burst
        self._level, self._at = 0.0, 0.0

    def take(self, now: float) -> bool:
        """See `Limit`."""
        self._level = max(0.0, self._level - (now - self._at) * self._per_s)
        self._at = now
        if self._level > self._burst - 1 + _ROUNDING:
            return False
        self._level += 1
        return True


class Counted:
    """At most `per_s` in each second of the clock."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._second, self._count = -1, 0

    def take(self, now: float) -> bool:
        """See `Limit`."""
        second = math.floor(now)
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= self._per_s
