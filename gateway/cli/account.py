"""`gateway account`: makes, shows, suspends and closes accounts (R11, R29, R36, R41)."""

from typing import Annotated, Any

import typer

from gateway.accounts.lookup import AccountArgument, find_account
from gateway.accounts.service import LANGUAGES, Account, Accounts
from gateway.credits.service import Credits
from gateway.ground import Ground
from gateway.terminal.faults import CliError
from gateway.terminal.output import say, show_record, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(name="account", help="Accounts: who may send.", add_completion=False)

_PAGE = 500
_COLUMNS = ("id", "name", "status", "email", "created")
_RATE_MAX = 1_000_000
_LANGUAGES = ", ".join(LANGUAGES)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="How the account is called.")],
    email: Annotated[str | None, typer.Option(help="Where its notices go.")] = None,
    language: Annotated[str | None, typer.Option(help=f"Of its notices: {_LANGUAGES}.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Make an account, with its free mail credits."""  # R11

    async def work(ground: Ground) -> Account:
        welcome = ground[Credits].welcome
        return await ground[Accounts].create(name, email, language=language, grants=welcome)

    show_record(account_row(run_on_ground(config, work)), as_json=json)


@app.command("list")
def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones too.")] = False,
    json: JsonOption = False,
) -> None:
    """List accounts."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        rows, after = [], ""
        while page := await ground[Accounts].list(after=after, limit=_PAGE):
            rows += [account_row(one) for one in page if closed or one.status.value != "closed"]
            after = page[-1].id
        return rows

    rows = run_on_ground(config, work)
    show_rows(
        rows, _COLUMNS, as_json=json, empty="There is no account yet. Make one: gateway account create NAME"
    )


@app.command()
def show(
    account: AccountArgument, config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False
) -> None:
    """Show an account and its balances."""

    async def work(ground: Ground) -> dict[str, Any]:
        found = await find_account(ground, account)
        return account_row(found) | {"balances": await ground[Credits].balances(found.id)}

    show_record(run_on_ground(config, work), as_json=json)


@app.command("set")
def set_(
    account: AccountArgument,
    email: Annotated[str | None, typer.Option(help='Where its notices go; "": nowhere.')] = None,
    language: Annotated[
        str | None, typer.Option(help=f'Of its notices: {_LANGUAGES}; "": the configured one.')
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Change where an account's notices go, and in which language they are."""
    if email is None and language is None:
        raise CliError("There is nothing to change; give --email or --language.")

    async def work(ground: Ground) -> Account:
        found = await find_account(ground, account)
        return await ground[Accounts].set_contact(found.id, email=email, language=language)

    show_record(account_row(run_on_ground(config, work)), as_json=json)


@app.command()
def suspend(
    account: AccountArgument,
    note: Annotated[str | None, typer.Option(help="Why; the client is told.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Refuse everything from an account until it is activated again."""  # R41

    async def work(ground: Ground) -> Account:
        return await ground[Accounts].suspend((await find_account(ground, account)).id, note)

    _say_status(run_on_ground(config, work))


@app.command()
def activate(account: AccountArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """End a suspension."""

    async def work(ground: Ground) -> Account:
        return await ground[Accounts].activate((await find_account(ground, account)).id)

    _say_status(run_on_ground(config, work))


@app.command()
def close(
    account: AccountArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Really: there is no way back.")] = False,
) -> None:
    """Close an account for good."""  # R36

    async def work(ground: Ground) -> Account:
        found = await find_account(ground, account)
        if not yes:
            raise CliError(
                f"Closing {found.name} ({found.id}) is for good. If it is meant, repeat it with --yes."
            )
        return await ground[Accounts].close(found.id)

    _say_status(run_on_ground(config, work))


@app.command()
def rate(
    account: AccountArgument,
    per_second: Annotated[
        int | None,
        typer.Argument(
            metavar="[N]", max=_RATE_MAX, help="Requests per second; nothing: the configured limit."
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give an account a limit of its own."""  # R29

    async def work(ground: Ground) -> Account:
        return await ground[Accounts].set_rate((await find_account(ground, account)).id, per_second)

    changed = run_on_ground(config, work)
    limit = (
        "the configured limit" if changed.rate_per_s is None else f"{changed.rate_per_s} requests per second"
    )
    say(f"{changed.name} ({changed.id}) has {limit} now.")


def account_row(account: Account) -> dict[str, Any]:
    """An account as it is shown."""
    return {
        "id": account.id,
        "name": account.name,
        "status": account.status.value,
        "email": account.email,
        "language": account.language,
        "rate_per_s": account.rate_per_s,
        "note": account.note,
        "created": when(account.created_ms),
        "status_since": when(account.status_ms),
    }


def _say_status(account: Account) -> None:
    say(f"{account.name} ({account.id}) is {account.status.value} now.")
