"""PostgreSQL (15 and later) as the second engine: several daemons on one database.

`store.url` is a connection URI of libpq, with several hosts where there are standbys:
`postgresql://gateway@db1,db2/gateway`. We connect to the one that takes writes and, when it goes, to the one
that takes writes then. READ COMMITTED, with locks where two processes could get in each other's way, all of
them at the batch's start and in one order (`gateway.store.locks`); what deadlocks all the same is run again.

**The COMMIT whose answer never came.** Every batch writes its number into the writer's own row of
`writer_batch`. When the connection breaks during COMMIT, the next connection ends what is left of the old one
and looks at that row: the number is there, or the batch is not. Looking writes the row too: it waits for an
old transaction that still holds it, and its own COMMIT returns only when a synchronous standby has everything
before it.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from config import Secret
from gateway.store.errors import StoreBusy, StoreError
from gateway.store.locks import NOTHING, Conflict, Locks, Unforeseen
from gateway.store.session import Lost, Plan, Work, WriterSession
from gateway.store.tx import Listener, Tx

T = TypeVar("T")
log = structlog.get_logger(__name__)

READERS = 4
_LEAST_VERSION = 150_000
_AGAIN_MAX = 6
_CONNECT_TIMEOUT_S = 5
_IDLE_S = 30.0
_END_OLD_MS = 5000
_ROW_KEPT_MS = 86_400_000

# Both sides find out within seconds that the other's machine is gone, and what it had locked comes free.
_CLIENT: dict[str, Any] = {
    "target_session_attrs": "read-write",
    "connect_timeout": _CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_SERVER = """
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 15000; SET idle_in_transaction_session_timeout = {idle_ms};
SET client_min_messages = error;
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
  WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""
_NUMBER = """
INSERT INTO writer_batch (holder, number, at_ms) VALUES (%s, %s, %s)
ON CONFLICT (holder) DO UPDATE SET number = excluded.number, at_ms = excluded.at_ms
"""
_LOOK = """
INSERT INTO writer_batch (holder, number, at_ms) VALUES (%s, 0, %s)
ON CONFLICT (holder) DO UPDATE SET at_ms = excluded.at_ms RETURNING number
"""
_FORGET = """
DELETE FROM writer_batch WHERE holder IN (
  SELECT holder FROM writer_batch WHERE at_ms < %s FOR UPDATE SKIP LOCKED)
"""
_END_OLD = """
SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
WHERE application_name = %s AND usename = current_user AND datname = current_database()
  AND pid <> pg_backend_pid()
"""

_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
# Read-only now (the primary has moved), and the server going down or starting up.
_GONE = {"25006", "57P01", "57P02", "57P03"}


def is_url(url: str) -> bool:
    """Whether `url` names a PostgreSQL database."""
    return url.startswith("postgresql://")


def open_engines(
    url: str, *, password: Secret | None = None, holder: str = "", idle_s: float = _IDLE_S
) -> tuple[Engine, Engine]:
    """The writer's engine and the readers' engine. Raises StoreError: not to be reached, too old, not UTF-8.

    `holder` names the writer's connection, so that its successor can end it. A process that stands still
    inside a transaction keeps its locks from everybody: after `idle_s` the server ends that transaction.
    """
    writer = _engine(url, password, writer_name(holder), NullPool, idle_s=idle_s)
    readers = _engine(url, password, "gateway reader", QueuePool, pool_size=READERS, max_overflow=0)
    try:
        with writer.connect() as connection:
            _check_server(connection.connection.driver_connection)
    except (DBAPIError, psycopg.Error) as error:
        writer.dispose()
        readers.dispose()
        raise StoreError(
            f"store.url: PostgreSQL cannot be used ({_line(error)}). "
            "Check host, user, password and database, and that the server takes writes."
        ) from error
    except StoreError:
        writer.dispose()
        readers.dispose()
        raise
    return writer, readers


def writer_name(holder: str) -> str:
    """What pg_stat_activity shows of a writer's connection."""
    return f"gateway writer {holder}"


def _engine(
    url: str, password: Secret | None, name: str, pool: type[Any], *, idle_s: float = _IDLE_S, **options: Any
) -> Engine:
    reader = pool is QueuePool

    def connect() -> psycopg.Connection[Any]:
        secret = {} if password is None else {"password": password.reveal()}
        given = psycopg.conninfo.conninfo_to_dict(url)
        parameters = {**_CLIENT, **given, **secret, "application_name": name}
        connection = psycopg.connect(autocommit=True, **parameters)
        connection.adapters.register_dumper(str, _Text)
        connection.execute(_SERVER.format(idle_ms=max(1, int(idle_s * 1000))).encode())
        if reader:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        connection.autocommit = False
        return connection

    return create_engine("postgresql+psycopg://", creator=connect, poolclass=pool, **options)


def _check_server(connection: Any) -> None:
    if connection.info.server_version < _LEAST_VERSION:
        raise StoreError(
            f"store.url: the server is PostgreSQL {connection.info.server_version // 10_000}; "
            "this program needs 15 or later."
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"store.url: the database's encoding is {encoding}. "
            "Make one with: createdb --encoding=UTF8 --template=template0"
        )
    if connection.execute("SHOW fsync").fetchone()[0] != "on":
        log.warning("postgresql_without_fsync")
    connection.rollback()


class _Text(StrDumperUnknown):
    """Text with NUL, which PostgreSQL cannot hold, in the one way that loses no message for it."""

    def dump(self, obj: str) -> Any:
        return obj.replace("\0", "\N{REPLACEMENT CHARACTER}").encode() if "\0" in obj else obj.encode()


def read(engine: Engine, function: Callable[[Tx], T]) -> T:
    """Runs `function` in a snapshot of its own. Raises StoreBusy while the database is away.

    A connection that broke while it rested in the pool is not the end: there are READERS of them at most.
    """
    for _ in range(READERS + 1):
        try:
            connection = engine.connect()
        except (DBAPIError, psycopg.Error) as error:
            raise StoreBusy("The database is away for the moment.") from error
        with connection:
            tx = Tx(connection)
            try:
                with connection.begin():
                    return function(tx)
            except Exception as error:
                if not (tx.lost or _sqlstate(error) in _GONE):
                    raise
                connection.invalidate()
    raise StoreBusy("The database is away for the moment.")


class PostgresqlSession(WriterSession):
    """The writer's connection to PostgreSQL. `holder` is this writer's own name, never used again."""

    def __init__(self, engine: Engine, *, holder: str, listeners: Sequence[Listener] = ()) -> None:
        super().__init__(engine, listeners)
        self._holder = holder
        self._number = 0
        self._found = 0

    def open(self) -> None:
        super().open()
        now_ms = _now_ms()
        with self._driver.transaction():
            self._found = self._driver.execute(_LOOK, (self._holder, now_ms)).fetchone()[0]
            self._driver.execute(_FORGET, (now_ms - _ROW_KEPT_MS,))

    def reopen(self) -> bool:
        """Connects, ends what is left of the old connection, and looks which batch was the last."""
        self.close()
        try:
            super().open()
            self._driver.execute(_END_OLD, (_END_OLD_MS, writer_name(self._holder)))
            self._driver.rollback()
            self._driver.execute("SET LOCAL lock_timeout = 10000")
            self._found = self._driver.execute(_LOOK, (self._holder, _now_ms())).fetchone()[0]
            self._driver.commit()
        except (DBAPIError, psycopg.Error) as error:
            log.warning("store_not_reached", error=_line(error))
            self.close()
            return False
        return True

    def confirmed(self) -> bool:
        return self._found == self._number

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except (SQLAlchemyError, psycopg.Error):
                log.debug("store_connection_not_closed", exc_info=True)

    def run(self, work: Work, plan: Plan) -> list[Any]:
        more = NOTHING
        for attempt in range(_AGAIN_MAX):
            try:
                return self._run_once(work, plan, more)
            except Exception as error:
                if attempt + 1 == _AGAIN_MAX or not _is_conflict(error):
                    raise
                log.info("store_batch_again", error=_line(error))
                if isinstance(error, Unforeseen):
                    more = Locks.all_of((more, error.locks))
                else:
                    time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - so that two do not meet again
        raise AssertionError("unreachable")

    def _run_once(self, work: Work, plan: Plan, more: Locks) -> list[Any]:
        if self._connection is None:
            raise Lost(ConnectionError("not connected"), committing=False, results=[])
        self._number += 1
        results: list[Any] = []
        committing = False
        try:
            with self._connection.begin() as transaction:
                with self._driver.pipeline():  # BEGIN, the number and the locks in one round trip
                    self._driver.execute(_NUMBER, (self._holder, self._number, _now_ms()))
                    planned = plan(self.tx)
                    self.tx.lock(Locks.all_of((planned, more)) if more else planned)
                results = work(self.tx)
                committing = True
                transaction.commit()
        except Exception as error:
            self.tx.remembered.forget()
            if self.tx.lost or _sqlstate(error) in _GONE:
                raise Lost(error, committing=committing and self.tx.lost, results=results) from error
            raise
        return results

    @property
    def _driver(self) -> Any:
        return self.tx._driver  # noqa: SLF001 - the same connection


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, Conflict) or _sqlstate(error) in _AGAIN


def _sqlstate(error: BaseException) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None)


def _line(error: BaseException) -> str:
    """The error as one line."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())


def _now_ms() -> int:
    return int(time.time() * 1000)
