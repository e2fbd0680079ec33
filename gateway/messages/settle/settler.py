"""Writing settlements: each until it is written, a failure never without the DSN that it owes.

A settlement that the store refuses is tried again, as is one whose DSN cannot be made for want of
the store: both are written in one transaction, or later. Until then the memory of its work counts as taken,
which pushes back on acceptance (A6).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.messages.model import Channel, Message, Status, Work
from gateway.messages.settle import retry
from gateway.messages.settle.operation import SettleDeliveries
from gateway.messages.settle.settlement import Settlement
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.store import Store

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5
_NOTE_EVERY_S = 60.0

MakeDsns = Callable[[Work, Sequence[Settlement]], Awaitable[Sequence[Message]]]


class Settler:
    """Owns the settlements that are not written yet."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rules: Mapping[Channel, retry.Rules],
        make_dsns: MakeDsns,
        *,
        keep_content: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._make_dsns = make_dsns
        self._keep_content = keep_content
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._unwritten = 0
        self._note_at_s = float("-inf")
        self.tasks: set[asyncio.Task[None]] = set()
        """DSNs in the making."""

    def write(
        self, work: Work, settlements: list[Settlement], on_commit: Callable[[SettleDeliveries], None]
    ) -> None:
        """Writes what became of `work`; `on_commit` is called after COMMIT, and has to call `written`."""
        self._open += 1
        self._idle.clear()
        operation = SettleDeliveries(
            work,
            settlements,
            holder=work.message.holder,
            keep_content=self._keep_content,
            refund_on=self._rules[work.message.channel].refund_on,
            on_commit=on_commit,
            on_failure=self._not_written,
        )
        for one in settlements:
            if one.status is Status.FAILED:
                self._begin_report(operation)
                return
        self._submit(operation)

    def written(self) -> None:
        """One more has been written."""
        self._open -= 1
        if not self._open:
            self._idle.set()

    async def finish(self, within_s: float) -> None:
        """Returns when everything has been written, or after `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("settlements_left", count=self._open)

    # --- inside ----------------------------------------------------------------------------------------

    def _begin_report(self, operation: SettleDeliveries) -> None:
        task = asyncio.get_running_loop().create_task(self._report(operation))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _report(self, operation: SettleDeliveries) -> None:
        """A failure may owe its sender a DSN, written in the same transaction."""
        try:
            operation.dsns = await self._make_dsns(operation.work, operation.settlements)
        except (StoreBusy, StoreFailed) as error:
            self._note(error)
            self._later(partial(self._begin_report, operation))
            return
        except Exception:
            log.exception("dsn_not_written", message_id=operation.work.message.id)
        self._submit(operation)

    def _submit(self, operation: SettleDeliveries) -> None:
        try:
            self._store.post(operation, urgent=True)
        except StoreBusy:
            self._later(partial(self._submit, operation))

    def _not_written(self, operation: SettleDeliveries, error: Exception) -> None:
        self._note(error)
        self._later(partial(self._submit, operation))

    def _later(self, again: Callable[[], Any]) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_S, again)

    def _note(self, error: Exception) -> None:
        """Once a minute: while the store refuses, every settlement is tried twice a second."""
        self._unwritten += 1
        now_s = self._clock.monotonic_s()
        if now_s >= self._note_at_s:
            log.warning("settlement_not_written", error=str(error), times=self._unwritten)
            self._unwritten, self._note_at_s = 0, now_s + _NOTE_EVERY_S
