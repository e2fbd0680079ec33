"""The seams of the gateway: what each part may assume of the others, and must guarantee to them.

Adapters (`upstreams/`, `store/`) implement these; the road (`messages/`) is written against them alone, so a
fake in a test is an ordinary class with the same methods.
"""

import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Protocol

from gateway.messages.model import Outcome, Work

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


class Upstream(Protocol):
    """A way out of the gateway: an MX, a smarthost, an SMPP operator, a sandbox.

    The caller has made the work durable and holds it; it has at most `concurrency` calls of `deliver` per
    destination under way at once. `deliver` is a coroutine function, or a function that returns a future. It
    gives exactly one outcome per recipient of the work, in order, and never raises for anything the other
    side does: an answer that did not come is `Unknown`, a link that is down is `Deferred`. It may wait (for a
    window, a rate), but never for ever.
    """

    name: str
    recipients_per_work: int
    """How many recipients of one message it takes in one go (1 for SMS)."""

    @property
    def concurrency(self) -> int:
        """How many works of one destination may be under way at once; it may change."""
        ...

    @property
    def serving(self) -> bool:
        """Whether this process serves it: False while the binds it needs are leased to another one."""
        ...

    def destination(self, address: str) -> str:
        """The queue that `address` waits in: what fails together belongs to one destination."""
        ...

    async def start(self) -> None:
        """Opens what lives as long as the daemon (binds, pools). Must not wait for the other side."""
        ...

    def deliver(self, work: Work) -> Awaitable[Sequence[Outcome]]:
        """One attempt for every recipient of `work`."""
        ...

    def withdraw(self) -> None:
        """The process is about to stop: attempts of which the other side knows nothing yet are cancelled, or
        end as deferred, at once; those that it may have taken go on.
        """
        ...

    async def stop(self, drain_s: float) -> None:
        """Ends politely within `drain_s` seconds; deliveries under way get their outcomes first."""
        ...


class SmsUpstream(Upstream, Protocol):
    """An upstream for SMS: it also knows how its SMSC cuts a text, which decides the price."""

    names: bool
    """Whether it takes alphanumeric sources at all (R25)."""

    def segments(self, text: str) -> int:
        """How many segments `text` becomes. Raises smpp.text.TextError."""
        ...
