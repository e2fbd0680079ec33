"""An SMS whose attempt ended as unknown, and whose segments the SMSC took after all: it is not tried again.

The answer to a submit_sm may come after we gave it up. Where the delivery still waits for its next attempt it
becomes one that was submitted, and its receipts find it; where it is being tried again, or has ended, nothing
changes.
"""

from collections.abc import Sequence
from typing import Any

from gateway.messages.events import EventKind
from gateway.messages.model import Status, Submitted, Work
from gateway.messages.receipts import apply as receipts
from gateway.messages.settle import effects
from gateway.messages.settle.settlement import Settlement
from gateway.store.locks import Locks
from gateway.store.operation import Operation
from gateway.store.tx import Tx

_TAKE = """
UPDATE delivery SET status = 'sent', reply = ?, next_attempt_ms = ?, updated_ms = ?
WHERE account_id = ? AND message_id = ? AND n = ? AND status = 'queued' AND holder IS NULL
"""


class TakeLateAnswer(Operation[bool]):
    """Whether the delivery of `work` still waited, so that it counts as submitted now."""

    weight = 1

    def __init__(
        self,
        work: Work,
        submitted: Submitted,
        *,
        now_ms: int,
        receipt_timeout_ms: int,
        refund_on: frozenset[str],
        keep_content: bool,
    ) -> None:
        self.refund_on = refund_on
        self.keep_content = keep_content
        message, delivery = work.message, work.deliveries[0]
        self.settlement = Settlement(
            account_id=message.account_id,
            message_id=message.id,
            n=delivery.n,
            address=delivery.address,
            status=Status.SENT,
            attempts=delivery.attempts,
            next_attempt_ms=now_ms + receipt_timeout_ms,
            at_ms=now_ms,
            reply=submitted.reply,
            kind=EventKind.SUBMITTED,
            detail={"reply": submitted.reply, "late": True},
            upstream=submitted.upstream,
            upstream_ids=submitted.upstream_ids,
            sms=True,
            ingress=message.ingress,
            recipients=message.recipients,
        )

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[TakeLateAnswer]") -> Locks:
        """Alone with the upstream's parts: those of a batch come in two goes, and not in one order."""
        del tx
        settlements = [operation.settlement for operation in operations]
        return Locks(
            names=receipts.parts_of({one.upstream for one in settlements}),
            messages=frozenset((one.account_id, one.message_id) for one in settlements),
        )

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[TakeLateAnswer]") -> list[Any]:
        results: list[Any] = []
        for operation in operations:
            one = operation.settlement
            key = (one.account_id, one.message_id, one.n)
            taken = tx.run(_TAKE, (one.reply, one.next_attempt_ms, one.at_ms, *key)) == 1
            results.append(taken)
            if taken:
                effects.record_parts(tx, [one])
                effects.write_events(tx, [one])
                receipts.apply_parked(tx, [one], operation.refund_on, keep_content=operation.keep_content)
        return results
