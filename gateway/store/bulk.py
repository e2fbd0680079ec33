"""Hot inserts: executemany, and on PostgreSQL COPY where it pays.

COPY in binary takes about 60 % of executemany's time at 500 rows and half of it at 50; below a few dozen rows
there is nothing in it (PostgreSQL 15, psycopg 3.3, fsync on).
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Integer, LargeBinary, Table

from gateway.store.tx import Tx, placeholders

_COPY_ROWS = 20  # from so many rows on


class Insert:
    """INSERT of some columns of a table, prepared once."""

    def __init__(self, table: Table, *columns: str) -> None:
        names = ", ".join(columns)
        self._insert = f"INSERT INTO {table.name} ({names}) VALUES {placeholders(columns)}"  # noqa: S608 - ours
        self._copy = f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)"
        self._types = [_postgresql_type(table, column) for column in columns]
        self._texts = [index for index, kind in enumerate(self._types) if kind == "text"]

    def run(self, tx: Tx, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts `rows`, each in the order of the columns."""
        if tx.shared and len(rows) >= _COPY_ROWS:
            tx.copy(self._copy, self._types, [self._sound(row) for row in rows])
        else:
            tx.run_many(self._insert, rows)

    def _sound(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """The row without NUL in its texts (see `gateway.store.postgresql`)."""
        for index in self._texts:
            if row[index] is not None and "\0" in row[index]:
                return tuple(
                    value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
                    for value in row
                )
        return row


def _postgresql_type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, LargeBinary):
        return "bytea"
    if isinstance(kind, BigInteger):
        return "int8"
    return "int4" if isinstance(kind, Integer) else "text"
