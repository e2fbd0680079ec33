"""The single writer: one connection, one commit for whatever has gathered.

A caller on the event loop submits an operation and gets a future that resolves only after COMMIT (A1), so one
fsync serves every operation of the batch. Operations of one type run together (`run_batch`), which lets them
read and write in bulk.

COMMIT, with its fsync, is the thread's. The statements before it are the event loop's where SQLite answers at
once: a thread that must ask for the interpreter's lock at each of them takes several times as long. They are
the thread's as well on PostgreSQL, when the batch is heavy, and when another process is writing just now. A
batch that fails is rolled back and its operations run again one by one, so that one bad operation never takes
others with it.

While the database is away (PostgreSQL only) new operations are refused with `StoreBusy`, those that wait are
refused after a few seconds, and urgent ones (outcomes, lease renewals) wait until it is back.

Raises `StoreBusy` when more than `queue_max` operations wait, or too many of one account (A6), `StoreFailed`
through the future when the database refused. It does not know what a message or a credit is.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from gateway.store.damage import Damage
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.gathered import Gathered
from gateway.store.locks import Locks
from gateway.store.operation import Operation
from gateway.store.probe import WriteProbe
from gateway.store.session import Lost, WriterSession
from gateway.store.sqlite import SqliteSession
from gateway.store.tx import Tx

T = TypeVar("T")
log = structlog.get_logger(__name__)


_LIGHT_MAX = 128
"""A batch of this weight is the event loop's: at most some 10 ms in which nothing else happens there."""
_COMPANY = (40, 0.002)
_COMPANY_SHARED = (24, 0.004)
"""After a batch of so many operations the next one waits so many seconds for company: a commit costs as much
as several messages (over a connection more), and those who were just answered are about to send the next.
"""
_BACK_OFF_S = (0.05, 2.0)  # the first wait for a database that is away, and the longest
_PATIENCE_S = 5.0  # so long what waits may hope that it comes back
_TRY_EVERY_S = 2.0
_PROBE_OCTETS = 1 << 18
_PROBE_WEIGHT_MAX = 2_000
_WEIGHT_OCTETS = 1 << 14  # of content, for each unit of `Operation.weight`
_AWAY = "The database is away for the moment."
_STOP_S = 5.0  # so long a stop waits for it


class Writer:
    """The writer thread and its queue. `observe(operations, seconds)` is told of every commit."""

    def __init__(
        self,
        session: WriterSession,
        *,
        batch_max: int,
        queue_max: int,
        observe: Callable[[int, float], None] = lambda _operations, _seconds: None,
        damage: Damage | None = None,
    ) -> None:
        self.damage = damage or Damage()
        self._session = session
        self._queue_max = queue_max
        self._observe = observe
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()  # of the thread; None ends it
        self._gathered = Gathered(batch_max)  # for the batches to come
        self._waiting = 0
        self._writing = False  # a batch is under way, or about to be
        self._stopping = False
        self._gave_up = False
        self.failing = False
        """True from a batch that could not be committed until as much could be: the store is not writable."""
        self._trying = False
        self._failed_weight = 0
        self.away = False
        """True while the database cannot be reached."""

    def start(self) -> None:
        """Connects and starts the thread; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._session.open()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Operations submitted and not yet committed."""
        return self._waiting

    def submit(self, operation: Operation[T], *, urgent: bool = False) -> "asyncio.Future[T]":
        """Queues `operation`; the future resolves after COMMIT.

        `urgent` operations (outcomes, lease renewals) pass the limit: they are bounded by what was accepted.
        """
        self.post(operation, urgent=urgent)
        future = operation.future = self._running().create_future()
        return future

    def post(self, operation: Operation[Any], *, urgent: bool = False) -> None:
        """Queues `operation`, whose end only its own `committed` or `failed` is told."""
        loop = self._running()
        if not urgent and (self.away or self._is_full(operation)):
            raise StoreBusy(_AWAY if self.away else "Too many operations wait for the disk.")
        self._waiting += 1
        if not urgent and (refusal := self.damage.refusal()) is not None:
            loop.call_soon(self._resolve, [operation], [refusal])
            return
        operation.urgent = urgent
        self._gathered.put(operation)
        if not self._writing:
            self._writing = True
            loop.call_soon(self._next)  # and with it all else that this turn of the loop brings

    def forget(self) -> None:
        """What caches hold has changed: the writer reads it again as well."""
        self._session.forget()

    async def stop(self) -> None:
        """Commits what was submitted, then ends the thread."""
        if self._thread is None:
            return
        self._stopping = True
        if not self._writing:
            self._next()
        await asyncio.to_thread(self._thread.join)

    def _is_full(self, operation: Operation[Any]) -> bool:
        """Whether as many wait as may, or as many of this one's account as places are free for all (A5)."""
        free = self._queue_max - self._waiting
        account_id = operation.account_id
        return free <= 0 or (account_id != "" and self._gathered.of(account_id) >= free)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise StoreBusy("The store is not running.")
        return self._loop

    # --- on the event loop -----------------------------------------------------------------------------

    def _next(self) -> None:
        """Begins the next batch; none is under way."""
        gathered = self._gathered
        if not gathered:
            self._writing = False
            if self._stopping:
                self._loop = None
                self._jobs.put(None)
            return
        batch = gathered.take()
        session = self._session
        if not isinstance(session, SqliteSession) or sum(one.weight for one in batch) > _LIGHT_MAX:
            self._jobs.put(partial(self._write, batch))
            return
        began = time.perf_counter()
        try:
            results = session.begin(partial(_run_groups, batch, _grouped(batch)))
        except Exception:  # noqa: BLE001 - another process writes, or an operation failed: the thread sees to it
            self._jobs.put(partial(self._write, batch))
        else:
            self._jobs.put(partial(self._finish, session, batch, results, began))

    def _written(self, batch: list[Operation[Any]], results: list[Any]) -> None:
        """Answers those of `batch`, and goes on with what gathered meanwhile."""
        loop = self._running()
        self._resolve(batch, results)
        crowd, company_s = _COMPANY_SHARED if self._session.shared else _COMPANY
        if len(batch) >= crowd and not self._stopping:
            loop.call_later(company_s, self._next)
        else:
            loop.call_soon(self._next)

    def _resolve(self, batch: list[Operation[Any]], results: list[Any]) -> None:
        self._waiting -= len(batch)
        for operation, result in zip(batch, results, strict=True):
            failed = isinstance(result, Exception)
            try:
                if failed:
                    operation.failed(result)
                else:
                    operation.committed(result)
            except Exception:
                log.exception("store_commit_hook_failed", operation=type(operation).__name__)
            future = operation.future
            if future is None or future.done():
                continue
            if failed:
                future.set_exception(result)
            else:
                future.set_result(result)

    def _refuse(self, batch: list[Operation[Any]]) -> None:
        """Answers what waits that it should come again; what is urgent goes on waiting.

        The operations of `batch` itself are resolved when it is given up.
        """
        refused = self._gathered.drop()
        self._resolve(refused, [StoreBusy(_AWAY)] * len(refused))
        for operation in batch:
            if not operation.urgent and operation.future is not None and not operation.future.done():
                operation.future.set_exception(StoreBusy(_AWAY))

    # --- in the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for job in iter(self._jobs.get, None):
                job()
        finally:
            self._session.close()

    def _write(self, batch: list[Operation[Any]]) -> None:
        self._tell(self._written, batch, self._commit(batch))

    def _finish(
        self, session: SqliteSession, batch: list[Operation[Any]], results: list[Any], began: float
    ) -> None:
        """Commits what the event loop began."""
        try:
            session.commit()
        except Exception:  # noqa: BLE001 - it is rolled back: one by one they tell which of them it was
            results = self._commit(batch)
        else:
            self._done(batch, began)
        self._tell(self._written, batch, results)

    def _tell(self, hook: Callable[..., None], *arguments: Any) -> None:
        """Runs `hook` on the event loop, which runs for as long as this thread has work."""
        self._running().call_soon_threadsafe(hook, *arguments)

    def _done(self, batch: list[Operation[Any]], began: float) -> None:
        self._observe(len(batch), time.perf_counter() - began)

    def _commit(self, batch: list[Operation[Any]]) -> list[Any]:
        began = time.perf_counter()
        groups = _grouped(batch)
        try:
            results = self._session.run(partial(_run_groups, batch, groups), partial(_locks, batch, groups))
        except Lost as lost:
            return self._outlast(batch, lost)
        except Exception as error:  # noqa: BLE001 - A7: no operation ends the writer
            damaged = self.damage.look(error)
            if not damaged:
                log.warning("store_batch_failed", operations=len(batch), error=type(error).__name__)
            if len(batch) > 1:
                return [result for one in batch for result in self._commit([one])]
            if self._session.tx.is_store_fault(error):
                self._note_failing(batch[0].weight)
            failure = StoreFailed(f"The store could not write: {cause(error)}")
            failure.__cause__ = error
            return [failure]
        self._done(batch, began)
        return results

    # --- until it can be written again -----------------------------------------------------------------

    def _note_failing(self, weight: int) -> None:
        """Something of this weight could not be written; called in the thread."""
        self.failing = True
        if weight != Operation.weight:  # that one says nothing of its size
            self._failed_weight = min(max(self._failed_weight, weight), _PROBE_WEIGHT_MAX)
        if not self._trying:
            self._trying = True
            self._tell(self._try_later)

    def _try_later(self) -> None:
        self._running().call_later(_TRY_EVERY_S, self._try)

    def _try(self) -> None:
        """Tries to write as much as what failed: a disk may have room for little and none for a mail."""
        if self._loop is None or self._stopping:
            return
        octets = max(_PROBE_OCTETS, self._failed_weight * _WEIGHT_OCTETS)
        self.post(WriteProbe(octets, self._tried), urgent=True)

    def _tried(self, *, written: bool) -> None:
        if written:
            self.failing = self._trying = False
            self._failed_weight = 0
            self.post(WriteProbe(0, _taken_away), urgent=True)
        else:
            self._try_later()

    # --- in the thread, while the database is away ------------------------------------------------------

    def _outlast(self, batch: list[Operation[Any]], lost: Lost) -> list[Any]:
        """Waits until the database is back, then finds out what became of `batch`, or runs it again."""
        log.warning("store_lost", error=lost, committing=lost.committing)
        self.away = self.failing = True
        gone_s = time.monotonic()
        wait_s = 0.0
        while not self._session.reopen():
            time.sleep(max(0.001, wait_s * random.uniform(0.5, 1)))  # noqa: S311 - jitter
            wait_s = min(max(wait_s * 2, _BACK_OFF_S[0]), _BACK_OFF_S[1])
            away_s = time.monotonic() - gone_s
            if away_s > _PATIENCE_S:
                self._tell(self._refuse, [] if lost.committing else batch)
            if self._gave_up or (self._stopping and away_s > _STOP_S):
                self._gave_up = True
                return [StoreFailed(_AWAY)] * len(batch)
        self.away = self.failing = False
        away_s = time.monotonic() - gone_s
        log.warning("store_found_again", away_s=round(away_s, 1))
        if lost.committing and self._session.confirmed():
            return lost.results
        again = [one for one in batch if one.urgent or away_s <= _PATIENCE_S]
        results = iter(self._commit(again) if again else [])
        wanted = {id(one) for one in again}
        return [next(results) if id(one) in wanted else StoreBusy(_AWAY) for one in batch]


def _taken_away(*, written: bool) -> None:
    """Where the probe could not be taken away, the next one is put in its place."""
    del written


def _grouped(batch: list[Operation[Any]]) -> list[tuple[type[Operation[Any]], list[int]]]:
    """The indexes of `batch` by type of operation, in the order in which the types run in every process."""
    groups: dict[type[Operation[Any]], list[int]] = {}
    for index, operation in enumerate(batch):
        groups.setdefault(type(operation), []).append(index)
    return sorted(groups.items(), key=lambda group: (group[0].priority, group[0].__name__))


def _run_groups(
    batch: list[Operation[Any]], groups: list[tuple[type[Operation[Any]], list[int]]], tx: Tx
) -> list[Any]:
    results: list[Any] = [None] * len(batch)
    for kind, members in groups:
        found = kind.run_batch(tx, [batch[index] for index in members])
        for index, result in zip(members, found, strict=True):
            results[index] = result
    return results


def _locks(
    batch: list[Operation[Any]], groups: list[tuple[type[Operation[Any]], list[int]]], tx: Tx
) -> Locks:
    return Locks.all_of(kind.locks(tx, [batch[index] for index in members]) for kind, members in groups)


def cause(error: Exception) -> str:
    """What the database said, or whatever went wrong."""
    return str(error.orig) if isinstance(error, DBAPIError) else f"{type(error).__name__}: {error}"
