"""`make migration`: the next file, with what the tables declare beyond the last one."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Index, Table, create_engine, text

from gateway.cli import new_migration as new
from gateway.store import schema
from gateway.store.metadata import CLUSTERED, id_column, int_column, metadata, ms_column
from tests.http.catalogue import Catalogue, catalogue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations."""
    return Path(shutil.copytree(Path(schema.__file__).parent / "migrations", tmp_path / "migrations"))


@pytest.fixture
def planted() -> Iterator[Table]:
    """A table that no migration makes."""
    where = text("at_ms > 0")
    table = Table(
        "planted",
        metadata,
        id_column("account_id", key=True),
        int_column("count", 7),
        ms_column("at_ms"),
        **CLUSTERED,
    )
    Index("ix_planted_at", table.c.at_ms, sqlite_where=where, postgresql_where=where)
    yield table
    metadata.remove(table)


def migrated(folder: Path) -> Catalogue:
    """What a database has after the migrations of `folder`."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    engine = create_engine("sqlite://")
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return catalogue(connection)


def declared() -> Catalogue:
    """What a database has that is made from the tables."""
    with create_engine("sqlite://").connect() as connection, connection.begin():
        metadata.create_all(connection)
        return catalogue(connection)


def test_the_next_migration_makes_the_tables_as_they_are_declared(folder: Path, planted: Table) -> None:
    assert migrated(folder) != declared()
    path = new.write("accounts_planted", folder)
    assert path.name == f"{int(schema.head()) + 1:04}_accounts_planted.py"
    written = path.read_text()
    assert f'down_revision = "{schema.head()}"\n' in written
    assert "###" not in written
    assert migrated(folder) == declared()


def test_where_nothing_differs_the_migration_does_nothing_yet(folder: Path) -> None:
    assert (
        new.write("credits_2_words_more", folder).read_text().endswith("def upgrade() -> None:\n    pass\n")
    )
    assert new.write("store_again", folder).name.startswith(f"{int(schema.head()) + 2:04}_")
    assert migrated(folder) == declared()


@pytest.mark.parametrize(
    "name",
    ["", "accounts", "accounts_", "Accounts_x", "accounts-x", "nobody_x", "accounts_x.py", "../accounts_x"],
)
def test_a_name_that_no_migration_has_is_refused(folder: Path, name: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(new.BadName, match="NAME=accounts_language"):
        new.write(name, folder)
    assert sorted(folder.rglob("*")) == before


def test_without_a_name_it_says_what_to_give() -> None:
    done = subprocess.run(
        [sys.executable, "-m", new.__name__, ""], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("NAME=: give <vertical>_<what>")
