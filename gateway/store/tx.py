"""A transaction as the verticals see it: SQLAlchemy for the rare statements, plain SQL for the hot ones.

Hot statements are written once, as text with `?` for parameters, in the SQL that SQLite (3.35 and later) and
PostgreSQL share; they run on the driver's own cursor with executemany. What only a database with several
writers needs (`lock`, `for_update`, `skip_locked`) is nothing at all on SQLite, where BEGIN IMMEDIATE has
locked everything already.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection, Executable, RowMapping
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError

from gateway.ids import IdFactory

Row = tuple[Any, ...]

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(hashtextextended(?, 0))"


class Conflict(Exception):
    """Another process wrote the same at the same time: the whole batch is to be run again."""


class Tx:
    """One open connection; whoever holds it is inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._driver: Any = connection.connection.driver_connection
        self.shared = connection.dialect.name != "sqlite"
        """Whether other processes may be writing at this moment."""
        self._format = _percent if self.shared else _identity
        self.for_update = " FOR UPDATE" if self.shared else ""
        """Ends a SELECT whose rows are to stay as they are until COMMIT."""
        self.skip_locked = " FOR UPDATE SKIP LOCKED" if self.shared else ""
        """Ends a SELECT that passes over rows which another process is at."""
        self._locked: tuple[Any, set[str]] = (None, set())
        self.new_id = IdFactory().new
        """Makes an id for a time in epoch milliseconds (rows that are born inside a transaction)."""

    def is_database_error(self, error: Exception) -> bool:
        """Whether the database (not the caller's own code) raised it, or the connection is gone."""
        return self.lost or isinstance(error, (DBAPIError, self.connection.dialect.loaded_dbapi.Error))

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return bool(getattr(self._driver, "closed", False))

    # --- several writers -------------------------------------------------------------------------------

    def lock(self, *names: str, shared: bool = False) -> None:
        """Waits for the locks `names` and holds them until COMMIT; in one order, so that nobody deadlocks.

        `shared` lets others hold them shared, too. What is held already costs nothing.
        """
        if not self.shared:
            return
        transaction = self.connection.get_nested_transaction() or self.connection.get_transaction()
        if self._locked[0] is not transaction:  # what a savepoint locked goes with it
            self._locked = (transaction, set())
        held = self._locked[1]
        mark = "/shared" if shared else ""
        wanted = sorted({name for name in names if name not in held and name + mark not in held})
        if wanted:
            self.run_many(_LOCK_SHARED if shared else _LOCK, [(name,) for name in wanted])
            held.update(name + mark for name in wanted)

    def lock_rows(self, sql: str, keys: Collection[tuple[Any, ...]]) -> None:
        """Runs a locking SELECT for every key, in one order; nothing on SQLite."""
        if self.shared:
            self.run_many(sql + self.for_update, sorted(keys))

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
