"""The one MetaData that every vertical's tables register on, and the column types they share.

Conventions: ids are 26-character text (`gateway.ids`); times are integer milliseconds since the epoch, UTC
(`…_ms`); credits are integers; JSON is text written by msgspec. A table that belongs to an account has
`account_id` first in its key, so that a distributed PostgreSQL can shard by it.
"""

import sys
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Text
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def every_table() -> MetaData:
    """The metadata with all tables. Raises RuntimeError where nobody has imported `gateway.verticals` yet."""
    if "gateway.verticals" not in sys.modules:
        raise RuntimeError("import gateway.verticals first: it knows the tables of every part of the gateway")
    return metadata


# SQLite keeps rows of these tables inside the primary key's own tree: one tree less to write per message.
CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}

_Int64: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def id_column(name: str, *, key: bool = False, nullable: bool = False) -> Column[str]:
    """A column that holds an id made by `gateway.ids`."""
    return Column(name, String(26), primary_key=key, nullable=nullable)


def ms_column(name: str, *, nullable: bool = False) -> Column[int]:
    """A column that holds a time in epoch milliseconds, UTC."""
    return Column(name, _Int64, nullable=nullable)


def int_column(
    name: str, default: int | None = 0, *, key: bool = False, nullable: bool = False
) -> Column[int]:
    """A 64-bit integer column; `default` is the database's own, None for none."""
    server_default = None if default is None else str(default)
    return Column(name, _Int64, primary_key=key, nullable=nullable, server_default=server_default)


def text_column(name: str, *args: Any, nullable: bool = False, **kwargs: Any) -> Column[str]:
    """A text column of any length."""
    return Column(name, Text, *args, nullable=nullable, **kwargs)
