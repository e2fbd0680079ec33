"""The kinds of events that happen to messages."""

from typing import Final


class EventKind:
    """Their names. `message.accepted` is not a row: it is the message's own first line."""

    ACCEPTED: Final = "message.accepted"
    SUBMITTED: Final = "message.submitted"  # an SMSC took every part
    DELIVERED: Final = "message.delivered"
    DEFERRED: Final = "message.deferred"
    FAILED: Final = "message.failed"
    UNKNOWN: Final = "message.unknown"  # no answer at the end of an attempt: the next may be a duplicate
    CANCELLED: Final = "message.cancelled"
    REFUNDED: Final = "message.refunded"


TOLD: Final = (
    EventKind.SUBMITTED,
    EventKind.DELIVERED,
    EventKind.DEFERRED,
    EventKind.FAILED,
    EventKind.UNKNOWN,
    EventKind.CANCELLED,
    EventKind.REFUNDED,
)
"""Those that are rows, and go to webhooks."""
