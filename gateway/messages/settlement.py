"""A settlement and its effects, inside the caller's transaction: parts, events, refunds, the message.

Attempts (`settle`), receipts (`receipts`) and cancellations (`cancel`) end here alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.credits import ledger
from gateway.ingress import client_receipts
from gateway.messages import events
from gateway.messages.events import Event, EventKind
from gateway.messages.model import Status
from gateway.store.tx import Tx

_LOCK = "SELECT 1 FROM message WHERE account_id = ? AND id = ?"
_COUNT = """
SELECT status, count(*) FROM delivery WHERE account_id = ? AND message_id = ? GROUP BY status
"""
_FINISH = "UPDATE message SET status = ?, finished_ms = ? WHERE account_id = ? AND id = ?"
_DROP_CONTENT = "DELETE FROM content WHERE account_id = ? AND message_id = ?"
_INSERT_PART = """
INSERT INTO sms_part (upstream, upstream_id, account_id, message_id, n, part, status, submitted_ms)
VALUES (?, ?, ?, ?, ?, ?, 'sent', ?)
ON CONFLICT (upstream, upstream_id) DO UPDATE SET account_id = excluded.account_id,
  message_id = excluded.message_id, n = excluded.n, part = excluded.part, status = excluded.status,
  submitted_ms = excluded.submitted_ms
"""
_REFUND_ONCE = """
UPDATE delivery SET refunded_credits = price_credits
WHERE account_id = ? AND message_id = ? AND n = ? AND refunded_credits = 0
"""
_PAID = """
SELECT m.lots, m.channel, m.accepted_ms, m.refunded_credits, d.price_credits
FROM message m JOIN delivery d ON d.account_id = m.account_id AND d.message_id = m.id
WHERE m.account_id = ? AND m.id = ? AND d.n = ?
"""
_ADD_REFUNDED = "UPDATE message SET refunded_credits = refunded_credits + ? WHERE account_id = ? AND id = ?"
_decode_parts = msgspec.json.Decoder(list[tuple[str, int]]).decode


@dataclass(slots=True, kw_only=True)
class Settlement:
    """What becomes of one delivery. `kind` None writes no event (a delivery put back untouched)."""

    account_id: str
    message_id: str
    n: int
    status: Status
    attempts: int
    next_attempt_ms: int
    at_ms: int
    reply: str | None = None
    kind: EventKind | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    refund: bool = False
    upstream: str = ""
    upstream_ids: tuple[str, ...] = ()
    sms: bool = False


def write_events(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """One event per settlement that has a kind, and the receipts that are owed to SMPP clients."""
    events.record(
        tx,
        [
            Event(
                account_id=one.account_id,
                message_id=one.message_id,
                id=tx.new_id(one.at_ms),
                kind=one.kind,
                n=one.n,
                at_ms=one.at_ms,
                detail=one.detail or None,
            )
            for one in settlements
            if one.kind is not None
        ],
    )
    client_receipts.enqueue(tx, settlements)


def record_parts(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """Remembers which upstream message ids belong to which delivery, for the receipts to come."""
    tx.run_many(
        _INSERT_PART,
        [
            (one.upstream, upstream_id, one.account_id, one.message_id, one.n, part, one.at_ms)
            for one in settlements
            for part, upstream_id in enumerate(one.upstream_ids)
        ],
    )


def refund(tx: Tx, one: Settlement) -> None:
    """Gives a delivery's price back to the lots it came from, at most once (A2)."""
    key = (one.account_id, one.message_id, one.n)
    row = tx.one(_PAID + tx.for_update, key)
    if row is None or not row[4] or tx.run(_REFUND_ONCE, key) != 1:
        return
    lots, product, accepted_ms, refunded, price = row
    parts = _slice(_decode_parts(lots), refunded, price)
    ledger.refund(
        tx, one.account_id, product, parts, debited_ms=accepted_ms, now_ms=one.at_ms, note=one.message_id
    )
    tx.run(_ADD_REFUNDED, (price, one.account_id, one.message_id))
    events.record(
        tx,
        [
            Event(
                account_id=one.account_id,
                message_id=one.message_id,
                id=tx.new_id(one.at_ms),
                kind=EventKind.REFUNDED,
                n=one.n,
                at_ms=one.at_ms,
                detail={"credits": price, "product": product},
            )
        ],
    )


def _slice(parts: ledger.Parts, skip: int, wanted: int) -> ledger.Parts:
    """The next `wanted` credits to give back, after `skip` that were; last burnt, first returned."""
    taken: ledger.Parts = []
    for lot_id, credits in reversed(parts):
        passed = min(skip, credits)
        skip -= passed
        take = min(credits - passed, wanted)
        if take:
            taken.append((lot_id, take))
            wanted -= take
    return taken


def finish_messages(tx: Tx, messages: dict[tuple[str, str], int], *, keep_content: bool) -> None:
    """Brings each message's status in line with its deliveries; `messages` maps its key to the time."""
    keys = list(messages)
    tx.lock_rows(_LOCK, keys)  # so that of two processes that settle two recipients, one counts both
    finished = []
    updates = []
    for key, counts in zip(keys, tx.rows_many(_COUNT, keys), strict=True):
        at_ms = messages[key]
        status = _overall(dict(counts))
        done = status != Status.QUEUED
        updates.append((status.value, at_ms if done else None, *key))
        if done:
            finished.append(key)
    tx.run_many(_FINISH, updates)
    if not keep_content:
        tx.run_many(_DROP_CONTENT, finished)


def _overall(counts: dict[str, int]) -> Status:
    """A message's status from how many of its deliveries have which."""
    if counts.get(Status.QUEUED) or counts.get(Status.SENT):
        return Status.QUEUED
    if counts.get(Status.DELIVERED):
        return Status.DELIVERED if len(counts) == 1 else Status.PARTLY_DELIVERED
    return Status.FAILED if counts.get(Status.FAILED) else Status.CANCELLED
