"""The store: one way to write (the group-committing writer), one way to read, and the schema's version.

`Store.open` checks that the schema is the one this program knows; `gateway.store.schema` brings it there.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import DBAPIError

from config import Secret
from gateway.ids import IdFactory
from gateway.store import integrity, postgresql, schema, sqlite
from gateway.store.damage import ADVICE, Damage
from gateway.store.errors import StoreBusy, StoreError, StoreFailed
from gateway.store.locks import NOTHING, Locks
from gateway.store.operation import Call, Operation, Sweep
from gateway.store.session import WriterSession
from gateway.store.tx import Listener, Tx
from gateway.store.writer import Writer, cause

T = TypeVar("T")
_READER_THREADS = 4
_READS_MAX = 256


class Store:
    """An open database. Writes resolve after COMMIT; reads see only what was committed."""

    def __init__(
        self, writer_engine: Engine, reader_engine: Engine, writer: Writer, path: Path = Path()
    ) -> None:
        self._path = path
        self._writer_engine = writer_engine
        self._reader_engine = reader_engine
        self.writer = writer
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="store-reader")
        self._reading = 0
        self._lock: sqlite.DaemonLock | None = None
        self.damage = writer.damage
        self._remote = reader_engine.dialect.name != "sqlite"

    @classmethod
    def open(
        cls,
        url: str,
        *,
        password: Secret | None = None,
        batch_max: int = 500,
        queue_max: int = 10_000,
        lease_s: float = 15.0,
        busy_timeout_s: float = 10.0,
        exclusive: bool = False,
        upgrade: bool = False,
        listeners: Sequence[Listener] = (),
        observe: Callable[[int, float], None] = lambda _operations, _seconds: None,
    ) -> "Store":
        """Opens the database at `url` and starts its writer on the running event loop.

        `exclusive` takes the daemon's lock, where there is one: on PostgreSQL several daemons share the work.
        `upgrade` brings an older schema up to date first. `listeners` are told of events inside the
        transaction that writes them. Who stands still inside a transaction on PostgreSQL
        keeps its locks for a third of `lease_s`, so that others can still renew their leases. Raises
        StoreError with what to do: unusable file, no connection, a schema newer or older than this
        program's, lock held.
        """
        lock = None
        damage, path = Damage(), Path()
        session: WriterSession
        if postgresql.is_url(url):
            holder = IdFactory().new(int(time.time() * 1000))
            writer_engine, reader_engine = postgresql.open_engines(
                url, password=password, holder=holder, idle_s=lease_s / 3
            )
            session = postgresql.PostgresqlSession(writer_engine, holder=holder, listeners=listeners)
        else:
            path = sqlite_path(url)
            damage = Damage(path.with_name(path.name + ".damaged"), watch=not exclusive)
            writer_engine, reader_engine = sqlite.open_engines(path, busy_timeout_s=busy_timeout_s)
            session = sqlite.SqliteSession(writer_engine, busy_timeout_s=busy_timeout_s, listeners=listeners)
            lock = sqlite.DaemonLock(path) if exclusive else None
        writer = Writer(session, batch_max=batch_max, queue_max=queue_max, observe=observe, damage=damage)
        store = cls(writer_engine, reader_engine, writer, path)
        try:
            if lock is not None:
                lock.acquire()
                store._lock = lock
                damage.forget()
            if upgrade:
                schema.upgrade(writer_engine)
            schema.check(writer_engine)
            writer.start()
        except BaseException as error:
            store._dispose()
            if damage.look(error):
                raise StoreError(f"{url}: the database is damaged ({damage.text}). {ADVICE}") from error
            raise
        return store

    def background_check(self) -> integrity.BackgroundCheck | None:
        """A look at the whole database where the last daemon did not stop cleanly, for who has the lock."""
        lock = self._lock
        if lock is None or not lock.unclean:
            return None

        def sound() -> None:
            lock.unclean = False

        return integrity.BackgroundCheck(self._path, self.damage, sound)

    @property
    def exclusive(self) -> bool:
        """Whether no other daemon can be working on this database."""
        return self._lock is not None

    def submit(self, operation: Operation[T], *, urgent: bool = False) -> "asyncio.Future[T]":
        """Queues an operation; see `Writer.submit`."""
        return self.writer.submit(operation, urgent=urgent)

    def post(self, operation: Operation[Any], *, urgent: bool = False) -> None:
        """Queues an operation that nobody waits for; see `Writer.post`."""
        self.writer.post(operation, urgent=urgent)

    async def write(self, function: Callable[[Tx], T], *, locks: Locks = NOTHING, urgent: bool = False) -> T:
        """Runs `function` in the writer's next batch; its result, after COMMIT.

        `locks` are what it changes that others may be changing just now (`gateway.store.locks`).
        """
        return await self.writer.submit(Call(function, locks), urgent=urgent)

    async def sweep(self, function: Callable[[Tx], T], *, locks: Locks = NOTHING, urgent: bool = False) -> T:
        """The same for a function that takes rows nobody else is at, wherever they are: last in its batch."""
        return await self.writer.submit(Sweep(function, locks), urgent=urgent)

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Runs `function` on a reader's connection, in one consistent snapshot.

        Raises StoreBusy when too many wait, or the database is away, and StoreFailed when it cannot read.
        `function` may be run twice.
        """
        if self._reading >= _READS_MAX:
            raise StoreBusy("Too many reads wait for the database.")
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)
        finally:
            self._reading -= 1

    def _read(self, function: Callable[[Tx], T]) -> T:
        if self._remote:
            return postgresql.read(self._reader_engine, function)
        try:
            with self._reader_engine.connect() as connection, connection.begin():
                return function(Tx(connection))
        except (DBAPIError, sqlite3.Error) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StoreFailed:
        self.damage.look(error)
        return StoreFailed(f"The store could not read: {cause(error)}")

    async def close(self) -> None:
        """Commits what waits, then closes every connection."""
        await self.writer.stop()
        self._readers.shutdown(wait=True)
        self._dispose()

    def _dispose(self) -> None:
        self._reader_engine.dispose()
        self._writer_engine.dispose()
        if self._lock is not None:
            self._lock.unclean |= bool(self.damage.text)
            self._lock.release()


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:path` or `sqlite:///path` URL."""
    if url.startswith("sqlite:") and not url.startswith("sqlite://"):
        return Path(url.removeprefix("sqlite:"))
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise StoreError(
            f"store.url: {parsed.get_backend_name()} is not supported; use sqlite:var/gateway.db or postgresql://…"
        )
    return Path(parsed.database)
