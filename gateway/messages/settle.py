"""Settling in the store: outcomes become statuses, events, refunds and the next attempt, in one transaction.

A settlement touches a delivery only while its holder still holds it, so the late outcome of a process that
lost its lease changes nothing. Content goes with the last delivery, unless retention keeps it longer.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.credits import ledger
from gateway.messages import durable, receipts
from gateway.messages.model import Channel, Message, Status, Work
from gateway.messages.settlement import Settlement, finish_messages, record_parts, refund, write_events
from gateway.store.tx import Tx
from gateway.store.writer import Operation

_SETTLE = """
UPDATE delivery SET status = ?, attempts = ?, next_attempt_ms = ?, holder = NULL, reply = ?, updated_ms = ?
WHERE account_id = ? AND message_id = ? AND n = ? AND holder = ?
"""
_FINAL = (Status.DELIVERED, Status.FAILED, Status.CANCELLED)


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
        self.work = work
        self.settlements = settlements
        self.holder = holder
        self.keep_content = keep_content
        self.refund_on = refund_on
        self.reports: Sequence[Message] = ()
        """Notifications (DSN) to make durable together with the failures they tell of."""
        self._on_commit = on_commit
        self._on_failure = on_failure

    def committed(self, result: None) -> None:
        del result
        self._on_commit(self)

    def failed(self, error: Exception) -> None:
        self._on_failure(self, error)

    @classmethod
    def locks(cls, operations: "Sequence[SettleDeliveries]") -> set[str]:
        return {
            ledger.lock_name(one.account_id, Channel.SMS if one.sms else Channel.MAIL)
            for operation in operations
            for one in operation.settlements
            if one.refund
        }

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[SettleDeliveries]") -> list[Any]:
        all_settlements = [one for operation in operations for one in operation.settlements]
        touched = tx.run_many(
            _SETTLE,
            [
                (one.status.value, one.attempts, one.next_attempt_ms, one.reply, one.at_ms,
                 one.account_id, one.message_id, one.n, operation.holder)
                for operation in operations
                for one in operation.settlements
            ],
        )  # fmt: skip
        alone = touched == len(all_settlements)  # else another process settled some of them
        receipts.lock_parts(tx, {one.upstream for one in all_settlements if one.upstream_ids}, shared=True)
        record_parts(tx, all_settlements)
        write_events(tx, all_settlements)
        for one in all_settlements:
            if one.refund:
                refund(tx, one)
        final = [one for one in all_settlements if one.status in _FINAL]
        keep = any(operation.keep_content for operation in operations)
        finish_messages(tx, final, sure=alone, keep_content=keep)
        submitted = [one for one in all_settlements if one.upstream_ids]
        if submitted:
            sms = next(one for one in operations if one.settlements and one.settlements[0].sms)
            receipts.apply_parked(tx, submitted, sms.refund_on, keep_content=keep)
        for operation in operations:
            if operation.reports:
                durable.insert_free(tx, operation.reports)
        return [None] * len(operations)
