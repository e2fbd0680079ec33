"""`gateway sendername`: decides about SenderNames (R22-R25), with a look at their documents (R23)."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.accounts.lookup import AccountArgument, find_account
from gateway.ground import Ground
from gateway.sendernames.service import Document, DocumentKind, SenderName, SenderNames
from gateway.terminal.faults import CliError
from gateway.terminal.output import say, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(
    name="sendername", help="SenderNames: what an SMS may show as its sender.", add_completion=False
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The SenderName, or the number.")]
_COLUMNS = ("name", "account", "status", "documents", "note", "created", "decided")
_PENDING_MAX = 1000


@app.command("list")
def list_(
    account: Annotated[
        str | None, typer.Argument(metavar="[ACCOUNT]", help="Left out: what waits for a decision.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """List an account's SenderNames, or what waits for a decision."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        if account is None:
            return [_row(one) for one in await ground[SenderNames].pending(_PENDING_MAX)]
        found = await find_account(ground, account)
        return [_row(one) for one in await ground[SenderNames].list(found.id)]

    empty = "Nothing waits for a decision." if account is None else "It has none."
    show_rows(run_on_ground(config, work), _COLUMNS, as_json=json, empty=empty)


@app.command()
def add(account: AccountArgument, name: NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Add an approved SenderName that was never requested."""

    async def work(ground: Ground) -> SenderName:
        found = await find_account(ground, account, usable=True)
        return await ground[SenderNames].approve(found.id, name)

    _say_status(run_on_ground(config, work))


@app.command()
def approve(account: AccountArgument, name: NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Approve a request."""

    async def work(ground: Ground) -> SenderName:
        found = await find_account(ground, account, usable=True)
        await ground[SenderNames].get(found.id, name)
        return await ground[SenderNames].approve(found.id, name)

    _say_status(run_on_ground(config, work))


@app.command()
def reject(
    account: AccountArgument,
    name: NameArgument,
    note: Annotated[str, typer.Option(help="What to change; the client is told.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Reject a request; it can be changed and sent again."""  # R24

    async def work(ground: Ground) -> SenderName:
        found = await find_account(ground, account)
        return await ground[SenderNames].reject(found.id, name, note)

    _say_status(run_on_ground(config, work))


@app.command()
def remove(account: AccountArgument, name: NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take a SenderName and its documents away."""

    async def work(ground: Ground) -> None:
        found = await find_account(ground, account)
        await ground[SenderNames].delete(found.id, name)

    run_on_ground(config, work)
    say(f"{name} is removed.")


@app.command()
def document(
    account: AccountArgument,
    name: NameArgument,
    kind: Annotated[DocumentKind, typer.Argument(help="Which document.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write a document of a request to a new file that only you can read."""

    async def work(ground: Ground) -> Document:
        found = await find_account(ground, account)
        return await ground[SenderNames].document(found.id, name, kind)

    found = run_on_ground(config, work)
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise CliError(f"{output} is there already. Give another --output.") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(found.data)
    say(f"{output}: {found.content_type}, {len(found.data)} octets. Delete it when it is judged.")  # R46


def _say_status(decided: SenderName) -> None:
    say(f"{decided.name} is {decided.status.value} now.")


def _row(one: SenderName) -> dict[str, Any]:
    return {
        "name": one.name,
        "account": one.account_id,
        "status": one.status.value,
        "documents": [kind.value for kind in one.documents],
        "note": one.note,
        "created": when(one.created_ms),
        "decided": when(one.decided_ms),
    }
