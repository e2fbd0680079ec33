"""Moves everything from one database to another, whatever their engines: in batches, resumable, verified.

The target holds the table `unfinished_copy` until the copy is whole and verified; with each batch it says how
far a table has come, in the batch's own transaction, so that a copy that was broken off goes on from there.
While it stands, no daemon opens the target. Leases are not copied: what a process held is taken over.

Raises StoreError: the target is not empty, a daemon works on one of the two, the source has changed since the
copy began, the figures differ at the end.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    literal,
    select,
    tuple_,
)

from gateway.store import leases, schema
from gateway.store.errors import StoreError
from gateway.store.metadata import every_table
from gateway.store.tx import Tx, placeholders

Progress = Callable[[str, int, int], None]
"""(table, rows that are there, rows in all)"""
Figures = dict[str, dict[str, int]]
"""By table: its rows, and sums over its columns."""

_NOT_COPIED = frozenset({"lease", "writer_batch"})
_BATCH_ROWS = 1000
_BATCH_OCTETS = 8 * 1024 * 1024
_ROWS_AT_ONCE = {True: 8, False: 1000}  # read at a time, with large values and without
_MODULUS = 1_000_003  # so that no sum of times overflows

_state = Table(
    schema.UNFINISHED_COPY,
    MetaData(),
    Column("name", Text, primary_key=True),  # a table, or "" for the copy as a whole
    Column("value", Text, nullable=False),  # JSON: the last key; for the whole [source, figures]
)


def copied_tables() -> list[Table]:
    """The tables that are copied, by name."""
    return [table for name, table in sorted(every_table().tables.items()) if name not in _NOT_COPIED]


def run(source: Engine, target: Engine, *, source_name: str, progress: Progress) -> Figures:
    """Copies what `target` does not have yet; the figures of both, which agree."""
    schema.check(source)
    _refuse_daemons(source, "from")
    figures = figures_of(source)
    _prepare(target, source_name, figures)
    _refuse_daemons(target, "to")
    for table in copied_tables():
        _copy_table(source, target, table, figures[table.name]["rows"], progress)
    _verify(figures, figures_of(target))
    _verify(figures, figures_of(source))  # nothing came in meanwhile
    with target.begin() as connection:
        _state.drop(connection)
    return figures


def figures_of(engine: Engine) -> Figures:
    """Rows of every table, sums of its numbers (credits exactly, times by remainder) and of its octets."""
    with engine.connect() as connection:
        return {str(table.name): _figures(connection, table) for table in copied_tables()}


def _figures(connection: Connection, table: Table) -> dict[str, int]:
    wanted = [func.count().label("rows")]
    for column in table.columns:
        if isinstance(column.type, LargeBinary):
            wanted.append(func.coalesce(func.sum(func.length(column)), 0).label(f"octets of {column.name}"))
        elif isinstance(column.type, Integer):
            value = column % literal(_MODULUS) if column.name.endswith("_ms") else column
            wanted.append(func.coalesce(func.sum(value), 0).label(column.name))
    row = connection.execute(select(*wanted).select_from(table)).mappings().one()
    return {name: int(value) for name, value in row.items()}


# --- before and after --------------------------------------------------------------------------------------


def _refuse_daemons(engine: Engine, side: str) -> None:
    with engine.connect() as connection, connection.begin():
        if leases.live_processes(Tx(connection), now_ms=int(time.time() * 1000)):
            raise StoreError(
                f"--{side}: a daemon works on this database. Stop it; if it was killed, wait for its lease "
                "to run out (store.lease_s)."
            )


def _prepare(target: Engine, source_name: str, figures: Figures) -> None:
    """Makes the target ready: its schema and the state of the copy, or what an earlier run has left."""
    whole = msgspec.json.encode([source_name, figures]).decode()
    if inspect(target).has_table(_state.name):
        with target.connect() as connection:
            found = connection.execute(select(_state.c.value).where(_state.c.name == "")).scalar_one()
        if found != whole:
            raise StoreError(
                "--to: holds an unfinished copy of another database, or of this one before it changed. "
                "Empty it and begin again."
            )
        return
    if schema.current(target) is None:
        schema.upgrade(target)
    schema.check(target)
    full = [name for name, found in figures_of(target).items() if found["rows"]]
    if full:
        raise StoreError(f"--to: is not empty (there are rows in {', '.join(full)}). Give an empty database.")
    with target.begin() as connection:
        _state.create(connection)
        connection.execute(_state.insert(), {"name": "", "value": whole})


def _verify(wanted: Figures, found: Figures) -> None:
    faults = [
        f"{table}: {name} is {found[table][name]}, not {value}"
        for table, figures in wanted.items()
        for name, value in figures.items()
        if found[table][name] != value
    ]
    if faults:
        raise StoreError(
            f"The copy is not the same as the source ({'; '.join(faults)}). "
            "Was something written meanwhile? Empty the target and begin again."
        )


# --- one table ---------------------------------------------------------------------------------------------


def _copy_table(source: Engine, target: Engine, table: Table, total: int, progress: Progress) -> None:
    with target.connect() as connection:
        found = connection.execute(select(_state.c.value).where(_state.c.name == table.name)).scalar()
        done = connection.execute(select(func.count()).select_from(table)).scalar_one()
    last = None if found is None else tuple(msgspec.json.decode(found))
    progress(table.name, done, total)
    names = [column.name for column in table.columns]
    columns = ", ".join(f'"{name}"' for name in names)
    insert = f'INSERT INTO "{table.name}" ({columns}) VALUES {placeholders(names)}'  # noqa: S608 - our names
    keys = [names.index(column.name) for column in table.primary_key]
    for rows in _batches(source, table, last):
        key = msgspec.json.encode([rows[-1][index] for index in keys]).decode()
        with target.connect() as connection, connection.begin():
            Tx(connection).run_many(insert, rows)
            connection.execute(_state.delete().where(_state.c.name == table.name))
            connection.execute(_state.insert(), {"name": table.name, "value": key})
        done += len(rows)
        progress(table.name, done, total)


def _batches(
    source: Engine, table: Table, last: tuple[Any, ...] | None
) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows behind the key `last`, in the order of the key."""
    keys = list(table.primary_key)
    query = select(table).order_by(*keys)
    if last is not None:
        query = query.where(tuple_(*keys) > tuple_(*(literal(value) for value in last)))
    large = any(isinstance(column.type, LargeBinary) for column in table.columns)
    with source.connect() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_ONCE[large]).execute(query)
        rows: list[tuple[Any, ...]] = []
        octets = 0
        for row in found:
            rows.append(tuple(row))
            octets += sum(len(value) for value in row if isinstance(value, bytes | str))
            if len(rows) >= _BATCH_ROWS or octets >= _BATCH_OCTETS:
                yield rows
                rows, octets = [], 0
        if rows:
            yield rows
