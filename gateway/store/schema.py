"""The version of the schema: Alembic migrations in `migrations/`, applied and checked from here.

A migration's version is the number that its file's name begins with. Alembic is imported to apply them, and
for nothing else: that takes as long as a sixth of a whole command.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from gateway.store.errors import StoreError
from gateway.store.locks import named
from gateway.store.metadata import every_table
from gateway.store.tx import Tx

UNFINISHED_COPY = "unfinished_copy"
"""The table that stands in a database while `gateway db copy` fills it."""
MIGRATIONS = Path(__file__).with_name("migrations")
_TEXTS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation o ON o.oid = a.attcollation
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
  AND a.attnum > 0 AND NOT a.attisdropped AND o.collname <> 'C'
"""


@cache
def versions() -> frozenset[str]:
    """The versions this program knows."""
    return frozenset(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def head() -> str:
    """The version this program needs."""
    return max(versions())


def current(engine: Engine) -> str | None:
    """The database's version, None for an empty database."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def upgrade(engine: Engine) -> None:
    """Brings the database to `head()`, in one transaction. Raises StoreError for a newer database.

    On PostgreSQL one process at a time does it; the others find it done.
    """
    from alembic import command  # noqa: PLC0415 - see the module
    from alembic.config import Config  # noqa: PLC0415 - see the module

    _refuse_newer(current(engine))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection, connection.begin():
        Tx(connection).lock(named("schema"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.dialect.name == "postgresql":
            _sort_by_octets(connection)


def check(engine: Engine) -> None:
    """Raises StoreError unless the database is exactly at `head()`."""
    version = current(engine)
    _refuse_newer(version)
    if inspect(engine).has_table(UNFINISHED_COPY):
        raise StoreError(
            "A copy into this database was not finished. Run the same `gateway db copy` again, "
            "or empty the database."
        )
    if version != head():
        raise StoreError(
            f"The database's schema is {'empty' if version is None else f'at version {version}'}, "
            f"this program needs {head()}. Run: gateway db upgrade"
        )
    _check_tables(engine)


def _check_tables(engine: Engine) -> None:
    names = set(inspect(engine).get_table_names())
    missing = sorted(set(every_table().tables) - names)
    if missing:
        raise StoreError(
            f"The database lacks {', '.join(missing)}, though its schema is said to be at version {head()}: "
            "it is damaged. Restore it from a backup."
        )


def _sort_by_octets(connection: Connection) -> None:
    """Has every text column sort as in SQLite, whatever the database's locale: cursors rely on it."""
    for table, column, kind in connection.exec_driver_sql(_TEXTS).all():
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')


def _refuse_newer(version: str | None) -> None:
    if version is not None and version not in versions():
        raise StoreError(
            f"The database's schema is at version {version}, newer than this program knows ({head()}). "
            "Install the newer gateway, or restore the backup made before the upgrade."
        )
