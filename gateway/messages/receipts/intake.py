"""What operators send back: receipts and late answers, on their way from `upstreams` into the store."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from gateway.clock import Clock
from gateway.messages.model import Submitted, Work
from gateway.messages.observer import Observer
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.messages.receipts.client import Due
from gateway.messages.receipts.late import TakeLateAnswer
from gateway.messages.settle.retry import Rules
from gateway.store.errors import StoreBusy
from gateway.store.store import Store

Offer = Callable[[Sequence[Due]], None]


class Offers:
    """Receipts for SMPP clients that this process has just queued: told to whoever can send them at once.

    Nobody has to listen: what is queued is found by polling as well.
    """

    def __init__(self) -> None:
        self._listeners: list[Offer] = []

    def listen(self, offer: Offer) -> None:
        """From now on `offer` is told."""
        self._listeners.append(offer)

    def __call__(self, owed: Sequence[Due]) -> None:
        for offer in self._listeners:
            offer(owed)


class Intake:
    """See the module. `rules` are those of SMS."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rules: Rules,
        *,
        keep_content: bool,
        parked_max: int,
        observer: Observer,
        offers: Offers,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._keep_content = keep_content
        self._parked_max = parked_max
        self._observer = observer
        self._offers = offers

    def receipts(self, receipts: Sequence[PartReceipt]) -> "asyncio.Future[list[str | None]]":
        """Writes all receipts of one read; done when they are durable."""
        operation = ApplyReceipts(
            *receipts,
            refund_on=self._rules.refund_on,
            keep_content=self._keep_content,
            parked_max=self._parked_max,
            settled=self._observer.receipted,
            owed=self._offers,
        )
        return self._store.submit(operation)

    def late(self, work: Work, submitted: Submitted) -> None:
        """Takes an answer that came after its attempt was given up."""
        operation = TakeLateAnswer(
            work,
            submitted,
            now_ms=self._clock.now_ms(),
            receipt_timeout_ms=self._rules.receipt_timeout_ms,
            refund_on=self._rules.refund_on,
            keep_content=self._keep_content,
        )
        with contextlib.suppress(StoreBusy):  # then it is tried again, as without the answer
            self._store.post(operation, urgent=True)
