"""`gateway key`: API keys. A key is shown once, by `create`."""

from typing import Annotated

import typer

from gateway.accounts.cli.credential import (
    AllOption,
    LabelOption,
    credential_rows,
    revoke_credential,
    show_issued,
)
from gateway.accounts.credentials import ALL_SCOPES, Credentials, Issued
from gateway.accounts.lookup import AccountArgument, find_account
from gateway.accounts.secrets import CredentialKind
from gateway.ground import Ground
from gateway.terminal.output import show_rows
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(name="key", help="API keys.", add_completion=False)

_KINDS = frozenset({CredentialKind.API})


@app.command()
def create(
    account: AccountArgument,
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do, such as mail:send; repeatable. Default: all.")
    ] = None,
    label: LabelOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Make an API key; it is shown this once."""

    async def work(ground: Ground) -> Issued:
        found = await find_account(ground, account, usable=True)
        scopes = scope or [ALL_SCOPES]
        return await ground[Credentials].create(found.id, CredentialKind.API, scopes=scopes, label=label)

    show_issued(run_on_ground(config, work), as_json=json)


@app.command("list")
def list_(
    account: AccountArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    all_: AllOption = False,
    json: JsonOption = False,
) -> None:
    """List an account's API keys."""
    rows = credential_rows(config, account, _KINDS, revoked=all_)
    columns = ("id", "prefix", "scopes", "label", "created", "revoked")
    show_rows(rows, columns, as_json=json, empty="It has none. Make one: gateway key create ACCOUNT")


@app.command()
def revoke(
    account: AccountArgument,
    key: Annotated[str, typer.Argument(help="Its id, or its prefix gw_…")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """End an API key for good."""
    revoke_credential(config, account, key, _KINDS)
