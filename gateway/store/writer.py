"""The single writer: one thread, one connection, one commit for whatever has gathered.

A caller on the event loop submits an operation and gets a future that resolves only after COMMIT (A1), so one
fsync serves every operation of the batch. Operations of one type run together (`run_batch`), which lets them
read and write in bulk. When a batch fails, it is rolled back and its operations run again one by one, so that
one bad operation never takes others with it.

While the database is away (PostgreSQL only) new operations are refused with `StoreBusy`, those that wait are
refused after a few seconds, and urgent ones (outcomes, lease renewals) wait until it is back.

Raises `StoreBusy` when more than `queue_max` operations wait (A6), `StoreFailed` through the future when the
database refused. It does not know what a message or a credit is.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.session import Lost, Session
from gateway.store.tx import Conflict, Tx

T = TypeVar("T")
log = logging.getLogger(__name__)


class Operation(Generic[T]):
    """One thing to write. Subclasses say how many of them are written in one go.

    `committed` or `failed` runs on the event loop, before the future resolves and even when the caller has
    gone away: what a commit obliges us to do must not depend on who still listens.
    """

    priority: ClassVar[int] = 1  # lower runs first within a batch
    future: "asyncio.Future[T] | None" = None
    urgent = False

    @classmethod
    def locks(cls, operations: Sequence[Any]) -> Collection[str]:
        """What `operations` must have locked before the batch begins; asked where several processes write."""
        del operations
        return ()

    @classmethod
    def run_batch(cls, tx: Tx, operations: Sequence[Any]) -> list[Any]:
        """Runs all `operations` inside the open transaction: one result (or exception) each, in order.

        May be run again after a rollback: it must not keep anything but its last results.
        """
        raise NotImplementedError

    def committed(self, result: T) -> None:
        """Called on the event loop after COMMIT with the operation's own result."""

    def failed(self, error: Exception) -> None:
        """Called on the event loop when the operation was not written, or raised `error` itself."""


class Call(Operation[T]):
    """Any function of a transaction, in a savepoint of its own; what it raises reaches its caller alone."""

    def __init__(self, function: Callable[[Tx], T]) -> None:
        self.function = function

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[Call[Any]]") -> list[Any]:
        results: list[Any] = []
        for operation in operations:
            try:
                with tx.connection.begin_nested():
                    results.append(operation.function(tx))
            except Exception as error:
                if tx.is_database_error(error) or isinstance(error, Conflict):
                    raise
                results.append(error)  # it belongs to the caller, who gets it whole
        return results


_STOP = object()
_COMPANY_S = ((24, 0.0015), (3, 0.00075))
"""While operations come in numbers, a commit waits a moment for more, as it costs as much as several mails:
after a batch of at least so many operations, so long. The shorter moment is for latency, the longer for CPU.
"""
_BACK_OFF_S = (0.05, 2.0)  # the first wait for a database that is away, and the longest
_PATIENCE_S = 5.0  # so long what waits may hope that it comes back
_AWAY = "The database is away for the moment."
_STOP_S = 5.0  # so long a stop waits for it


class Writer:
    """The writer thread and its queue. `observe(operations, seconds)` is told of every commit."""

    def __init__(
        self,
        session: Session,
        *,
        batch_max: int,
        queue_max: int,
        observe: Callable[[int, float], None] = lambda _operations, _seconds: None,
    ) -> None:
        self._session = session
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._observe = observe
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._waiting = 0  # touched on the event loop only
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._soon: Callable[..., Any] = lambda *_: None  # the loop's call_soon_threadsafe
        self.failing = False
        """True while the last batch could not be committed: the store is not writable."""
        self.away = False
        """True while the database cannot be reached."""
        self._gathered: list[Operation[Any]] = []  # of this turn of the loop, which pass to the thread as one
        self._kept: deque[Any] = deque()  # taken from the queue and not yet in a batch; of the thread alone
        self._company_s = 0.0  # how long the next batch waits for more
        self._stopping = False
        self._gave_up = False

    def start(self) -> None:
        """Connects and starts the thread; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._soon = self._loop.call_soon_threadsafe
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
        if self._loop is None:
            raise StoreBusy("The store is not running.")
        self.post(operation, urgent=urgent)
        future = operation.future = self._loop.create_future()
        return future

    def post(self, operation: Operation[Any], *, urgent: bool = False) -> None:
        """Queues `operation`, whose end only its own `committed` or `failed` is told."""
        if self._loop is None or self._thread is None:
            raise StoreBusy("The store is not running.")
        if not urgent and (self.away or self._waiting >= self._queue_max):
            raise StoreBusy(_AWAY if self.away else "Too many operations wait for the disk.")
        self._waiting += 1
        operation.urgent = urgent
        if not self._gathered:  # the thread is woken once for all that a turn of the loop brings
            self._loop.call_soon(self._pass_on)
        self._gathered.append(operation)

    def _pass_on(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    async def stop(self) -> None:
        """Commits what was submitted, then ends the thread."""
        if self._thread is None:
            return
        self._stopping = True
        self._pass_on()
        self._queue.put([_STOP])
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    # --- in the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        try:
            while running:
                batch, running = self._gather()
                if batch:
                    self._tell(batch, self._commit(batch))
        finally:
            self._session.close()

    def _tell(self, batch: list[Operation[Any]], results: list[Any]) -> None:
        self._soon(self._resolve, batch, results)

    def _gather(self) -> tuple[list[Operation[Any]], bool]:
        """The next batch, waited for; False with the last one."""
        kept = self._kept
        if not kept:
            kept.extend(self._queue.get())
            if self._company_s:
                time.sleep(self._company_s)
        while len(kept) < self._batch_max and not self._queue.empty():
            kept.extend(self._queue.get())
        batch: list[Operation[Any]] = []
        while kept and len(batch) < self._batch_max:
            item = kept.popleft()
            if item is _STOP:
                return batch, False
            batch.append(item)
        self._company_s = next((wait_s for least, wait_s in _COMPANY_S if len(batch) >= least), 0.0)
        return batch, True

    def _commit(self, batch: list[Operation[Any]]) -> list[Any]:
        started = time.perf_counter()
        groups = _grouped(batch)
        locks: list[str] = []
        if self._session.shared:
            locks = [name for kind, ones in groups for name in kind.locks([batch[index] for index in ones])]
        try:
            results = self._session.run(lambda tx: _run_groups(tx, batch, groups), locks)
        except Lost as lost:
            return self._outlast(batch, lost)
        except Exception as error:  # noqa: BLE001 - A7: no operation ends the writer
            log.warning("store_batch_failed operations=%d error=%s", len(batch), type(error).__name__)
            if len(batch) > 1:
                return [result for one in batch for result in self._commit([one])]
            self.failing = self._session.tx.is_database_error(error)
            failure = StoreFailed(f"The store could not write: {_cause(error)}")
            failure.__cause__ = error
            return [failure]
        self.failing = False
        self._observe(len(batch), time.perf_counter() - started)
        return results

    # --- in the thread, while the database is away ------------------------------------------------------

    def _outlast(self, batch: list[Operation[Any]], lost: Lost) -> list[Any]:
        """Waits until the database is back, then finds out what became of `batch`, or runs it again."""
        log.warning("store_lost error=%s committing=%s", lost, lost.committing)
        self.away = self.failing = True
        gone_s = time.monotonic()
        wait_s = 0.0
        while not self._session.reopen():
            self._keep(max(0.001, wait_s * random.uniform(0.5, 1)))  # noqa: S311 - jitter
            wait_s = min(max(wait_s * 2, _BACK_OFF_S[0]), _BACK_OFF_S[1])
            away_s = time.monotonic() - gone_s
            if away_s > _PATIENCE_S:
                self._refuse([] if lost.committing else batch)
            if self._gave_up or (self._stopping and away_s > _STOP_S):
                self._gave_up = True
                return [StoreFailed(_AWAY)] * len(batch)
        self.away = self.failing = False
        away_s = time.monotonic() - gone_s
        log.warning("store_found_again away_s=%.1f", away_s)
        if lost.committing and self._session.confirmed():
            return lost.results
        again = [one for one in batch if one.urgent or away_s <= _PATIENCE_S]
        results = iter(self._commit(again) if again else [])
        wanted = {id(one) for one in again}
        return [next(results) if id(one) in wanted else StoreBusy(_AWAY) for one in batch]

    def _keep(self, wait_s: float) -> None:
        """Takes over what comes in within `wait_s`."""
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                self._kept.extend(self._queue.get(timeout=left_s))
            except Empty:
                break

    def _refuse(self, batch: list[Operation[Any]]) -> None:
        """Answers what waits that it should come again; what is urgent goes on waiting."""
        refused = [one for one in self._kept if one is not _STOP and not one.urgent]
        if refused:
            self._kept = deque(one for one in self._kept if one is _STOP or one.urgent)
            self._tell(refused, [StoreBusy(_AWAY)] * len(refused))
        self._soon(self._answer, [one for one in batch if not one.urgent])

    # --- back on the event loop ------------------------------------------------------------------------

    @staticmethod
    def _answer(refused: list[Operation[Any]]) -> None:
        """Tells callers that wait; the operations themselves are resolved when their batch is given up."""
        for operation in refused:
            if operation.future is not None and not operation.future.done():
                operation.future.set_exception(StoreBusy(_AWAY))

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
                log.exception("store_commit_hook_failed operation=%s", type(operation).__name__)
            future = operation.future
            if future is None or future.done():
                continue
            if failed:
                future.set_exception(result)
            else:
                future.set_result(result)


def _grouped(batch: list[Operation[Any]]) -> list[tuple[type[Operation[Any]], list[int]]]:
    """The indexes of `batch` by type of operation, in the order in which the types run in every process."""
    groups: dict[type[Operation[Any]], list[int]] = {}
    for index, operation in enumerate(batch):
        groups.setdefault(type(operation), []).append(index)
    return sorted(groups.items(), key=lambda group: (group[0].priority, group[0].__name__))


def _run_groups(
    tx: Tx, batch: list[Operation[Any]], groups: list[tuple[type[Operation[Any]], list[int]]]
) -> list[Any]:
    results: list[Any] = [None] * len(batch)
    for kind, members in groups:
        found = kind.run_batch(tx, [batch[index] for index in members])
        for index, result in zip(members, found, strict=True):
            results[index] = result
    return results


def _cause(error: Exception) -> str:
    return str(error.orig) if isinstance(error, DBAPIError) else f"{type(error).__name__}: {error}"
