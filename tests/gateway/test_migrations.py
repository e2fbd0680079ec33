"""What a migration makes of the rows that are there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from gateway.store import schema, sqlite

_MESSAGE = """
INSERT INTO message (account_id, id, channel, ingress, sender, subject, status, recipients, size_octets,
  price_credits, lots, envelope, accepted_ms, expires_ms)
VALUES ('a', 'm', 'mail', 'http', 'x', 'Hello', 'delivered', 1, 1, 1, '[]', '{}', 1, 1)
"""
_CAPTURED = """
INSERT INTO captured_mail (account_id, id, message_id, mail_from, recipients, data, received_ms)
VALUES ('a', 'c1', 'm', 'x', '[]', x'414243', 1), ('a', 'c2', 'gone', 'y', '[]', x'4142', 2)
"""


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
