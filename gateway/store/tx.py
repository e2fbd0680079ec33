"""A transaction as the verticals see it: SQLAlchemy for the rare statements, plain SQL for the hot ones.

Hot statements are written once, as text with `?` for parameters, in the SQL that SQLite (3.35 and later) and
PostgreSQL share; they run on the driver's own cursor with executemany. What only a database with several
writers needs (`lock`, `require`, `skip_locked`) is nothing at all on SQLite, where BEGIN
IMMEDIATE has locked everything already; its order is declared in `gateway.store.locks`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection, Executable, RowMapping
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError

from gateway.ids import IdFactory
from gateway.store.locks import NOTHING, Locks, Unforeseen
from gateway.store.remembered import Remembered

Row = tuple[Any, ...]
Listener = Callable[["Tx", Sequence[Any]], None]
"""Is told of events (`gateway.events`) inside the transaction that writes them."""

_LOCK = """
SELECT CASE WHEN ? THEN pg_advisory_xact_lock(hashtextextended(?, 0))
  ELSE pg_advisory_xact_lock_shared(hashtextextended(?, 0)) END
"""
# LATERAL, so that each key is looked up in the index, in this order: as a join, the whole table was read.
_LOCK_MESSAGES = """
SELECT 1 FROM (
  SELECT account_id, id FROM unnest(string_to_array(?, ','), string_to_array(?, ',')) AS one (account_id, id)
  ORDER BY account_id, id
) AS wanted, LATERAL (
  SELECT 1 FROM message m WHERE m.account_id = wanted.account_id AND m.id = wanted.id FOR UPDATE
) AS locked
"""


class Tx:
    """One open connection; whoever holds it is inside a transaction."""

    def __init__(self, connection: Connection, listeners: Sequence[Listener] = ()) -> None:
        self.connection = connection
        self.listeners = listeners
        self._driver: Any = connection.connection.driver_connection
        self.shared = connection.dialect.name != "sqlite"
        """Whether other processes may be writing at this moment."""
        self._format = _percent if self.shared else _identity
        self.skip_locked = " FOR UPDATE SKIP LOCKED" if self.shared else ""
        """Ends a SELECT that passes over rows which another process is at."""
        self.remembered = Remembered()
        """What the writer need not read again."""
        self._locks = NOTHING
        self.new_id = IdFactory().new
        """Makes an id for a time in epoch milliseconds (rows that are born inside a transaction)."""

    def is_database_error(self, error: Exception) -> bool:
        """Whether the database (not the caller's own code) raised it, or the connection is gone."""
        return self.lost or isinstance(error, (DBAPIError, self.connection.dialect.loaded_dbapi.Error))

    def is_store_fault(self, error: Exception) -> bool:
        """Whether it says that the database cannot write, not that it would not take this one statement."""
        dbapi: Any = self.connection.dialect.loaded_dbapi
        cause = error.orig if isinstance(error, DBAPIError) else error
        refusals = (dbapi.IntegrityError, dbapi.DataError, dbapi.ProgrammingError)
        return self.is_database_error(error) and not isinstance(cause, refusals)

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return bool(getattr(self._driver, "closed", False))

    # --- several writers -------------------------------------------------------------------------------

    def lock(self, locks: Locks) -> None:
        """Waits for `locks`, all that this transaction will ever wait for, and holds them until COMMIT."""
        if not self.shared:
            return
        self._locks = locks
        alone = locks.names
        self.run_many(_LOCK, [(name in alone, name, name) for name in sorted(alone | locks.shared)])
        # As one text each: the driver takes ten times as long for a list. No message has a comma in its id.
        messages = [key for key in locks.messages if "," not in key[1]]
        if messages:
            account_ids, ids = zip(*messages, strict=True)
            self.run(_LOCK_MESSAGES, (",".join(account_ids), ",".join(ids)))

    def require(self, locks: Locks) -> None:
        """Sees to it that `locks` were taken at the start. Raises Unforeseen, which takes them there."""
        if self.shared and (wanted := locks.without(self._locks)):
            raise Unforeseen(wanted)

    # --- hot: plain SQL --------------------------------------------------------------------------------

    def run(self, sql: str, row: Sequence[Any] = ()) -> int:
        """Executes `sql` once; the number of rows it touched."""
        return int(self._cursor(sql, row).rowcount)

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Executes `sql` for every row of parameters; the number of rows touched in all."""
        if not rows:
            return 0
        cursor = self._driver.cursor()
        cursor.executemany(self._format(sql), rows)
        count = int(cursor.rowcount)
        cursor.close()
        return count

    def copy(self, sql: str, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """PostgreSQL's COPY … FROM STDIN (FORMAT BINARY) of `rows`, whose values are of `types`."""
        with self._driver.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def rows(self, sql: str, row: Sequence[Any] = ()) -> list[Row]:
        """All rows that `sql` answers."""
        return cast(list[Row], self._cursor(sql, row).fetchall())

    def rows_many(self, sql: str, keys: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """What `rows` answers for each of `keys`, in their order; over a network in one round trip."""
        if not self.shared or len(keys) < 2:
            return [self.rows(sql, key) for key in keys]
        cursor = self._driver.cursor()
        cursor.executemany(self._format(sql), keys, returning=True)
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
        cursor.close()
        return found

    def one(self, sql: str, row: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        return cast(Row | None, self._cursor(sql, row).fetchone())

    def _cursor(self, sql: str, row: Sequence[Any]) -> Any:
        cursor = self._driver.cursor()
        cursor.execute(self._format(sql), row)
        return cursor

    # --- rare: SQLAlchemy Core -------------------------------------------------------------------------

    def execute(self, statement: Executable, rows: Any = None) -> CursorResult[Any]:
        """Executes a Core statement."""
        return self.connection.execute(statement, rows)

    def mappings(self, statement: Executable) -> list[RowMapping]:
        """All rows of a Core select, by column name."""
        return list(self.connection.execute(statement).mappings())

    def mapping(self, statement: Executable) -> RowMapping | None:
        """The first row of a Core select, by column name, or None."""
        return self.connection.execute(statement).mappings().first()


def placeholders(values: Iterable[Any]) -> str:
    """`(?, ?, …)` for an IN list."""
    return "(" + ", ".join("?" for _ in values) + ")"


def _identity(sql: str) -> str:
    return sql


@cache
def _percent(sql: str) -> str:
    """The same statement for drivers that write parameters as %s."""
    return sql.replace("%", "%%").replace("?", "%s")
