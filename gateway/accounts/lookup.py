"""Accounts as commands are given them: by id or by name."""

from typing import Annotated

import typer

from gateway.accounts.service import Account, Accounts, AccountStatus
from gateway.ground import Ground
from gateway.ids import is_id
from gateway.store.tx import Tx
from gateway.terminal.faults import CliError

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, or its name.")]

_BY_NAME = "SELECT id FROM account WHERE name = ? AND status <> 'closed' LIMIT 2"
_CLOSED_BY_NAME = "SELECT id FROM account WHERE name = ? LIMIT 2"


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
