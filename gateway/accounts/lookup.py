"""Accounts as commands are given them: by id or by name."""

from collections.abc import Sequence
from typing import Annotated

import typer

from gateway.accounts.service import Account, Accounts, AccountStatus
from gateway.ground import Ground
from gateway.ids import is_id
from gateway.terminal.faults import CliError

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id, or its name.")]


async def find_account(ground: Ground, text: str, *, usable: bool = False) -> Account:
    """The account with this id or name; `usable` refuses a closed one. Raises CliError, NotFoundError.

    A closed account is found by its name only where no open one has it.
    """
    accounts = ground[Accounts]
    account = await accounts.get(text) if is_id(text) else _only(text, await accounts.named(text))
    if usable and account.status is AccountStatus.CLOSED:
        raise CliError(f"The account {account.name} ({account.id}) is closed; open a new one instead.")
    return account


def _only(name: str, found: Sequence[Account]) -> Account:
    if not found:
        raise CliError(f"There is no account {name!r}. See: gateway account list")
    usable = [one for one in found if one.status is not AccountStatus.CLOSED]
    if len(usable or found) > 1:
        raise CliError(f"Several accounts are named {name!r}; give the id instead. See: gateway account list")
    return (usable or found)[0]
