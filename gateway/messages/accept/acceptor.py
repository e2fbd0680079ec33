"""Acceptance: shaped submissions become durable, paid for and, where memory has room, already on their way.

`shape_mail` and `shape_sms` judge and build; this module holds what is common to every ingress: idempotency
while a request runs (A4), the hand-over to delivery, and what caches learn about balances.
"""

import asyncio
from collections.abc import Callable, Sequence

from gateway.clock import Clock
from gateway.credits.terms import Terms
from gateway.messages.accept.accepting import AcceptMessages
from gateway.messages.deliver.dispatcher import Dispatcher
from gateway.messages.model import Message, Verdict
from gateway.messages.observer import Observer
from gateway.store.idempotency import IdempotencyKey
from gateway.store.store import Store


class KeyInUse(Exception):
    """A request with the same idempotency key is running (HTTP 409)."""


class Acceptor:
    """The one way into the gateway, whatever the ingress."""

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        terms: Terms,
        observer: Observer,
        spilled: Callable[[], None],
        recharge: Callable[[str, str], None],
        learn_balance: Callable[[str, str, int], None],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._terms = terms
        self._observer = observer
        self._spilled = spilled
        self._recharge = recharge
        self._learn_balance = learn_balance
        self._running: set[tuple[str, str]] = set()

    async def accept(
        self,
        account_id: str,
        slots: Sequence[Message | Verdict],
        key: IdempotencyKey | None = None,
        *,
        ingress: str = "other",
    ) -> list[Verdict]:
        """Makes the messages among `slots` durable and pays for them; a verdict per slot, in order.

        Raises KeyInUse, `durable.KeyReused`, `StoreBusy` and `StoreFailed`; in each case nothing was stored
        by this call. When the caller is cancelled the messages may still be accepted, and then are delivered.
        """
        if key is None:
            return await self._submit(account_id, slots, None, ingress)
        running = (account_id, key.key)
        if running in self._running:
            raise KeyInUse("A request with this Idempotency-Key is still running. Try again in a moment.")
        self._running.add(running)
        future = asyncio.ensure_future(self._submit(account_id, slots, key, ingress))
        future.add_done_callback(lambda _done: self._running.discard(running))
        return await asyncio.shield(future)

    async def _submit(
        self, account_id: str, slots: Sequence[Message | Verdict], key: IdempotencyKey | None, ingress: str
    ) -> list[Verdict]:
        verdicts = self.begin(account_id, slots, key, ingress=ingress)
        return verdicts if isinstance(verdicts, list) else await verdicts

    def begin(
        self,
        account_id: str,
        slots: Sequence[Message | Verdict],
        key: IdempotencyKey | None = None,
        *,
        ingress: str = "other",
    ) -> "list[Verdict] | asyncio.Future[list[Verdict]]":
        """The same without a task: the verdicts where nothing is to be stored, or their future.

        For a `key` the caller sees to it that no other request with it runs. Raises `StoreBusy`; the future
        raises the rest.
        """
        now_ms = self._clock.now_ms()
        messages = []
        for slot in slots:
            if isinstance(slot, Message):
                messages.append(slot)
            else:
                self._count_refused(slot, ingress)
        if not messages and key is None:
            return [slot for slot in slots if isinstance(slot, Verdict)]
        for message in messages:
            if (message.send_at_ms or 0) <= now_ms:
                self._dispatcher.reserve(message)
        operation = AcceptMessages(
            account_id=account_id,
            slots=slots,
            now_ms=now_ms,
            started_s=self._clock.monotonic_s(),
            holder=self._dispatcher.holder,
            key=key,
            terms=self._terms,
            on_commit=self._hand_over,
            on_failure=self._failed,
        )
        try:
            future = self._store.submit(operation)
        except BaseException:
            self._forget(messages)
            raise
        return future

    def _hand_over(self, operation: AcceptMessages, verdicts: list[Verdict]) -> None:
        """Right after COMMIT: durable messages go to delivery, the room of the others is given back."""
        seconds = self._clock.monotonic_s() - operation.started_s
        spilled = False
        for slot, verdict in zip(operation.slots, verdicts, strict=True):
            if not isinstance(slot, Message):
                continue
            if verdict.id != slot.id:  # refused for lack of credits, or the answer to an earlier request
                self._dispatcher.forget(slot)
                if not verdict.replayed:
                    self._count_refused(verdict, slot.ingress)
                continue
            self._observer.accepted(slot, seconds)
            if slot.held:
                self._dispatcher.put(slot)
            else:
                spilled = True
        if spilled:
            self._spilled()
        for product, balance in operation.balances.items():
            self._learn_balance(operation.account_id, product, balance)
        for order_id in operation.recharges:
            self._recharge(operation.account_id, order_id)

    def _failed(self, operation: AcceptMessages, error: Exception) -> None:
        """Nothing was stored: the room is given back."""
        del error
        self._forget([slot for slot in operation.slots if isinstance(slot, Message)])

    def _forget(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._dispatcher.forget(message)

    def _count_refused(self, verdict: Verdict, ingress: str) -> None:
        channel = verdict.channel or "any"
        self._observer.refused(channel, ingress, verdict.refused or "other")
