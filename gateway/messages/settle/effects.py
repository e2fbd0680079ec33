"""The effects of settlements, inside the caller's transaction: parts, events, refunds, the message.

Attempts (`settle`), receipts (`receipts`) and cancellations (`cancel`) end here alike.
"""

from collections.abc import Collection, Sequence

import msgspec

from gateway.credits import ledger
from gateway.events.record import Event, Subject, record
from gateway.messages.events import EventKind
from gateway.messages.model import Status
from gateway.messages.receipts import client as client_receipts
from gateway.messages.settle.settlement import Settlement
from gateway.store.locks import Locks
from gateway.store.tx import Tx

_STATUSES = "SELECT DISTINCT status FROM delivery WHERE account_id = ? AND message_id = ?"
_FINISH = "UPDATE message SET status = ?, finished_ms = ? WHERE account_id = ? AND id = ?"
_DROP_CONTENT = "DELETE FROM content WHERE account_id = ? AND message_id = ?"
_FINISH_AND_DROP = f"WITH dropped AS ({_DROP_CONTENT}) {_FINISH}"
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
_MAY_OWE_RECEIPTS = ("", client_receipts.INGRESS)
_decode_parts = msgspec.json.Decoder(list[tuple[str, int]]).decode


def write_events(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """One event per settlement that has a kind, and the receipts that are owed to SMPP clients."""
    record_events(tx, settlements)
    client_receipts.enqueue(tx, [one for one in settlements if one.ingress in _MAY_OWE_RECEIPTS])


def record_events(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """The events alone, where the caller sees to the receipts."""
    record(
        tx,
        [
            Event(
                account_id=one.account_id,
                subject_kind=Subject.MESSAGE,
                subject_id=one.message_id,
                id=tx.new_id(one.at_ms),
                kind=one.kind,
                n=one.n,
                address=one.address,
                at_ms=one.at_ms,
                detail=one.detail or None,
            )
            for one in settlements
            if one.kind is not None
        ],
    )


def record_parts(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """Remembers which upstream message ids belong to which delivery, for the receipts to come."""
    rows = [
        (one.upstream, upstream_id, one.account_id, one.message_id, one.n, part, one.at_ms)
        for one in settlements
        for part, upstream_id in enumerate(one.upstream_ids)
    ]
    tx.run_many(_INSERT_PART, sorted(rows) if tx.shared else rows)  # an SMSC may give an id twice


def refund(tx: Tx, one: Settlement) -> None:
    """Gives a delivery's price back to the lots it came from, at most once (A2)."""
    tx.require(Locks(messages=frozenset([(one.account_id, one.message_id)])))
    key = (one.account_id, one.message_id, one.n)
    row = tx.one(_PAID, key)
    if row is None or not row[4] or tx.run(_REFUND_ONCE, key) != 1:
        return
    lots, product, accepted_ms, refunded, price = row
    parts = _slice(_decode_parts(lots), refunded, price)
    ledger.refund(
        tx, one.account_id, product, parts, debited_ms=accepted_ms, now_ms=one.at_ms, note=one.message_id
    )
    tx.run(_ADD_REFUNDED, (price, one.account_id, one.message_id))
    record(
        tx,
        [
            Event(
                account_id=one.account_id,
                subject_kind=Subject.MESSAGE,
                subject_id=one.message_id,
                id=tx.new_id(one.at_ms),
                kind=EventKind.REFUNDED,
                n=one.n,
                address=one.address,
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


def finish_messages(tx: Tx, settlements: Sequence[Settlement], *, keep_content: bool) -> None:
    """Brings the status of each message in line with its deliveries, after these final `settlements`, which
    were all written. A message all of whose recipients are among them need not be looked at again.
    """
    by_message: dict[tuple[str, str], list[Settlement]] = {}
    updates: list[tuple[str, int | None, str, str]] = []
    for one in settlements:
        if one.recipients == 1:
            updates.append((one.status.value, one.at_ms, one.account_id, one.message_id))
        else:
            by_message.setdefault((one.account_id, one.message_id), []).append(one)
    doubtful = []
    for key, members in by_message.items():
        if len(members) == members[0].recipients:
            updates.append((_overall([one.status for one in members]), members[-1].at_ms, *key))
        else:
            doubtful.append(key)
    if doubtful:
        # So that of two processes that settle two recipients one counts both.
        tx.require(Locks(messages=frozenset(doubtful)))
        for key, rows in zip(doubtful, tx.rows_many(_STATUSES, doubtful), strict=True):
            status = _overall([row[0] for row in rows])
            updates.append((status, None if status == Status.QUEUED else by_message[key][-1].at_ms, *key))
    if tx.shared and not keep_content:  # over a network every statement has its price; SQLite knows none such
        tx.run_many(_FINISH_AND_DROP, [(*one[2:], *one) for one in updates if one[1] is not None])
        updates = [one for one in updates if one[1] is None]
    tx.run_many(_FINISH, updates)
    if not keep_content:
        tx.run_many(_DROP_CONTENT, [update[2:] for update in updates if update[1] is not None])


def _overall(statuses: Collection[str]) -> str:
    """A message's status from those of its deliveries."""
    if Status.QUEUED in statuses or Status.SENT in statuses:
        return Status.QUEUED.value
    if Status.DELIVERED in statuses:
        return Status.DELIVERED.value if len(set(statuses)) == 1 else Status.PARTLY_DELIVERED.value
    return Status.FAILED.value if Status.FAILED in statuses else Status.CANCELLED.value
