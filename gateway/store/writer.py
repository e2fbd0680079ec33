"""The single writer: one thread, one connection, one commit for whatever has gathered.

A caller on the event loop submits an operation and gets a future that resolves only after COMMIT (A1), so one
fsync serves every operation of the batch. Operations of one type run together (`run_batch`), which lets them
read and write in bulk. When a batch fails, it is rolled back and its operations run again one by one, so that
one bad operation never takes others with it.

Raises `StoreBusy` when more than `queue_max` operations wait (A6), `StoreFailed` through the future when the
database refused. It does not know what a message or a credit is.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.tx import Tx

T = TypeVar("T")
log = logging.getLogger(__name__)


class Operation(Generic[T]):
    """One thing to write. Subclasses say how many of them are written in one go.

    `committed` runs on the event loop right after COMMIT, before the future resolves and even when the caller
    has gone away: what a commit obliges us to do must not depend on who still listens.
    """

    priority: ClassVar[int] = 1  # lower runs first within a batch
    future: "asyncio.Future[T]"

    @classmethod
    def run_batch(cls, tx: Tx, operations: Sequence[Any]) -> list[Any]:
        """Runs all `operations` inside the open transaction: one result (or exception) each, in order."""
        raise NotImplementedError

    def committed(self, result: T) -> None:
        """Called on the event loop after COMMIT with the operation's own result."""


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
                if tx.is_database_error(error):
                    raise
                results.append(error)  # it belongs to the caller, who gets it whole
        return results


_STOP = object()


class Writer:
    """The writer thread and its queue. `observe(operations, seconds)` is told of every commit."""

    def __init__(
        self,
        engine: Engine,
        *,
        batch_max: int,
        queue_max: int,
        observe: Callable[[int, float], None] = lambda _operations, _seconds: None,
    ) -> None:
        self._engine = engine
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._observe = observe
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._waiting = 0  # touched on the event loop only
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failing = False
        """True while the last batch could not be committed: the store is not writable."""

    def start(self) -> None:
        """Starts the thread; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop,), name="store-writer", daemon=True
        )
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Operations submitted and not yet committed."""
        return self._waiting

    def submit(self, operation: Operation[T], *, urgent: bool = False) -> "asyncio.Future[T]":
        """Queues `operation`; the future resolves after COMMIT.

        `urgent` operations (outcomes, lease renewals) pass the limit: they are bounded by what was accepted.
        """
        if self._loop is None or self._thread is None:
            raise StoreBusy("The store is not running.")
        if self._waiting >= self._queue_max and not urgent:
            raise StoreBusy("Too many operations wait for the disk.")
        self._waiting += 1
        operation.future = self._loop.create_future()
        self._queue.put(operation)
        return operation.future

    async def stop(self) -> None:
        """Commits what was submitted, then ends the thread."""
        if self._thread is None:
            return
        self._queue.put(_STOP)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    # --- in the thread ---------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._engine.connect() as connection:
            tx = Tx(connection)
            running = True
            while running:
                batch, running = self._gather()
                if batch:
                    results = self._commit(connection, tx, batch)
                    loop.call_soon_threadsafe(self._resolve, batch, results)

    def _gather(self) -> tuple[list[Operation[Any]], bool]:
        batch = []
        item = self._queue.get()
        while item is not _STOP:
            batch.append(item)
            if len(batch) >= self._batch_max or self._queue.empty():
                return batch, True
            item = self._queue.get()
        return batch, False

    def _commit(self, connection: Connection, tx: Tx, batch: list[Operation[Any]]) -> list[Any]:
        started = time.perf_counter()
        try:
            with connection.begin():
                results = self._run_grouped(tx, batch)
        except Exception as error:  # noqa: BLE001 - A7: no operation ends the writer
            log.warning("store_batch_failed operations=%d error=%s", len(batch), type(error).__name__)
            if len(batch) > 1:
                return [result for one in batch for result in self._commit(connection, tx, [one])]
            self.failing = tx.is_database_error(error)
            failure = StoreFailed(f"The store could not write: {_cause(error)}")
            failure.__cause__ = error
            return [failure]
        self.failing = False
        self._observe(len(batch), time.perf_counter() - started)
        return results

    @staticmethod
    def _run_grouped(tx: Tx, batch: list[Operation[Any]]) -> list[Any]:
        groups: dict[type[Operation[Any]], list[int]] = {}
        for index, operation in enumerate(batch):
            groups.setdefault(type(operation), []).append(index)
        results: list[Any] = [None] * len(batch)
        for kind in sorted(groups, key=lambda kind: kind.priority):
            indexes = groups[kind]
            for index, result in zip(
                indexes, kind.run_batch(tx, [batch[index] for index in indexes]), strict=True
            ):
                results[index] = result
        return results

    # --- back on the event loop ------------------------------------------------------------------------

    def _resolve(self, batch: list[Operation[Any]], results: list[Any]) -> None:
        self._waiting -= len(batch)
        for operation, result in zip(batch, results, strict=True):
            future = operation.future
            if isinstance(result, Exception):
                if not future.done():
                    future.set_exception(result)
                continue
            try:
                operation.committed(result)
            except Exception:
                log.exception("store_commit_hook_failed operation=%s", type(operation).__name__)
            if not future.done():
                future.set_result(result)


def _cause(error: Exception) -> str:
    return str(error.orig) if isinstance(error, DBAPIError) else f"{type(error).__name__}: {error}"
