"""Writes the next migration: `make migration NAME=accounts_language` (needs what `make test` installs).

The file is `NNNN_<vertical>_<what>.py`, after the last one. What it does is Alembic's guess at how a migrated
SQLite database comes to the tables as they are declared now: a place to begin. Nothing differs: it does
nothing yet. Alembic sees no changed check and no changed condition of an index, and does not know what the
rows that are there need; tests/store/test_migrations.py says whether both engines got the declared tables.
"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import gateway.store
from gateway.verticals import TABLES

_MIGRATIONS = Path(gateway.store.__file__).parent / "migrations"
_NAME = re.compile(r"([a-z]+)_[a-z0-9]+(_[a-z0-9]+)*")
_FORMAT = {
    "hooks": "ruff",
    "ruff.type": "module",
    "ruff.module": "ruff",
    "ruff.options": "format -q REVISION_SCRIPT_FILENAME",
}


class BadName(Exception):
    """A name that no migration can have; the text says what to give."""


def write(name: str, folder: Path = _MIGRATIONS) -> Path:
    """The new migration's file, in `versions/` of `folder`. Raises BadName."""
    _check(name)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("truncate_slug_length", str(len(name)))
    for option, value in _FORMAT.items():
        config.set_section_option("post_write_hooks", option, value)
    number = int(str(ScriptDirectory.from_config(config).get_current_head())) + 1
    with TemporaryDirectory() as temporary:
        engine = create_engine(f"sqlite:///{temporary}/gateway.db")
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            command.revision(config, name, autogenerate=True, rev_id=f"{number:04}")
        engine.dispose()
    return folder / "versions" / f"{number:04}_{name}.py"


def _check(name: str) -> None:
    verticals = sorted(TABLES)
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in verticals:
        raise BadName(
            f"NAME={name}: give <vertical>_<what> in small letters, as in NAME=accounts_language. "
            f"The vertical is the one whose tables change: {', '.join(verticals)}."
        )


if __name__ == "__main__":
    try:
        write(" ".join(sys.argv[1:]))
    except BadName as error:
        sys.exit(str(error))
