"""A settlement: what becomes of one delivery. Its effects are in `gateway.messages.settle.effects`."""

from typing import Any

import msgspec

from gateway.messages.model import Status


class Settlement(msgspec.Struct, kw_only=True):
    """What becomes of one delivery. `kind` None writes no event (a delivery put back untouched)."""

    account_id: str
    message_id: str
    n: int
    address: str
    """The recipient."""
    status: Status
    attempts: int
    next_attempt_ms: int
    at_ms: int
    reply: str | None = None
    kind: str | None = None
    detail: dict[str, Any] = {}
    refund: bool = False
    upstream: str = ""
    upstream_ids: tuple[str, ...] = ()
    sms: bool = False
    ingress: str = ""
    """How the message came in; "" where that is not known."""
    recipients: int = 0
    """How many deliveries the message has; 0 where that is not known."""
