"""Settling in the store: outcomes become statuses, events, refunds and the next attempt, in one transaction.

A settlement touches a delivery only while its holder still holds it, so the late outcome of a process that
lost its lease changes nothing. Content goes with the last delivery, unless retention keeps it longer.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.credits import ledger
from gateway.messages.accept import accepting
from gateway.messages.model import Channel, Message, Status, Work
from gateway.messages.receipts import apply as receipts
from gateway.messages.settle.effects import finish_messages, record_parts, refund, write_events
from gateway.messages.settle.settlement import Settlement
from gateway.store.locks import Locks
from gateway.store.operation import Operation
from gateway.store.tx import Tx

_SETTLE = """
UPDATE delivery SET status = ?, attempts = ?, next_attempt_ms = ?, holder = NULL, reply = ?, updated_ms = ?
WHERE account_id = ? AND message_id = ? AND n = ? AND holder = ?
"""
_OURS = """
SELECT 1 FROM delivery WHERE account_id = ? AND message_id = ? AND n = ? AND holder IS NULL
  AND status = ? AND attempts = ? AND updated_ms = ?
"""
_FINAL = (Status.DELIVERED, Status.FAILED, Status.CANCELLED)


_NOTE = "UPDATE delivery SET reply = ? WHERE account_id = ? AND message_id = ? AND n = ? AND holder = ?"


def note_waiting(tx: Tx, *, work: Work, reply: str) -> None:
    """Shows on the deliveries of an attempt that is under way what it waits for."""
    message = work.message
    tx.require(Locks(messages=frozenset([(message.account_id, message.id)])))
    tx.run_many(
        _NOTE, [(reply, message.account_id, message.id, one.n, message.holder) for one in work.deliveries]
    )


class SettleDeliveries(Operation[None]):
    """Writes the settlements of one attempt. `keep_content` leaves the content of finished messages."""

    def __init__(
        self,
        work: Work,
        settlements: Sequence[Settlement],
        *,
        holder: str,
        keep_content: bool,
        refund_on: frozenset[str],
        on_commit: Callable[["SettleDeliveries"], None],
        on_failure: Callable[["SettleDeliveries", Exception], None],
    ) -> None:
        self.account_id = work.message.account_id
        self.work = work
        self.settlements = settlements
        self.weight = accepting.weight(work.message, len(settlements))
        self.holder = holder
        self.keep_content = keep_content
        self.refund_on = refund_on
        self.dsns: Sequence[Message] = ()
        """Notifications (DSN) to make durable together with the failures they tell of."""
        self._on_commit = on_commit
        self._on_failure = on_failure

    def committed(self, result: None) -> None:
        del result
        self._on_commit(self)

    def failed(self, error: Exception) -> None:
        self._on_failure(self, error)

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[SettleDeliveries]") -> Locks:
        del tx
        upstreams: set[str] = set()
        refunded: set[tuple[str, str]] = set()
        for operation in operations:
            for one in operation.settlements:
                if one.upstream_ids:
                    upstreams.add(one.upstream)
                if one.refund:
                    refunded.add((one.account_id, Channel.SMS if one.sms else Channel.MAIL))
        return Locks(
            names=ledger.locks(refunded).names,
            shared=receipts.parts_of(upstreams),
            messages=frozenset((one.account_id, one.work.message.id) for one in operations),
        )

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[SettleDeliveries]") -> list[Any]:
        written = _written(tx, operations)
        settlements = [one for _, ones in written for one in ones]
        record_parts(tx, settlements)
        write_events(tx, settlements)
        for one in settlements:
            if one.refund:
                refund(tx, one)
        keep = any(operation.keep_content for operation in operations)
        finish_messages(tx, [one for one in settlements if one.status in _FINAL], keep_content=keep)
        for operation, ones in written:
            if any(one.upstream_ids for one in ones):  # the rules of SMS, which are the same for all
                receipts.apply_parked(tx, settlements, operation.refund_on, keep_content=keep)
                break
        for operation, ones in written:
            if ones and operation.dsns:
                accepting.insert_free(tx, operation.dsns)
        return [None] * len(operations)


def _written(
    tx: Tx, operations: Sequence[SettleDeliveries]
) -> list[tuple[SettleDeliveries, Sequence[Settlement]]]:
    """Writes the deliveries. Each operation with those of its settlements that counted: no other process has
    taken the delivery over.
    """
    rows = [
        (one.status.value, one.attempts, one.next_attempt_ms, one.reply, one.at_ms,
         one.account_id, one.message_id, one.n, operation.holder)
        for operation in operations
        for one in operation.settlements
    ]  # fmt: skip
    if tx.run_many(_SETTLE, rows) == len(rows):
        return [(operation, operation.settlements) for operation in operations]
    return [
        (operation, [one for one in operation.settlements if _counted(tx, one)]) for operation in operations
    ]


def _counted(tx: Tx, one: Settlement) -> bool:
    key = (one.account_id, one.message_id, one.n)
    return tx.one(_OURS, (*key, one.status.value, one.attempts, one.at_ms)) is not None
