"""`gateway db`: makes the database, brings its schema up to date, moves everything to another one."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from config import load
from config.sections.store import Store
from gateway.store import copy as copying
from gateway.store import integrity, leases, postgresql, schema, sqlite
from gateway.store.damage import RESTORE
from gateway.store.errors import StoreError
from gateway.store.store import sqlite_path
from gateway.store.tx import Tx
from gateway.terminal.faults import CliError
from gateway.terminal.output import say, show_record, show_rows
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption

app = typer.Typer(
    name="db", help="The database: make it, bring its schema up to date, move it.", add_completion=False
)

FromOption = Annotated[
    str, typer.Option("--from", metavar="URL", help="The database as it is: sqlite:PATH or postgresql://…")
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="URL", help="An empty database: sqlite:PATH or postgresql://…")
]


@app.command()
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the database to this program's schema; make it where there is none."""
    store = load(config).store
    before, after = upgrade_store(store)
    name = store.sqlite_path or store.url
    if before == after:
        say(f"{name}: is at version {after} already.")
    else:
        say(
            f"{name}: was {'empty' if before is None else f'at version {before}'}, is at version {after} now."
        )


@app.command()
def version(config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False) -> None:
    """Show the version of the database's schema, and the one this program needs."""
    store = load(config).store
    path = store.sqlite_path
    if path is not None and not path.exists():
        raise CliError(f"{path}: there is no database yet. Run: gateway db upgrade")
    with database(store) as engine:
        found = schema.current(engine)
    record = {"database": found or "empty", "program": schema.head(), "path": str(path or store.url)}
    show_record(record, as_json=json)


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything, every index against its table; it may take long.")
    ] = False,
) -> None:
    """Say whether the database is whole; a gateway may be running on it. Exit code 1: it is damaged."""
    path = load(config).store.sqlite_path
    if path is None:
        raise CliError(
            "store.url: this looks at SQLite databases. PostgreSQL has pg_amcheck, and checksums "
            "(initdb --data-checksums) that it verifies at each read."
        )
    if not path.exists():
        raise CliError(f"{path}: there is no database yet. Run: gateway db upgrade")
    integrity.check_file(path)
    with _progress() as progress:
        task = progress.add_task("tables", total=None)

        def show(table: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=table)

        look = integrity.full_check if full else integrity.quick_check
        found = look(path, progress=show)
    if found:
        raise CliError(f"{path}: is damaged ({found}). {RESTORE}")
    say(f"{path}: is whole.")


@app.command()
def copy(source: FromOption, target: ToOption, *, json: JsonOption = False) -> None:
    """Move everything from one database to another; say the same again to go on where it was broken off.

    Stop the gateway first. Passwords for PostgreSQL come from PGPASSWORD or ~/.pgpass.
    """
    if source == target:
        raise CliError("--to: is the same database as --from.")
    name = source
    if not postgresql.is_url(source):
        path = sqlite_path(source)
        if not path.exists():
            raise CliError(f"--from: {path} does not exist.")
        name = f"sqlite:{path.resolve()}"
    with ExitStack() as stack:
        engines = [stack.enter_context(_for_us_alone(Store(url=url))) for url in (source, target)]
        progress = stack.enter_context(_progress())
        tasks: dict[str, TaskID] = {}

        def show(table: str, done: int, total: int) -> None:
            if total:
                if table not in tasks:
                    tasks[table] = progress.add_task(table, total=total)
                progress.update(tasks[table], completed=done)

        figures = copying.run(engines[0], engines[1], source_name=name, progress=show)
    rows = [{"table": table, **found} for table, found in figures.items()]
    show_rows(rows, ("table", "rows"), as_json=json, empty="")
    if not json:
        say("Copied and verified: rows, sums of credits and octets are the same. Now set store.url.")


def upgrade_store(store: Store) -> tuple[str | None, str]:
    """The versions before and after. Raises StoreError; also when a daemon works on what must change."""
    if store.sqlite_path is not None:
        return upgrade_to_head(store.sqlite_path, busy_timeout_s=store.busy_timeout_s)
    with database(store) as engine:
        before, after = schema.current(engine), schema.head()
        if before != after:
            if before is not None:
                _refuse_daemons(engine)
            schema.upgrade(engine)
        return before, after


def upgrade_to_head(path: Path, *, busy_timeout_s: float) -> tuple[str | None, str]:
    """The same for the SQLite database at `path`."""
    with database(Store(url=f"sqlite:{path}", busy_timeout_s=busy_timeout_s)) as engine:
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
def database(store: Store) -> Iterator[Engine]:
    """The writer's engine, for a moment. Raises StoreError."""
    if postgresql.is_url(store.url):
        writer, readers = postgresql.open_engines(store.url, password=store.password)
    else:
        writer, readers = sqlite.open_engines(sqlite_path(store.url), busy_timeout_s=store.busy_timeout_s)
    readers.dispose()
    try:
        yield writer
    finally:
        writer.dispose()


@contextmanager
def _for_us_alone(store: Store) -> Iterator[Engine]:
    """The same, and no daemon can start on a SQLite database meanwhile."""
    with database(store) as engine, ExitStack() as stack:
        if not postgresql.is_url(store.url):
            lock = sqlite.DaemonLock(sqlite_path(store.url))
            lock.acquire()
            stack.callback(lock.release)
        yield engine


def _refuse_daemons(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        if leases.live_processes(Tx(connection), now_ms=int(time.time() * 1000)):
            raise StoreError(
                "A daemon works on this database. Stop it first; if it was killed, wait for its lease to run "
                "out (store.lease_s)."
            )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
