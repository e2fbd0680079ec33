"""The migrations make the tables that the program declares, and keep the rows that are there."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from gateway.store import postgresql, schema, sqlite
from gateway.store.metadata import metadata
from gateway.verticals import TABLES
from tests.http.catalogue import catalogue
from tests.postgres_server import PostgresServer
from tests.support.databases import fresh_database

_PACKAGE = Path(__file__).parents[2] / "gateway"
_MESSAGE = """
INSERT INTO message (account_id, id, channel, ingress, sender, subject, status, recipients, size_octets,
  price_credits, lots, envelope, accepted_ms, expires_ms)
VALUES ('a', 'm', 'mail', 'http', 'x', 'Hello', 'delivered', 1, 1, 1, '[]', '{}', 1, 1)
"""
_CAPTURED = """
INSERT INTO captured_mail (account_id, id, message_id, mail_from, recipients, data, received_ms)
VALUES ('a', 'c1', 'm', 'x', '[]', x'414243', 1), ('a', 'c2', 'gone', 'y', '[]', x'4142', 2)
"""


Open = Callable[[], Engine]


@contextmanager
def empty_databases(engine: str, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens a new, empty database of the engine with each call."""
    with ExitStack() as stack:

        def opening() -> Engine:
            if engine == "sqlite":
                path = request.getfixturevalue("tmp_path") / f"{next(numbers)}.db"
                engines = sqlite.open_engines(path, busy_timeout_s=5)
            else:
                server: PostgresServer = request.getfixturevalue("postgresql")
                engines = postgresql.open_engines(stack.enter_context(fresh_database(server, empty=True)))
            for one in engines:
                stack.callback(one.dispose)
            return engines[0]

        numbers = count()
        yield opening


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest) -> Iterator[Open]:
    with empty_databases(request.param, request) as opening:
        yield opening


def declared(connection: Connection) -> None:
    """Makes what the tables declare, without a migration."""
    metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        schema._sort_by_octets(connection)


def test_every_table_has_one_owner_who_is_listed() -> None:
    declared = {
        name
        for path in _PACKAGE.glob("**/tables.py")
        for name in re.findall(r"= Table\([^\n]*\n\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    owned = [table.name for tables in TABLES.values() for table in tables]
    assert sorted(owned) == sorted(declared), (
        "what a tables.py declares stands in its Vertical (gateway/verticals.py)"
    )


def test_a_migration_is_known_by_the_number_of_its_file() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert {one.revision: Path(one.path).name[:4] for one in script.walk_revisions()} == {
        version: version for version in schema.versions()
    }
    assert script.get_heads() == [schema.head()]


def test_the_migrations_make_exactly_the_tables_of_the_program(empty: Open) -> None:
    migrated, made = empty(), empty()
    schema.upgrade(migrated)
    with migrated.connect() as old, made.connect() as new, new.begin():
        declared(new)
        assert catalogue(old) == catalogue(new)
        if old.dialect.name == "postgresql":
            assert old.exec_driver_sql(schema._TEXTS).all() == [], "text sorts by octets, as on SQLite"


_CHANGES = [
    "DROP INDEX ix_delivery_due",
    (
        "DROP INDEX ix_delivery_due;"
        "CREATE INDEX ix_delivery_due ON delivery (destination, account_id, next_attempt_ms)"
    ),
    (
        "DROP INDEX ix_delivery_due; CREATE INDEX ix_delivery_due "
        "ON delivery (destination, account_id, next_attempt_ms) WHERE holder IS NULL AND status IN ('queued')"
    ),
    (
        "DROP INDEX uq_credential_kind_username;"
        "CREATE INDEX uq_credential_kind_username ON credential (kind, username)"
    ),
    "ALTER TABLE lease ADD COLUMN note TEXT",
    "ALTER TABLE lease DROP COLUMN epoch",
    "ALTER TABLE lease DROP COLUMN epoch; ALTER TABLE lease ADD COLUMN epoch INTEGER DEFAULT '1' NOT NULL",
    "ALTER TABLE lease DROP COLUMN epoch; ALTER TABLE lease ADD COLUMN epoch INTEGER DEFAULT '0'",
    "ALTER TABLE lease DROP COLUMN epoch; ALTER TABLE lease ADD COLUMN epoch BIGINT DEFAULT '0' NOT NULL",
    "CREATE TABLE more (id INTEGER PRIMARY KEY)",
    "DROP TABLE lot",
]
_SQLITE_CHANGES = [  # of a whole table's own text
    ("chain", " WITHOUT ROWID", ""),
    ("lot", "CONSTRAINT ck_lot_never_below_zero CHECK (remaining >= 0),", ""),
    ("lot", "remaining >= 0", "remaining >= -1"),
    ("lot", "(account_id, product, id)", "(product, account_id, id)"),
    ("write_probe", "id INTEGER NOT NULL, data BLOB NOT NULL", "data BLOB NOT NULL, id INTEGER NOT NULL"),
]
_POSTGRESQL_CHANGES = [
    "ALTER TABLE lot DROP CONSTRAINT ck_lot_never_below_zero",
    'ALTER TABLE lot ALTER COLUMN id TYPE text COLLATE "C"',
    'ALTER TABLE lot ALTER COLUMN source TYPE varchar(24) COLLATE "default"',
    "ALTER TABLE lot ALTER COLUMN expires_ms SET NOT NULL",
    "ALTER TABLE message ALTER COLUMN refunded_credits DROP DEFAULT",
]


def assert_seen(connection: Connection, change: Callable[[], object]) -> None:
    """Shows that the comparison above would fail after `change`."""
    declared(connection)
    before = catalogue(connection)
    assert before == catalogue(connection)
    change()
    assert before != catalogue(connection)


@pytest.mark.parametrize("change", _CHANGES)
def test_a_difference_is_seen(empty: Open, change: str) -> None:
    with empty().connect() as connection, connection.begin():
        statements = change.split(";")
        assert_seen(connection, lambda: [connection.exec_driver_sql(one) for one in statements])


@pytest.mark.parametrize(("table", "text", "other"), _SQLITE_CHANGES)
def test_a_difference_is_seen_on_sqlite(
    request: pytest.FixtureRequest, table: str, text: str, other: str
) -> None:
    with empty_databases("sqlite", request) as opening, opening().connect() as connection:
        assert_seen(connection, lambda: made_otherwise(connection, table, text, other))


def made_otherwise(connection: Connection, table: str, text: str, other: str) -> None:
    """Makes `table` again, with `other` in the place of `text`."""
    sql = "SELECT sql FROM sqlite_master WHERE name = ?"
    found = " ".join(connection.exec_driver_sql(sql, (table,)).scalar_one().split()).replace(" ,", ",")
    assert text in found
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(found.replace(text, other))


@pytest.mark.parametrize("change", _POSTGRESQL_CHANGES)
def test_a_difference_is_seen_on_postgresql(request: pytest.FixtureRequest, change: str) -> None:
    with empty_databases("postgresql", request) as opening, opening().connect() as connection:
        assert_seen(connection, lambda: connection.exec_driver_sql(change))


def at_version(engine: Engine, version: str) -> None:
    """Brings an empty database to an older version."""
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def test_captured_mails_get_the_columns_of_their_lists(tmp_path: Path) -> None:
    writer, readers = sqlite.open_engines(tmp_path / "gateway.db", busy_timeout_s=5)
    at_version(writer, "0003")
    with writer.connect() as connection, connection.begin():
        connection.exec_driver_sql(_MESSAGE)
        connection.exec_driver_sql(_CAPTURED)
    schema.upgrade(writer)
    with writer.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM captured_mail ORDER BY id").mappings().all()
    assert [(row["id"], row["subject"], row["author"], row["size_octets"]) for row in rows] == [
        ("c1", "Hello", None, 3),
        ("c2", None, None, 2),
    ]
    assert [bytes(row["data"]) for row in rows] == [b"ABC", b"AB"]
    assert list(rows[0])[-1] == "data", "a list would have to read past the mail"
    for engine in (writer, readers):
        engine.dispose()


def test_accounts_of_before_have_no_language_and_may_be_told_things(empty: Open) -> None:
    writer = empty()
    at_version(writer, "0006")
    account = "INSERT INTO account (id, name, status, created_ms) VALUES ('a', 'x', 'active', 1)"
    notice = """
    INSERT INTO notice (account_id, id, kind, data, dedupe_key, queued_ms)
    VALUES ('a', 'n', 'credits.low', '{}', 'k', 1)
    """
    with writer.connect() as connection, connection.begin():
        connection.exec_driver_sql(account)
    schema.upgrade(writer)
    with writer.connect() as connection, connection.begin():
        assert connection.exec_driver_sql("SELECT id, language FROM account").all() == [("a", None)]
        connection.exec_driver_sql(notice)
