"""`gateway db`: makes the database and brings its schema up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from sqlalchemy import Engine

from config import load
from gateway.cli.faults import CliError
from gateway.cli.output import say, show_record
from gateway.cli.session import DEFAULT_CONFIG, ConfigOption, JsonOption
from gateway.store import schema, sqlite
from gateway.store.store import sqlite_path

app = typer.Typer(name="db", help="The database: make it, bring its schema up to date.", add_completion=False)


@app.command()
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the database to this program's schema; make it where there is none."""
    settings = load(config)
    path = sqlite_path(settings.store.url)
    before, after = upgrade_to_head(path, busy_timeout_s=settings.store.busy_timeout_s)
    if before == after:
        say(f"{path}: is at version {after} already.")
    else:
        say(
            f"{path}: was {'empty' if before is None else f'at version {before}'}, is at version {after} now."
        )


@app.command()
def version(config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False) -> None:
    """Show the version of the database's schema, and the one this program needs."""
    settings = load(config)
    path = sqlite_path(settings.store.url)
    if not path.exists():
        raise CliError(f"{path}: there is no database yet. Run: gateway db upgrade")
    with _engine(path, settings.store.busy_timeout_s) as engine:
        found = schema.current(engine)
    show_record({"database": found or "empty", "program": schema.head(), "path": str(path)}, as_json=json)


def upgrade_to_head(path: Path, *, busy_timeout_s: float) -> tuple[str | None, str]:
    """The versions before and after. Raises StoreError; also when a daemon works on what must change."""
    with _engine(path, busy_timeout_s) as engine:
        before, after = schema.current(engine), schema.head()
        if before != after:
            lock = sqlite.DaemonLock(path)
            lock.acquire()
            try:
                schema.upgrade(engine)
            finally:
                lock.release()
        return before, after


@contextmanager
def _engine(path: Path, busy_timeout_s: float) -> Iterator[Engine]:
    """The writer's engine, for a moment."""
    writer, readers = sqlite.open_engines(path, busy_timeout_s=busy_timeout_s)
    readers.dispose()
    try:
        yield writer
    finally:
        writer.dispose()
