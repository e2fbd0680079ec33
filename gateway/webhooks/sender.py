"""Sends what the outbox holds: fair across webhooks, signed, retried with growing, jittered waits for a day.

A5: one slow target never delays the others. A target starts with two tries under way at once, each quick
success doubles that up to a limit, and a failure or a slow answer makes it a *suspect* with a single one; all
suspects together have at most half of the places. Rows live in the store, so they survive restarts; a dead
process's claims run out and are taken over (`gateway.webhooks.queue`).

A receiver that answers 410 Gone is not told anything more; nor is one for which too much has piled up.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from config.sections.webhooks import Webhooks as Settings
from gateway.clock import Clock
from gateway.jobs.loop import Job, Loop, Watch
from gateway.store.cache import Caches
from gateway.store.tx import Tx
from gateway.webhooks import queue, signature
from gateway.webhooks.post import Answer, Poster
from gateway.webhooks.queue import Due, Hook, Places, Scan

log = structlog.get_logger(__name__)

POLL_S = 0.5
PLACES = 128
_SUSPECT_PLACES = PLACES // 2
_WIDTH_FIRST = 2
_WIDTH_MAX = 16
_TARGETS_REMEMBERED = 10_000
_CLAIMED_AT_ONCE = 64
_BACKLOG_CHECK_S = 60.0
_LEASE_MARGIN_S = 30.0
_JITTER = 0.2
_GONE = 410  # RFC 9110 section 15.5.11; Standard Webhooks: disable the endpoint


@dataclass(slots=True)
class _Target:
    """What is known of a target; `width` is how many tries it may have under way."""

    under_way: int = 0
    width: int = _WIDTH_FIRST

    @property
    def suspect(self) -> bool:
        return self.width < _WIDTH_FIRST


class WebhookSender:
    """The dispatcher. `start` it on the loop, `stop` ends it; `wake` says that there may be work."""

    def __init__(
        self,
        caches: Caches,
        clock: Clock,
        settings: Settings,
        poster: Poster,
        *,
        poll_s: float = POLL_S,
        jitter: Callable[[], float] = random.random,
        observe: Callable[[str], None] = lambda _outcome: None,
        watch: Watch | None = None,
    ) -> None:
        """`observe` is told of every outcome: delivered, retried, failed."""
        self._caches = caches
        self._clock = clock
        self._settings = settings
        self._poster = poster
        self._jitter = jitter
        self._observe = observe
        self._targets: OrderedDict[Hook, _Target] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = Loop(
            Job(name="webhooks_send", work=self._round, every_s=poll_s, failed="webhook_round_failed"), watch
        )
        self._resume = queue.START
        self._backlog_check_s = clock.monotonic_s()

    async def start(self) -> None:
        """Begins to send."""
        await self._loop.start()

    def wake(self) -> None:
        """Looks into the outbox now instead of at the next poll."""
        self._loop.wake()

    async def stop(self, drain_s: float) -> None:
        """Claims nothing more, gives tries under way `drain_s` seconds, then ends them; they stay queued."""
        await self._loop.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._poster.close()

    @property
    def under_way(self) -> int:
        """Tries under way."""
        return len(self._tasks)

    # --- what is due -----------------------------------------------------------------------------------

    async def _round(self) -> bool:
        """Claims and starts what is due and has a place; whether it is worth looking again at once."""
        limit = min(_CLAIMED_AT_ONCE, PLACES - len(self._tasks))
        if limit <= 0:
            return False
        now_ms = self._clock.now_ms()
        places, resume = self._places(limit), self._resume
        found = await self._caches.store.read(lambda tx: queue.scan(tx, resume, places, now_ms=now_ms))
        self._resume = found.resume
        await self._tidy(found)
        if not found.due:
            return found.resume != queue.START
        lease_ms = int((self._settings.timeout_s + _LEASE_MARGIN_S) * 1000)
        claimed = await self._caches.store.sweep(
            lambda tx: queue.claim(tx, found.due, now_ms=now_ms, lease_ms=lease_ms), urgent=True
        )
        for due in claimed:
            self._begin(due)
        return True

    def _places(self, limit: int) -> Places:
        suspects = {hook: target for hook, target in self._targets.items() if target.suspect}
        return Places(
            left=limit,
            of_suspects=_SUSPECT_PLACES - sum(target.under_way for target in suspects.values()),
            of_unknown=_WIDTH_FIRST,
            known={hook: target.width - target.under_way for hook, target in self._targets.items()},
            suspects=frozenset(suspects),
        )

    async def _tidy(self, found: Scan) -> None:
        """Drops what waits for nobody; now and then looks for webhooks where too much has piled up."""
        if found.idle:
            reason = "the webhook is disabled or deleted"
            await self._caches.store.sweep(lambda tx: queue.drop(tx, found.idle, reason))
        now_s = self._clock.monotonic_s()
        if now_s < self._backlog_check_s or not self._targets:
            return
        self._backlog_check_s = now_s + _BACKLOG_CHECK_S
        hooks = list(self._targets)
        for hook in await self._caches.store.read(lambda tx: queue.overfull(tx, hooks)):
            await self._disable(hook, f"More than {queue.BACKLOG_MAX} events waited for it.")

    # --- one delivery ----------------------------------------------------------------------------------

    def _begin(self, due: Due) -> None:
        hook = (due.account_id, due.webhook_id)
        target = self._targets.setdefault(hook, _Target())
        target.under_way += 1
        task = asyncio.get_running_loop().create_task(self._deliver(due, hook, target))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._loop.wake()
        if not task.cancelled() and task.exception() is not None:
            log.error("webhook_delivery_failed", exc_info=task.exception())

    async def _deliver(self, due: Due, hook: Hook, target: _Target) -> None:
        started_s = self._clock.monotonic_s()
        try:
            body = due.body.encode()
            headers = signature.headers(due.secret, due.id, body, self._clock.now_ms() // 1000)
            answer = await self._poster.post(due.url, headers, body)
            slow = self._clock.monotonic_s() - started_s > self._settings.timeout_s / 4
            target.width = 1 if slow or not answer.good else min(_WIDTH_MAX, target.width * 2)
        finally:
            target.under_way -= 1
            self._remember(hook, target)
        await self._settle(due, hook, answer)

    def _remember(self, hook: Hook, target: _Target) -> None:
        self._targets[hook] = target
        self._targets.move_to_end(hook)
        if len(self._targets) > _TARGETS_REMEMBERED:
            idle = next((hook for hook, target in self._targets.items() if not target.under_way), None)
            if idle is not None:
                del self._targets[idle]

    async def _settle(self, due: Due, hook: Hook, answer: Answer) -> None:
        attempts = due.attempts + 1
        now_ms = self._clock.now_ms()
        status, next_ms = "delivered", now_ms
        if not answer.good:
            next_ms = now_ms + int(1000 * self._wait_s(attempts, answer.retry_after_s))
            over = attempts >= self._settings.max_attempts
            late = next_ms > due.queued_ms + self._settings.retry_for_s * 1000
            status = "failed" if over or late or answer.status == _GONE else "waiting"
        await self._caches.store.write(
            lambda tx: queue.settle(tx, due, status, next_ms, answer.reply),
            locks=queue.locks(hook),
            urgent=True,
        )
        self._observe("retried" if status == "waiting" else status)
        if answer.status == _GONE:
            await self._disable(hook, "The receiver answered 410 Gone.")

    def _wait_s(self, attempts: int, retry_after_s: float) -> float:
        """The wait after that many attempts: doubled each time, jittered, never shorter than asked for."""
        most_s = self._settings.retry_max_s
        wait_s = min(most_s, self._settings.retry_first_s * 2.0 ** min(attempts - 1, 64))
        jittered_s = wait_s * (1 + _JITTER * (2 * self._jitter() - 1))
        return max(jittered_s, min(retry_after_s, most_s))

    async def _disable(self, hook: Hook, note: str) -> None:
        def change(tx: Tx) -> None:
            queue.disable(tx, hook, note)

        await self._caches.write(change, urgent=True)
        log.warning("webhook_disabled", webhook_id=hook[1], reason=note)
