"""The words of the road: what a message, a recipient, a work and an outcome are.

A *message* is what an application handed in once; each of its recipients is one *delivery*, the unit that is
queued, tried and settled. A *work* is one attempt: a message with those of its deliveries that share a
destination. Every attempt ends in one *outcome* per delivery.
"""

from enum import StrEnum
from typing import Any

import msgspec

from smtp.client import Content


class Channel(StrEnum):
    """What carries the message; also the name of the credit product that pays for it."""

    MAIL = "mail"
    SMS = "sms"


class Status(StrEnum):
    """Of a message and of a delivery. `SENT` (an SMS that awaits its receipts) is shown as queued."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    SENT = "sent"
    DELIVERED = "delivered"
    PARTLY_DELIVERED = "partly_delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({Status.DELIVERED, Status.FAILED, Status.CANCELLED, Status.PARTLY_DELIVERED})


REPORT = "report"
NOTICE = "notice"
"""The ingress of what the gateway itself sends: DSNs, and notices to accounts."""


class MailEnvelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The SMTP envelope beyond its recipients (RFC 5321 section 2.3.1), and what DSN needs (RFC 3461)."""

    mail_from: str  # "" is the null reverse-path
    smtputf8: bool = False
    body_8bit: bool = False
    envid: str | None = None
    ret: str | None = None
    notify: dict[str, str] | None = None  # recipient address → NOTIFY value


class SmsEnvelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an SMS leaves, and what was asked for (R25: both are recorded and shown)."""

    requested_source: str
    data_coding: int | None = None  # set: content is raw user data as an SMPP client gave it
    udhi: bool = False
    segments: int = 1
    validity_s: int | None = None
    sources: dict[str, "Source"] = {}  # by recipient, where the country's rules changed it
    source: "Source | None" = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A source address as submitted, with its TON and NPI (SMPP 3.4 sections 5.2.5 and 5.2.6)."""

    address: str
    ton: int
    npi: int


class Delivery(msgspec.Struct, kw_only=True):
    """One recipient of a message on its way."""

    n: int
    address: str
    destination: str
    price_credits: int
    attempts: int = 0
    next_attempt_ms: int = 0


class Message(msgspec.Struct, kw_only=True):
    """A message in memory, from acceptance (or its claim) until all its deliveries here are settled."""

    account_id: str
    id: str
    channel: Channel
    ingress: str
    sender: str
    envelope: MailEnvelope | SmsEnvelope
    content: bytes
    accepted_ms: int
    expires_ms: int
    deliveries: list[Delivery]
    subject: str | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    send_at_ms: int | None = None
    author_domain: str | None = None
    """The domain of From, as lower-case A-labels, where shaping has just read it."""
    outgoing: Content | None = None
    """The same as DATA carries it."""
    prepared: bytes | None = None
    """The content as it goes out (trace fields added, signed): made once, shared by every attempt."""
    held: dict[str, int] = {}
    """How many of its deliveries the lanes hold in memory, by destination."""
    holder: str = ""
    """By which name this process holds the deliveries in the database."""
    recipients: int = 0
    """How many deliveries the whole message has; those in `deliveries` may be a part of them."""

    @property
    def price_credits(self) -> int:
        """The whole price: what acceptance debits."""
        return sum(delivery.price_credits for delivery in self.deliveries)


class Work(msgspec.Struct):
    """One attempt: `deliveries` of one message that share a destination."""

    message: Message
    destination: str
    deliveries: list[Delivery]


# --- outcomes ------------------------------------------------------------------------------------------


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended for one delivery; `reply` is the other side's words, one line."""

    reply: str = ""


class Delivered(Outcome, frozen=True, kw_only=True):
    """The next hop took responsibility (250 after the final dot; a receipt DELIVRD)."""


class Submitted(Outcome, frozen=True, kw_only=True):
    """An SMSC took every part; receipts will tell the rest. `upstream_ids` in the order of the parts."""

    upstream: str
    upstream_ids: tuple[str, ...]


class Deferred(Outcome, frozen=True, kw_only=True):
    """A temporary failure: try again later.

    `after_s` overrides the schedule. `rest_s` says that the destination as a whole cannot be reached: its
    queue rests so long, longer with every time in a row. `counts` is False when the other side was never
    asked (link down, our own limit): no attempt is counted and no event written.
    """

    after_s: float | None = None
    rest_s: float = 0.0
    counts: bool = True


class Failed(Outcome, frozen=True, kw_only=True):
    """A permanent failure. `reason` (one of `config.sections.messages.Refund`) decides about a refund."""

    reason: str = "rejected"


class Unknown(Outcome, frozen=True, kw_only=True):
    """No answer after the final dot or after submit_sm: it may or may not have been taken.

    We try again (delivery is at least once) and say so in an event: this is a named window for a duplicate.
    """


# --- verdicts of acceptance ----------------------------------------------------------------------------


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What acceptance answers for one message; kept with the idempotency key and replayed from there."""

    id: str | None = None
    channel: str = ""
    price_credits: int = 0
    status: str = "queued"
    segments: int | None = None
    refused: str | None = None
    """The reason, one of a bounded set (`insufficient_credits`, `sender_not_allowed`, …); None: accepted."""
    detail: str | None = None
    """What to tell the caller, and what to do."""
    field: str | None = None
    """Of a faulty mail: the header field at fault, "" for none in particular."""
    replayed: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the message is durable and paid for."""
        return self.refused is None
