"""How a command gets at the gateway: its settings, its ground on the open database, its accounts.

The database is used, never made, here: `gateway db upgrade` and `gateway demo` make it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import uvloop

from config import Settings, load
from gateway import verticals
from gateway.accounts.service import Account, Accounts, AccountStatus
from gateway.cli.faults import CliError
from gateway.clock import SystemClock
from gateway.credits.service import Credits
from gateway.ground import Ground
from gateway.ids import is_id
from gateway.store.store import Store
from gateway.store.tx import Tx
from gateway.verticals import LISTENERS

T = TypeVar("T")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", envvar="GATEWAY_CONFIG", help="The configuration."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, or its name.")]
DEFAULT_CONFIG = Path("gateway.toml")

_BY_NAME = "SELECT id FROM account WHERE name = ? AND status <> 'closed' LIMIT 2"
_CLOSED_BY_NAME = "SELECT id FROM account WHERE name = ? LIMIT 2"


def run_on_ground(config: Path, work: Callable[[Ground], Awaitable[T]]) -> T:
    """What `work` answers, given the ground on the configured database. Raises CliError and StoreError."""

    async def main() -> T:
        async with opened(load(config)) as ground:
            return await work(ground)

    return uvloop.run(main())


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Ground]:
    """The ground on the database as it is; its schema must be this program's."""
    path = settings.store.sqlite_path
    if path is not None and not path.exists():
        raise CliError(f"{path}: there is no database yet. Run: gateway db upgrade")
    store = Store.open(
        settings.store.url,
        password=settings.store.password,
        lease_s=settings.store.lease_s,
        busy_timeout_s=settings.store.busy_timeout_s,
        listeners=LISTENERS,
    )
    ground = verticals.make(settings, store, SystemClock())
    try:
        yield ground
    finally:
        await ground[Credits].stop()
        await ground.caches.close()
        await store.close()


async def find_account(ground: Ground, text: str, *, usable: bool = False) -> Account:
    """The account with this id or name; `usable` refuses a closed one. Raises CliError, NotFoundError.

    A closed account is found by its name only where no open one has it.
    """
    account_id = text if is_id(text) else await ground.store.read(lambda tx: _id_of(tx, text))
    account = await ground[Accounts].get(account_id)
    if usable and account.status is AccountStatus.CLOSED:
        raise CliError(f"The account {account.name} ({account.id}) is closed; open a new one instead.")
    return account


def _id_of(tx: Tx, name: str) -> str:
    rows = tx.rows(_BY_NAME, (name,)) or tx.rows(_CLOSED_BY_NAME, (name,))
    if len(rows) > 1:
        raise CliError(f"Several accounts are named {name!r}; give the id instead. See: gateway account list")
    if not rows:
        raise CliError(f"There is no account {name!r}. See: gateway account list")
    return str(rows[0][0])
