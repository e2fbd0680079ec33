"""Acceptance in the store: idempotency, debit, message, queue, content: one transaction (R12, A1, A2, A4).

All submissions that gathered for one commit run together: one look-up of lots and one posting per account,
product and lot, and one executemany per table, however many messages there are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.credits import ledger
from gateway.credits.terms import Terms
from gateway.messages import tables
from gateway.messages.model import Message, Status, Verdict
from gateway.store import idempotency
from gateway.store.bulk import Insert
from gateway.store.idempotency import IdempotencyKey, KeyReused
from gateway.store.locks import Locks
from gateway.store.operation import Operation
from gateway.store.tx import Tx
from policy.verdict import Reason

__all__ = ["AcceptMessages", "IdempotencyKey", "KeyReused", "insert_free", "weight"]

_INSERT_MESSAGE = Insert(
    tables.message,
    *("account_id", "id", "channel", "ingress", "sender", "subject", "status", "recipients", "size_octets"),
    *("price_credits", "lots", "envelope", "tags", "metadata", "accepted_ms", "send_at_ms", "expires_ms"),
)
_INSERT_DELIVERY = Insert(
    tables.delivery,
    *("account_id", "message_id", "n", "address", "destination", "status", "price_credits"),
    *("next_attempt_ms", "holder", "updated_ms"),
)
_INSERT_CONTENT = Insert(tables.content, "account_id", "message_id", "data")

_LIGHT_OCTETS = 16 << 10  # so much content takes as long as the rows of one delivery

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(list[Verdict]).decode


class AcceptMessages(Operation[list[Verdict]]):
    """Makes messages of one account durable and pays for them.

    `slots` holds one entry per submission: a Message to accept, or the Verdict of one already refused. The
    result has a verdict for each; with an idempotency key that was used before, the verdicts of then. A
    message with room in memory (`Message.held`) belongs to `holder` from the start; the others wait in the
    database. `on_commit` runs after COMMIT with the verdicts: that is where held messages pass to delivery;
    `on_failure` runs instead when nothing was stored. `started_s` is when the submission came in.
    """

    priority = 0

    def __init__(
        self,
        *,
        account_id: str,
        slots: Sequence[Message | Verdict],
        now_ms: int,
        started_s: float,
        holder: str,
        key: IdempotencyKey | None,
        terms: Terms,
        on_commit: Callable[["AcceptMessages", list[Verdict]], None],
        on_failure: Callable[["AcceptMessages", Exception], None],
    ) -> None:
        self.account_id = account_id
        self.slots = slots
        self.now_ms = now_ms
        self.started_s = started_s
        self.holder = holder
        self.key = key
        self.terms = terms
        self.weight = sum(weight(slot, len(slot.deliveries)) for slot in slots if isinstance(slot, Message))
        self._on_commit = on_commit
        self._on_failure = on_failure
        self.balances: dict[str, int] = {}
        """Balances after the batch, by product: what caches may believe."""
        self.recharges: list[str] = []
        """Ids of orders that this batch created because a balance fell below its threshold (R13)."""

    def committed(self, result: list[Verdict]) -> None:
        self._on_commit(self, result)

    def failed(self, error: Exception) -> None:
        self._on_failure(self, error)

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[AcceptMessages]") -> Locks:
        del tx
        pairs = {
            (operation.account_id, slot.channel)
            for operation in operations
            for slot in operation.slots
            if isinstance(slot, Message)
        }
        return ledger.locks(pairs)

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[AcceptMessages]") -> list[Any]:
        answers = _replays(tx, operations)
        fresh = [one for one, answer in zip(operations, answers, strict=True) if answer is None]
        lots = _debit(tx, fresh)
        _insert(tx, fresh, lots)
        for index, operation in enumerate(operations):
            if answers[index] is None:
                answers[index] = [_verdict(slot, lots) for slot in operation.slots]
        _keep_answers(tx, operations, answers)
        return answers


def _replays(tx: Tx, operations: Sequence[AcceptMessages]) -> list[Any]:
    """Per operation: the verdicts that its key was answered with before, KeyReused, or None for a new one."""
    answers: list[Any] = [None] * len(operations)
    keyed = [(index, one.account_id, one.key) for index, one in enumerate(operations) if one.key is not None]
    if keyed:
        asked = [(account_id, key) for _, account_id, key in keyed]
        found = idempotency.find_many(tx, asked, now_ms=operations[-1].now_ms)
        for (index, *_), answer in zip(keyed, found, strict=True):
            answers[index] = _replayed(answer) if isinstance(answer, str) else answer
    return answers


def _replayed(answer: str) -> list[Verdict]:
    return [msgspec.structs.replace(verdict, replayed=True) for verdict in _decode_answer(answer)]


def _keep_answers(tx: Tx, operations: Sequence[AcceptMessages], answers: Sequence[Any]) -> None:
    """Keeps new answers under their keys; a submission that stored nothing leaves its key free."""
    kept = [
        (one.account_id, one.key, _encode(answer).decode())
        for one, answer in zip(operations, answers, strict=True)
        if one.key is not None
        and not isinstance(answer, KeyReused)
        and any(verdict.accepted and not verdict.replayed for verdict in answer)
    ]
    if kept:
        idempotency.keep_many(tx, kept, now_ms=operations[-1].now_ms)


def _debit(tx: Tx, operations: Sequence[AcceptMessages]) -> dict[str, ledger.Parts | None]:
    """What each message's debit burnt, by message id; None where its whole price was not there."""
    groups: dict[tuple[str, str], list[tuple[AcceptMessages, Message]]] = {}
    for operation in operations:
        operation.balances.clear()  # of a try that was rolled back
        operation.recharges.clear()
        for slot in operation.slots:
            if isinstance(slot, Message):
                groups.setdefault((operation.account_id, slot.channel), []).append((operation, slot))
    burnt: dict[str, ledger.Parts | None] = {}
    for (account_id, product), members in groups.items():
        last = members[-1][0]
        debit = ledger.debit(
            tx,
            account_id,
            product,
            [message.price_credits for _, message in members],
            now_ms=last.now_ms,
            terms=last.terms,
        )
        for (operation, message), parts in zip(members, debit.parts, strict=True):
            burnt[message.id] = parts
            operation.balances[product] = debit.balance
        if debit.recharge_order is not None:
            last.recharges.append(debit.recharge_order)
    return burnt


def weight(message: Message, deliveries: int) -> int:
    """What it weighs to write, or to settle, so many deliveries and the message's content (`Operation`)."""
    return deliveries + len(message.content) // _LIGHT_OCTETS


def insert_free(tx: Tx, messages: Sequence[Message]) -> None:
    """Makes messages of our own (notifications) durable, without a debit; the queue picks them up."""
    if messages:
        _write(tx, [(message, [], None, message.accepted_ms) for message in messages])


def _insert(tx: Tx, operations: Sequence[AcceptMessages], lots: dict[str, ledger.Parts | None]) -> None:
    rows = [
        (slot, parts, operation.holder if slot.held else None, operation.now_ms)
        for operation in operations
        for slot in operation.slots
        if isinstance(slot, Message) and (parts := lots[slot.id]) is not None
    ]
    _write(tx, rows)


def _write(tx: Tx, rows: Sequence[tuple[Message, ledger.Parts, str | None, int]]) -> None:
    """Inserts each message with what paid for it, who holds its deliveries, and the time of acceptance."""
    _INSERT_MESSAGE.run(tx, [_message_row(message, parts, now_ms) for message, parts, _, now_ms in rows])
    _INSERT_DELIVERY.run(
        tx,
        [
            (
                message.account_id,
                message.id,
                delivery.n,
                delivery.address,
                delivery.destination,
                Status.QUEUED.value,
                delivery.price_credits,
                delivery.next_attempt_ms,
                holder,
                message.accepted_ms,
            )
            for message, _, holder, _ in rows
            for delivery in message.deliveries
        ],
    )
    _INSERT_CONTENT.run(tx, [(message.account_id, message.id, message.content) for message, *_ in rows])


def _message_row(message: Message, parts: ledger.Parts, now_ms: int) -> tuple[Any, ...]:
    return (
        message.account_id,
        message.id,
        message.channel.value,
        message.ingress,
        message.sender,
        message.subject,
        _status(message, now_ms).value,
        len(message.deliveries),
        len(message.content),
        message.price_credits,
        _encode(parts).decode(),
        _encode(message.envelope).decode(),
        None if not message.tags else _encode(message.tags).decode(),
        None if not message.metadata else _encode(message.metadata).decode(),
        message.accepted_ms,
        message.send_at_ms,
        message.expires_ms,
    )


def _status(message: Message, now_ms: int) -> Status:
    return Status.SCHEDULED if (message.send_at_ms or 0) > now_ms else Status.QUEUED


def _verdict(slot: Message | Verdict, lots: dict[str, ledger.Parts | None]) -> Verdict:
    if isinstance(slot, Verdict):
        return slot
    if lots[slot.id] is None:
        return Verdict(
            channel=slot.channel.value,
            refused=Reason.INSUFFICIENT_CREDITS,
            price_credits=slot.price_credits,
            detail=f"This message costs {slot.price_credits} {slot.channel} credits and the balance does not "
            "cover it. Buy credits or turn on auto-recharge, then send it again.",
        )
    return Verdict(
        id=slot.id,
        channel=slot.channel.value,
        price_credits=slot.price_credits,
        status=_status(slot, slot.accepted_ms).value,
        segments=getattr(slot.envelope, "segments", None),
    )
