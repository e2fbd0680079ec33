"""Cancelling what has not left yet: scheduled messages by their account, queued ones by the operator.

A delivery that a process holds is on its way and cannot be called back; nor one of which an attempt ended
without an answer (`message.unknown`): the other side may have it, and whoever has it has been paid for.
Credits of what is cancelled go back where refunds say so.
"""

from gateway.credits import ledger
from gateway.events.record import EventKind
from gateway.messages.effects import finish_messages, refund, write_events
from gateway.messages.model import Status
from gateway.messages.settlement import Settlement
from gateway.store.locks import Locks
from gateway.store.tx import Tx

_OPEN = """
SELECT n, attempts FROM delivery d
WHERE account_id = ? AND message_id = ? AND status = 'queued' AND holder IS NULL AND NOT EXISTS (
  SELECT 1 FROM event e WHERE e.account_id = d.account_id AND e.message_id = d.message_id AND e.n = d.n
  AND e.kind = 'message.unknown')
"""
_CANCEL = """
UPDATE delivery SET status = 'cancelled', updated_ms = ?
WHERE account_id = ? AND message_id = ? AND n = ? AND status = 'queued' AND holder IS NULL
"""
_RETRY = """
UPDATE delivery SET next_attempt_ms = ?, updated_ms = ?
WHERE account_id = ? AND message_id = ? AND status = 'queued' AND holder IS NULL
"""


def locks(account_id: str, message_id: str, channel: str) -> Locks:
    """What is locked before a message of `channel` is cancelled or tried at once."""
    return Locks(
        names=ledger.locks([(account_id, channel)]).names, messages=frozenset([(account_id, message_id)])
    )


def cancel(
    tx: Tx, account_id: str, message_id: str, *, now_ms: int, refund_on: frozenset[str], keep_content: bool
) -> int:
    """Cancels every delivery of the message that still waits; how many."""
    tx.require(Locks(messages=frozenset([(account_id, message_id)])))
    cancelled = []
    for n, attempts in tx.rows(_OPEN, (account_id, message_id)):
        if tx.run(_CANCEL, (now_ms, account_id, message_id, n)) != 1:
            continue
        cancelled.append(
            Settlement(
                account_id=account_id,
                message_id=message_id,
                n=n,
                status=Status.CANCELLED,
                attempts=attempts,
                next_attempt_ms=now_ms,
                at_ms=now_ms,
                kind=EventKind.CANCELLED,
                refund="cancelled" in refund_on,
            )
        )
    write_events(tx, cancelled)
    for one in cancelled:
        if one.refund:
            refund(tx, one)
    if cancelled:
        finish_messages(tx, cancelled, keep_content=keep_content)
    return len(cancelled)


def retry_now(tx: Tx, account_id: str, message_id: str, *, now_ms: int) -> int:
    """Makes every waiting delivery of the message due at once; how many."""
    tx.require(Locks(messages=frozenset([(account_id, message_id)])))
    return tx.run(_RETRY, (now_ms, now_ms, account_id, message_id))
