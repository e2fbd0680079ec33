"""What the clients know: what they asked for, and what they were told. A token names each message."""

from collections import Counter
from dataclasses import dataclass, field

from tests.crash.fates import Wanted


class Refused(Exception):
    """The gateway said no for good: the message must never be stored or delivered. The reason is its text."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that a client wants to be sent."""

    token: str
    account: str
    channel: str
    wanted: tuple[Wanted, ...]
    keyed: bool = False
    parts: int = 1
    reports: bool = True
    """Whether a failure is to be told by a DSN (RFC 3461 NOTIFY)."""
    receipt: bool = False
    """Whether a receipt is to be told over SMPP."""
    validity_s: int | None = None
    delay_s: float | None = None
    """To be sent so much later."""


@dataclass
class Tally:
    """Tokens by how they ended. `acked` maps a token to the id it was given."""

    sent: dict[str, Sent] = field(default_factory=dict)
    acked: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    """What had to be asked again under its key, because a try got no answer: that one may come late."""
    due_s: dict[str, float] = field(default_factory=dict)
    """Not to be sent before this time of the harness's clock."""
    cancelled: dict[str, bool] = field(default_factory=dict)
    """Whether a cancellation was granted."""
    receipts: dict[str, Counter[str]] = field(default_factory=dict)
    """Receipts told over SMPP: by message id, states with their counts."""
    webhooks: dict[str, Counter[str]] = field(default_factory=dict)
    """What webhooks told: by event id, the ids of the deliveries with their copies."""

    def note_receipt(self, message_id: str, state: str) -> None:
        """A client was told that its message ended so."""
        self.receipts.setdefault(message_id, Counter())[state] += 1

    def note_webhook(self, event_id: str, delivery_id: str) -> None:
        """A webhook was told of this event."""
        self.webhooks.setdefault(event_id, Counter())[delivery_id] += 1
