"""SQLite as the embedded engine: WAL, synchronous=FULL, BEGIN IMMEDIATE for the writer.

One daemon per database: an advisory lock on `<database>.lock` says so, which also means that whoever gets it
may take over at once everything a dead process held. The command line needs no lock: its short transactions
queue behind the daemon's.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Transaction, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from gateway.store.errors import StoreError
from gateway.store.integrity import check_file
from gateway.store.session import Plan, Work, WriterSession
from gateway.store.tx import Listener

_READERS = 4


def open_engines(path: Path, *, busy_timeout_s: float) -> tuple[Engine, Engine]:
    """The writer's engine and the readers' engine for the database file at `path`.

    Raises StoreError when the folder is not writable or the file is no SQLite database, or not all of it.
    """
    _ensure_usable(path)
    check_file(path)
    _make_private(path)
    writer = _engine(path, "BEGIN IMMEDIATE", pool_size=1, busy_timeout_s=busy_timeout_s)
    readers = _engine(path, "BEGIN", pool_size=_READERS, busy_timeout_s=busy_timeout_s)
    try:
        with writer.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").fetchone()
    except (DatabaseError, OperationalError) as error:
        raise StoreError(
            f"{path}: not a usable SQLite database ({error.orig}). "
            "Restore it from a backup, or move it away to start with an empty one."
        ) from error
    return writer, readers


def _ensure_usable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"{path.parent}: cannot create this folder ({error.strerror}). Set store.url to one you own."
        ) from error
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise StoreError(
            f"{path}: not writable for this user. Change the owner of the folder and its files, "
            "or set store.url to another place."
        )


def _make_private(path: Path) -> None:
    """Only the owner may read the database and its log, from the first moment and whatever the umask.

    SQLite gives the files of the log (-wal, -shm) the rights that the database has when it makes them.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError):
            file.chmod(0o600)


def _engine(path: Path, begin: str, *, pool_size: int, busy_timeout_s: float) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False, "isolation_level": None},
    )

    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # A1: COMMIT returns after the fsync of the log
            "secure_delete=FAST",  # wiped where its page is written anyway; builds differ in their default
            "temp_store=MEMORY",
            "cache_size=-32768",
            "wal_autocheckpoint=4000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begin_transaction(connection: Connection) -> None:
        connection.connection.driver_connection.execute(begin)  # type: ignore[union-attr]  # it is open

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin_transaction)
    return engine


class SqliteSession(WriterSession):
    """The writer's connection. Only `run` waits while another process (the command line) is writing."""

    def __init__(self, engine: Engine, *, busy_timeout_s: float, listeners: Sequence[Listener] = ()) -> None:
        super().__init__(engine, listeners)
        self._busy_timeout_ms = int(busy_timeout_s * 1000)
        self._patient = True

    def begin(self, work: Work) -> list[Any]:
        """Runs `work` in a transaction that is left open for `commit`; its results.

        Raises what `work` raised, after a rollback, and at once when another process is writing.
        """
        self._wait(patient=False)
        return self._begin(work)

    def commit(self) -> None:
        """Commits what `begin` began, on another thread even. Raises what COMMIT raised, after a rollback."""
        transaction = self.tx.connection.get_transaction()
        if transaction is None:
            raise RuntimeError("nothing was begun")
        try:
            transaction.commit()
        except BaseException:
            self._roll_back(transaction)
            raise

    def run(self, work: Work, plan: Plan) -> list[Any]:
        del plan  # BEGIN IMMEDIATE locks everything
        self._wait(patient=True)
        results = self._begin(work)
        self.commit()
        return results

    def _begin(self, work: Work) -> list[Any]:
        transaction = self.tx.connection.begin()
        try:
            return work(self.tx)
        except BaseException:
            self._roll_back(transaction)
            raise

    def _roll_back(self, transaction: Transaction) -> None:
        """Ends it on both sides: a COMMIT that SQLite refuses leaves its transaction open."""
        transaction.rollback()
        self.tx.remembered.forget()
        connection = self.tx.connection.connection.driver_connection
        if connection is not None and connection.in_transaction:
            connection.rollback()

    def _wait(self, *, patient: bool) -> None:
        if patient is not self._patient:
            self.tx.run(f"PRAGMA busy_timeout = {self._busy_timeout_ms if patient else 0}")
            self._patient = patient


class DaemonLock:
    """The lock that keeps a second daemon off the same SQLite database."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._file: int | None = None
        self.unclean = False
        """Whether the last holder died with it, or knew of damage: the database is to be looked at."""

    def acquire(self) -> None:
        """Takes the lock or raises StoreError; the system releases it when the process dies."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreError(
                f"{self._path}: another gateway (process {holder}) runs on this database. "
                "Stop it first, or give this one a store.url of its own."
            ) from error
        self.unclean = os.fstat(descriptor).st_size > 0
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        self._file = descriptor

    def release(self) -> None:
        """Gives the lock back; what is written there stays where the next one is to look at the database."""
        if self._file is not None:
            if not self.unclean:
                os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None
