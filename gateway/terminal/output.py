"""What commands print: tables and records for people, JSON for scripts, from the same data.

Rows are mappings of JSON values; times are RFC 3339 in UTC. Text from outside (subjects, DNS records) is
shown without control characters, so that it cannot play with the terminal.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]
_PIPE_WIDTH = 10_000  # nothing is cut or wrapped where no terminal shows it


def say(text: str = "") -> None:
    """A line on standard output."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{text}\n")


def when(at_ms: int | None) -> str | None:
    """A time for people and scripts: RFC 3339, UTC, whole seconds."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show_json(value: Any) -> None:
    """One JSON document."""
    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def show_rows(rows: Sequence[Record], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """A list: every field as JSON, or the `columns` as a table, or the line `empty`."""
    if as_json:
        show_json(rows)
    elif rows:
        _print_table(rows, columns)
    else:
        say(empty)


def show_record(fields: Record, *, as_json: bool) -> None:
    """One thing: JSON, or a line per field that has a value."""
    if as_json:
        show_json(fields)
        return
    shown = {name: value for name, value in fields.items() if value not in (None, "", [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        say(f"{name.replace('_', ' '):<{width}}  {clean(value)}")


def clean(value: Any) -> str:
    """A value as one line without control characters."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(clean(one) for one in value)
        case dict():
            return ", ".join(f"{key}={clean(one)}" for key, one in value.items())
        case _:
            return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(value))


def _print_table(rows: Sequence[Record], columns: Sequence[str]) -> None:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        numbers = all(isinstance(row.get(column), int) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(row.get(column))) for column in columns))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=sys.stdout, width=width, highlight=False).print(table)
