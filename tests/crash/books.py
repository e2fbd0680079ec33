"""What the gateway's database says at the end of a run, as the judge reads it."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.crash.daemons import Database

FINAL_EVENTS = {
    "message.delivered": "delivered",
    "message.failed": "failed",
    "message.cancelled": "cancelled",
}
_DELIVERIES = """
SELECT d.message_id, d.n, d.address, d.status, d.price_credits, d.refunded_credits
FROM delivery d ORDER BY d.message_id, d.n
"""
_MESSAGES = """
SELECT m.id, a.name, m.channel, m.ingress, m.status, m.price_credits, m.refunded_credits
FROM message m JOIN account a ON a.id = m.account_id
"""
_EVENTS = """
SELECT e.message_id, e.id, e.n, e.kind, e.detail, a.name FROM event e JOIN account a ON a.id = e.account_id
ORDER BY e.id
"""
_LOTS = """
SELECT a.name, l.product, sum(l.granted), sum(l.remaining) FROM lot l JOIN account a ON a.id = l.account_id
GROUP BY a.name, l.product
"""
_LOTS_OFF = """
SELECT count(*) FROM lot l
WHERE l.remaining <> (SELECT coalesce(sum(p.credits), 0) FROM posting p WHERE p.lot_id = l.id)
"""


@dataclass(slots=True)
class Delivery:
    """One recipient; `ends` are the statuses its final events tell, `reason` that of its failure."""

    n: int
    address: str
    status: str
    price: int
    refunded: int
    ends: list[str] = field(default_factory=list)
    reason: str = ""
    unknown: int = 0
    refund_events: int = 0
    story: list[str] = field(default_factory=list)
    """Its events in their order, for whoever has to find out what happened."""

    @property
    def end(self) -> str:
        """How it ended: the reason of a failure, else its status."""
        return self.reason if self.status == "failed" else self.status


@dataclass(slots=True)
class Stored:
    """One message."""

    id: str
    account: str
    channel: str
    status: str
    price: int
    refunded: int
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in {"queued", "scheduled"}


@dataclass(frozen=True, slots=True)
class Lots:
    """What an account has had of a product, and has left."""

    granted: int
    remaining: int


@dataclass(slots=True)
class Books:
    """Everything; reports (DSN) are counted apart from what clients sent."""

    messages: dict[str, Stored] = field(default_factory=dict)
    events: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Every event that webhooks may ask for: by id, the account's name and the kind."""
    lots: dict[tuple[str, str], Lots] = field(default_factory=dict)
    """By account's name and product."""
    lots_off: int = 0
    """Lots that are not the sum of their postings."""
    open_reports: int = 0
    open_receipts: int = 0
    open_webhooks: int = 0


def read(database: Database) -> Books:
    """The books as they stand."""
    books = Books()
    for message_id, account, channel, ingress, status, price, refunded in database.rows(_MESSAGES):
        if ingress != "report":
            books.messages[message_id] = Stored(message_id, account, channel, status, price, refunded)
    for message_id, *values in database.rows(_DELIVERIES):
        if message_id in books.messages:
            books.messages[message_id].deliveries.append(Delivery(*values))
    for message_id, event_id, n, kind, detail, account in database.rows(_EVENTS):
        books.events[event_id] = account, kind
        if n is not None and message_id in books.messages:
            _note(books.messages[message_id].deliveries[n], kind, detail)
    for account, product, granted, remaining in database.rows(_LOTS):
        books.lots[account, product] = Lots(int(granted), int(remaining))
    books.lots_off = database.number(_LOTS_OFF)
    open_ = "SELECT count(*) FROM message WHERE status = 'queued'"
    books.open_reports = database.number(f"{open_} AND ingress = 'report'")
    books.open_receipts = database.number("SELECT count(*) FROM client_receipt")
    books.open_webhooks = database.number("SELECT count(*) FROM webhook_delivery WHERE status = 'waiting'")
    return books


def _note(delivery: Delivery, kind: str, detail: str | None) -> None:
    delivery.story.append(f"{kind.removeprefix('message.')} {detail or ''}".rstrip())
    if kind in FINAL_EVENTS:
        delivery.ends.append(FINAL_EVENTS[kind])
        if kind == "message.failed" and detail:
            delivery.reason = json.loads(detail).get("reason", "")
    delivery.unknown += kind == "message.unknown"
    delivery.refund_events += kind == "message.refunded"


def spent(books: Books) -> dict[tuple[str, str], int]:
    """What the messages of each account cost, by product, without what was given back."""
    sums: Counter[tuple[str, str]] = Counter()
    for one in books.messages.values():
        sums[one.account, one.channel] += one.price - one.refunded
    return defaultdict(int, sums)
