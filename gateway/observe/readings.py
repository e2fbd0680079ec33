"""Gauges that need the database: the queue's depth and age, balances, the database's size.

One task reads them now and then, on a reader's connection; a scrape shows what was read last. It rests twenty
times as long as the reading took, so that it never costs more than a twentieth of one reader, however long
the queue has become. Processes that share a database all show the same: take their maximum, not their sum.
"""

import asyncio
from dataclasses import dataclass

import structlog

from gateway.clock import Clock
from gateway.credits import ledger
from gateway.jobs.loop import Job, Loop
from gateway.messages import query
from gateway.messages.model import Channel
from gateway.observe.bounded import word
from gateway.observe.metrics import Metrics
from gateway.store.store import Store
from gateway.store.tx import Tx

log = structlog.get_logger(__name__)

EVERY_S = 10.0
_REST = 20

_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look into the database found. `lots`: (product, source, granted, remaining)."""

    queue: dict[str, tuple[int, int | None]]
    lots: list[tuple[str, str, int, int]]
    size_octets: int


def read(tx: Tx, now_ms: int) -> Reading:
    """The queue, all lots summed, and the size of the database."""
    ((size,),) = tx.rows(_SIZE[tx.connection.dialect.name])
    return Reading(query.queue_depth(tx), ledger.totals(tx, now_ms=now_ms), int(size))


class Readings:
    """The task. `start` it on the event loop, `stop` ends it."""

    def __init__(self, metrics: Metrics, store: Store, clock: Clock, *, every_s: float = EVERY_S) -> None:
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self._every_s = every_s
        self._loop = Loop(
            Job(name="readings", work=self._round, every_s=every_s, failed="metrics_reading_failed"), metrics
        )

    async def start(self) -> None:
        """Begins to read, at once."""
        await self._loop.start()

    async def stop(self) -> None:
        """Reads no more."""
        await self._loop.stop()

    async def read_once(self) -> None:
        """Reads the database and sets the gauges. Raises StoreBusy, and what the database raises."""
        now_ms = self._clock.now_ms()
        self._show(await self._store.read(lambda tx: read(tx, now_ms)), now_ms)

    async def _round(self) -> None:
        started_s = self._clock.monotonic_s()
        await self.read_once()  # should it fail, readings_timestamp_seconds tells how old the gauges are
        took_s = self._clock.monotonic_s() - started_s
        await asyncio.sleep(max(0.0, took_s * _REST - self._every_s))

    def _show(self, reading: Reading, now_ms: int) -> None:
        metrics = self._metrics
        for channel in Channel:
            count, oldest_ms = reading.queue.get(channel, (0, None))
            waiting_ms = 0 if oldest_ms is None else max(0, now_ms - oldest_ms)
            metrics.queue_deliveries.labels(channel).set(count)
            metrics.queue_oldest_seconds.labels(channel).set(waiting_ms / 1000)
        balances: dict[str, int] = {}
        for product, source, granted, remaining in reading.lots:
            balances[product] = balances.get(product, 0) + remaining
            metrics.credits_granted.labels(word(product), word(source)).set(granted)
        for product, balance in balances.items():
            metrics.credits_balance.labels(word(product)).set(balance)
        metrics.store_size_octets.set(reading.size_octets)
        metrics.readings_timestamp_seconds.set(now_ms / 1000)
