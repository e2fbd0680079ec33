"""Cancelling what has not left yet: scheduled messages by their account, queued ones by the operator.

A delivery that a process holds is on its way and cannot be called back; nor one of which an attempt ended
without an answer (`message.unknown`): the other side may have it, and whoever has it has been paid for.
Credits of what is cancelled go back where refunds say so.
"""

from collections.abc import Mapping

from gateway.clock import Clock
from gateway.credits import ledger
from gateway.events.record import recipients_with
from gateway.messages.events import EventKind
from gateway.messages.model import Channel, Status
from gateway.messages.settle.effects import finish_messages, refund, write_events
from gateway.messages.settle.retry import Rules
from gateway.messages.settle.settlement import Settlement
from gateway.store.locks import Locks
from gateway.store.store import Store
from gateway.store.tx import Tx

_OPEN = """
SELECT n, attempts, address FROM delivery
WHERE account_id = ? AND message_id = ? AND status = 'queued' AND holder IS NULL
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
    unknown = recipients_with(tx, account_id, message_id, EventKind.UNKNOWN)
    for n, attempts, address in tx.rows(_OPEN, (account_id, message_id)):
        if n in unknown or tx.run(_CANCEL, (now_ms, account_id, message_id, n)) != 1:
            continue
        cancelled.append(
            Settlement(
                account_id=account_id,
                message_id=message_id,
                n=n,
                address=address,
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


class Cancelling:
    """Cancels by the rules of each channel."""

    def __init__(
        self, store: Store, clock: Clock, rules: Mapping[Channel, Rules], *, keep_content: bool
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._keep_content = keep_content

    def run(self, tx: Tx, account_id: str, message_id: str, channel: Channel) -> int:
        """Cancels every delivery of the message that still waits, with `locks` held; how many."""
        return cancel(
            tx,
            account_id,
            message_id,
            now_ms=self._clock.now_ms(),
            refund_on=self._rules[channel].refund_on,
            keep_content=self._keep_content,
        )

    async def cancel(
        self, account_id: str, message_id: str, channel: Channel, *, urgent: bool = False
    ) -> int:
        """The same in a transaction of its own. Raises StoreBusy and StoreFailed."""
        return await self._store.write(
            lambda tx: self.run(tx, account_id, message_id, channel),
            locks=locks(account_id, message_id, channel),
            urgent=urgent,
        )


def retry_now(tx: Tx, account_id: str, message_id: str, *, now_ms: int) -> int:
    """Makes every waiting delivery of the message due at once; how many."""
    tx.require(Locks(messages=frozenset([(account_id, message_id)])))
    return tx.run(_RETRY, (now_ms, now_ms, account_id, message_id))
