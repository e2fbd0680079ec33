"""The way out: what the road may assume of an upstream, and what an upstream must guarantee.

`upstreams/` implements these; the road is written against them alone, so a fake in a test is an ordinary
class with the same methods.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from gateway.messages.model import Outcome, Work


class Links(Protocol):
    """What an upstream over links that come and go tells the road of each destination."""

    def ready(self, destination: str) -> None:
        """A link came up: what waits for it need not wait any longer."""
        ...

    def more(self, destination: str) -> None:
        """`concurrency` has grown."""
        ...


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

    async def start(self, links: Links) -> None:
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


class Upstreams(dict[str, Upstream]):
    """The ways out of this process, by their names."""
