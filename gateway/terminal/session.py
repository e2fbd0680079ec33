"""How a command gets at the gateway: its settings, and the ground on the open database.

Whoever runs commands says how the ground is opened (`opening`), so that a vertical's commands need not know
the other verticals. The database is used, never made, here: `gateway db upgrade` and `gateway demo` make it.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import uvloop

from config import Settings, load
from gateway.ground import Ground

T = TypeVar("T")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", envvar="GATEWAY_CONFIG", help="The configuration."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
DEFAULT_CONFIG = Path("gateway.toml")

Open = Callable[[Settings], AbstractAsyncContextManager[Ground]]
"""Opens the ground on the configured database, and closes it at the end."""
_open: ContextVar[Open] = ContextVar("open")


@contextmanager
def opening(by: Open) -> Iterator[None]:
    """Commands run inside have their ground opened by `by`."""
    token = _open.set(by)
    try:
        yield
    finally:
        _open.reset(token)


def run_on_ground(config: Path, work: Callable[[Ground], Awaitable[T]]) -> T:
    """What `work` answers, given the ground on the configured database. Raises CliError and StoreError."""
    opened = _open.get()

    async def main() -> T:
        async with opened(load(config)) as ground:
            return await work(ground)

    return uvloop.run(main())
