"""Where time comes from: the port, and the machine's own clocks."""

import time
from functools import partial
from typing import Protocol

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux: it goes on while suspended


class Clock(Protocol):
    """Where time comes from; tests move it by hand."""

    def now_ms(self) -> int:
        """Wall-clock time in epoch milliseconds, UTC."""
        ...

    def monotonic_s(self) -> float:
        """A clock that never jumps and never stands still, in seconds, for durations and deadlines."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(partial(time.clock_gettime, _ELAPSED))  # asked several times for each message
