"""What the road tells whoever measures it; `gateway.observe` turns these calls into metrics and log lines."""

from gateway.messages.model import Message, Outcome, Work
from gateway.messages.settle.settlement import Settlement


class Observer:
    """Does nothing; subclasses count. Calls come on the event loop and must be cheap."""

    def accepted(self, message: Message, seconds: float) -> None:
        """`message` is durable, `seconds` after it came in."""

    def refused(self, channel: str, ingress: str, reason: str) -> None:
        """A submission was refused; `reason` is from a bounded set."""

    def attempted(self, work: Work, settlement: Settlement, outcome: Outcome) -> None:
        """An attempt for one delivery ended in `outcome`."""

    def receipted(self, upstream: str, status: str, seconds: float) -> None:
        """Receipts settled a delivery `seconds` after its message was accepted."""

    def auth_failed(self, ingress: str, reason: str) -> None:
        """A login was refused; `reason` is from a bounded set."""

    def connection_refused(self, ingress: str, reason: str) -> None:
        """A connection was turned away, or closed for another; `reason` is from a bounded set."""

    def lease_lost(self) -> None:
        """This process stood still until its lease was another's."""
