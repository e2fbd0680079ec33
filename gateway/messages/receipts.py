"""Delivery receipts in the store: parts of an SMS become final, and with the last one the delivery.

A receipt is written before its deliver_sm_resp leaves (A1 for receipts). One that comes before its
submit_sm_resp is parked and applied when the parts are recorded. Ids are looked up per upstream, in every
form an SMSC might mean (hex in one place, decimal in the other).
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from gateway.messages import settlement
from gateway.messages.events import EventKind
from gateway.messages.model import Status
from gateway.messages.settlement import Settlement
from gateway.store.tx import Row, Tx, placeholders
from gateway.store.writer import Operation

_FIND = """
SELECT upstream_id, account_id, message_id, n, part, status FROM sms_part
WHERE upstream = ? AND upstream_id IN """
_MARK = "UPDATE sms_part SET status = ? WHERE upstream = ? AND upstream_id = ?"
_PARTS = "SELECT status FROM sms_part WHERE account_id = ? AND message_id = ? AND n = ?"
_DELIVERY = "SELECT status, attempts FROM delivery WHERE account_id = ? AND message_id = ? AND n = ?"
_LOCK_DELIVERY = "SELECT 1 FROM delivery WHERE account_id = ? AND message_id = ? AND n = ?"
_ACCEPTED_MS = "SELECT accepted_ms FROM message WHERE account_id = ? AND id = ?"
_SETTLE = """
UPDATE delivery SET status = ?, reply = ?, next_attempt_ms = ?, updated_ms = ?, holder = NULL
WHERE account_id = ? AND message_id = ? AND n = ? AND status = 'sent'
"""
_PARK = """
INSERT INTO parked_receipt (upstream, upstream_id, receipt, received_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (upstream, upstream_id) DO UPDATE
SET receipt = excluded.receipt, received_ms = excluded.received_ms
"""
_PARKED = "SELECT upstream_id, receipt FROM parked_receipt WHERE upstream = ? AND upstream_id IN "
_UNPARK = "DELETE FROM parked_receipt WHERE upstream = ? AND upstream_id = ?"
_COUNT_PARKED = "SELECT count(*) FROM parked_receipt"
_OLDEST_PARKED = "SELECT upstream, upstream_id FROM parked_receipt ORDER BY received_ms LIMIT ?"


class PartReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream says of one part. `ids` are all forms its message id may stand for."""

    upstream: str
    ids: tuple[str, ...]
    delivered: bool
    state: str  # the receipt's own word: DELIVRD, UNDELIV, …
    error: str = ""
    received_ms: int


class ApplyReceipts(Operation[str | None]):
    """Applies one receipt; the status that its delivery reached by it, or None (more parts, parked, known).

    `settled` is told of every delivery that became final: (upstream, status, seconds since acceptance).
    """

    def __init__(
        self,
        receipt: PartReceipt,
        *,
        refund_on: frozenset[str],
        keep_content: bool,
        parked_max: int,
        settled: Callable[[str, str, float], None] = lambda _upstream, _status, _seconds: None,
    ) -> None:
        self.receipt = receipt
        self.refund_on = refund_on
        self.keep_content = keep_content
        self.parked_max = parked_max
        self.seconds = 0.0
        self._settled = settled

    def committed(self, result: str | None) -> None:
        if result is not None:
            self._settled(self.receipt.upstream, result, self.seconds)

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[ApplyReceipts]") -> list[Any]:
        results: list[Any] = []
        _await_parts(tx, [one.receipt for one in operations])
        for one in operations:
            final = apply(tx, one.receipt, one.refund_on, keep_content=one.keep_content)
            if final is _NOT_FOUND:
                _park(tx, one.receipt, one.parked_max)
            if isinstance(final, Settlement):
                row = tx.one(_ACCEPTED_MS, (final.account_id, final.message_id))
                one.seconds = (one.receipt.received_ms - row[0]) / 1000 if row else 0.0
            results.append(final.status.value if isinstance(final, Settlement) else None)
        return results


_NOT_FOUND = object()


def lock_parts(tx: Tx, upstreams: Collection[str], *, shared: bool) -> None:
    """Keeps the recording of parts (shared) and the parking of receipts (alone) of `upstreams` apart.

    Otherwise a receipt could be parked by one process just when another, which records its part, has looked
    for it in vain.
    """
    tx.lock(*(f"parts:{upstream}" for upstream in upstreams), shared=shared)


def _await_parts(tx: Tx, receipts: Sequence[PartReceipt]) -> None:
    """Where several processes write: waits for those that may be recording the parts that are not there."""
    if tx.shared:
        unknown = {one.upstream for one in receipts if not _find(tx, one)}
        lock_parts(tx, unknown, shared=False)


def _find(tx: Tx, receipt: PartReceipt) -> list[Row]:
    return tx.rows(_FIND + placeholders(receipt.ids), (receipt.upstream, *receipt.ids))


def apply(tx: Tx, receipt: PartReceipt, refund_on: frozenset[str], *, keep_content: bool) -> Any:
    """The settlement of the delivery that the receipt completed; None if it completed none; _NOT_FOUND."""
    rows = _find(tx, receipt)
    if not rows:
        return _NOT_FOUND
    # The id as it stands is meant; its other readings (hex, decimal) only where nothing bears it.
    exact = receipt.ids[0]
    best = min(rows, key=lambda row: (row[0] != exact, row[5] != Status.SENT))
    upstream_id, account_id, message_id, n, _, status = best
    if status != Status.SENT:
        return None  # a receipt that was told twice
    state = Status.DELIVERED if receipt.delivered else Status.FAILED
    tx.lock_rows(_LOCK_DELIVERY, [(account_id, message_id, n)])  # so that one process sees the last part
    tx.run(_MARK, (state.value, receipt.upstream, upstream_id))
    states = {row[0] for row in tx.rows(_PARTS, (account_id, message_id, n))}
    if Status.SENT in states:
        return None
    return _finish(tx, receipt, (account_id, message_id, n), states, refund_on, keep_content=keep_content)


def _finish(
    tx: Tx,
    receipt: PartReceipt,
    key: tuple[str, str, int],
    states: set[str],
    refund_on: frozenset[str],
    *,
    keep_content: bool,
) -> Settlement | None:
    """Settles the delivery `key`, all of whose parts are final: delivered only if every part is."""
    row = tx.one(_DELIVERY, key)
    if row is None or row[0] != Status.SENT:
        return None
    account_id, message_id, n = key
    delivered = states == {Status.DELIVERED}
    reply = " ".join(word for word in (receipt.state, receipt.error and f"err:{receipt.error}") if word)
    one = Settlement(
        account_id=account_id,
        message_id=message_id,
        n=n,
        status=Status.DELIVERED if delivered else Status.FAILED,
        attempts=row[1],
        next_attempt_ms=receipt.received_ms,
        at_ms=receipt.received_ms,
        reply=reply,
        kind=EventKind.DELIVERED if delivered else EventKind.FAILED,
        detail={"receipt": reply} if delivered else {"receipt": reply, "reason": "undelivered"},
        refund=not delivered and "undelivered" in refund_on,
        sms=True,
    )
    if tx.run(_SETTLE, (one.status.value, one.reply, one.at_ms, one.at_ms, *key)) != 1:
        return None
    settlement.write_events(tx, [one])
    if one.refund:
        settlement.refund(tx, one)
    settlement.finish_messages(tx, [one], keep_content=keep_content)
    return one


def apply_parked(
    tx: Tx, settlements: Sequence[Settlement], refund_on: frozenset[str], *, keep_content: bool
) -> None:
    """Applies receipts that came before the parts of `settlements` were recorded."""
    upstream_ids = [(one.upstream, one.upstream_ids) for one in settlements if one.upstream_ids]
    if not upstream_ids or tx.one(_COUNT_PARKED) == (0,):
        return
    for upstream, ids in upstream_ids:
        for upstream_id, receipt in tx.rows(_PARKED + placeholders(ids), (upstream, *ids)):
            tx.run(_UNPARK, (upstream, upstream_id))
            apply(tx, msgspec.json.decode(receipt, type=PartReceipt), refund_on, keep_content=keep_content)


def _park(tx: Tx, receipt: PartReceipt, parked_max: int) -> None:
    """Keeps a receipt whose part is not known (yet), under every form of its id; the oldest make room."""
    over = int((tx.one(_COUNT_PARKED) or (0,))[0]) + len(receipt.ids) - parked_max
    if over > 0:
        tx.run_many(_UNPARK, tx.rows(_OLDEST_PARKED, (over,)))
    text = msgspec.json.encode(receipt).decode()
    tx.run_many(_PARK, [(receipt.upstream, one, text, receipt.received_ms) for one in receipt.ids])
