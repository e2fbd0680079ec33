"""A transaction as the verticals see it: SQLAlchemy for the rare statements, plain SQL for the hot ones.

Hot statements are written once, as text with `?` for parameters, in the SQL that SQLite (3.35 and later) and
PostgreSQL share; they run on the driver's own cursor with executemany.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection, Executable, RowMapping
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError

from gateway.ids import IdFactory

Row = tuple[Any, ...]


class Tx:
    """One open connection; whoever holds it is inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._format = _identity if connection.dialect.name == "sqlite" else _percent
        self.new_id = IdFactory().new
        """Makes an id for a time in epoch milliseconds (rows that are born inside a transaction)."""

    def is_database_error(self, error: Exception) -> bool:
        """Whether the database (not the caller's own code) raised it."""
        return isinstance(error, (DBAPIError, self.connection.dialect.loaded_dbapi.Error))

    # --- hot: plain SQL --------------------------------------------------------------------------------

    def run(self, sql: str, row: Sequence[Any] = ()) -> int:
        """Executes `sql` once; the number of rows it touched."""
        return int(self._cursor(sql, row).rowcount)

    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Executes `sql` for every row of parameters."""
        if rows:
            cursor = self._driver.cursor()
            cursor.executemany(self._format(sql), rows)
            cursor.close()

    def rows(self, sql: str, row: Sequence[Any] = ()) -> list[Row]:
        """All rows that `sql` answers."""
        return cast(list[Row], self._cursor(sql, row).fetchall())

    def one(self, sql: str, row: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        return cast(Row | None, self._cursor(sql, row).fetchone())

    def _cursor(self, sql: str, row: Sequence[Any]) -> Any:
        cursor = self._driver.cursor()
        cursor.execute(self._format(sql), row)
        return cursor

    @property
    def _driver(self) -> Any:
        return self.connection.connection.driver_connection

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
