"""`gateway domain`: sender domains, their DKIM keys, and what is to be published for them."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gateway.accounts.lookup import AccountArgument, find_account
from gateway.domains.check import RecordState, Row
from gateway.domains.records import DnsRecord
from gateway.domains.service import Domain, Domains, normal_name
from gateway.ground import Ground
from gateway.terminal.faults import CliError
from gateway.terminal.output import clean, say, show_json, show_record, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(
    name="domain", help="Sender domains, their DKIM keys and DNS records.", add_completion=False
)

NameArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="Such as example.org.")]
_PAGE = 500
_ACCOUNTS_OF = "SELECT account_id FROM domain WHERE name = ? ORDER BY account_id LIMIT 2"
_COLUMNS = ("name", "status", "selectors", "created", "verified")


@app.command()
def add(
    account: AccountArgument,
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Add a domain with new DKIM keys; shows what to publish."""

    async def work(ground: Ground) -> tuple[Domain, Sequence[DnsRecord]]:
        found = await find_account(ground, account, usable=True)
        added = await ground[Domains].add(found.id, name)
        return added, await ground[Domains].dns_records(found.id, added.name)

    _show(*run_on_ground(config, work), as_json=json)


@app.command("list")
def list_(
    account: AccountArgument, config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False
) -> None:
    """List an account's domains."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        found = await find_account(ground, account)
        rows: list[dict[str, Any]] = []
        while page := await ground[Domains].list(
            found.id, after=rows[-1]["name"] if rows else "", limit=_PAGE
        ):
            rows += [_row(one) for one in page]
        return rows

    rows = run_on_ground(config, work)
    show_rows(rows, _COLUMNS, as_json=json, empty="It has none. Add one: gateway domain add ACCOUNT DOMAIN")


@app.command()
def show(
    account: AccountArgument,
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Show a domain and what is to be published for it."""

    async def work(ground: Ground) -> tuple[Domain, Sequence[DnsRecord]]:
        found = await find_account(ground, account)
        domain = await ground[Domains].get(found.id, name)
        return domain, await ground[Domains].dns_records(found.id, domain.name)

    _show(*run_on_ground(config, work), as_json=json)


@app.command()
def approve(account: AccountArgument, name: NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Vouch for a domain: it may send now, whether its records are published or not."""

    async def work(ground: Ground) -> Domain:
        found = await find_account(ground, account, usable=True)
        return await ground[Domains].approve(found.id, name)

    domain = run_on_ground(config, work)
    say(f"{domain.name} is {domain.status.value}; it signs with {_selectors(domain)}.")


@app.command()
def verify(account: AccountArgument, name: NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Look for the records of new keys; those that are published sign from now on."""

    async def work(ground: Ground) -> tuple[Domain, Sequence[Row]]:
        found = await find_account(ground, account, usable=True)
        return await ground[Domains].verify(found.id, name)

    domain, rows = run_on_ground(config, work)
    for row in rows:
        show = f"gateway domain show {domain.account_id} {name}"
        advice = "" if row.state is RecordState.OK else f" - publish it: {show}"
        say(f"{row.name}: {row.state.value}{advice}")
    say(f"{domain.name} is {domain.status.value}; it signs with {_selectors(domain) or 'nothing yet'}.")
    return 0 if all(row.state is RecordState.OK for row in rows) else 1


@app.command()
def check(
    name: NameArgument,
    account: Annotated[
        str | None, typer.Option(help="Whose keys are looked for, if several have it.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Ask the DNS for SPF, DKIM, DMARC and MX of a domain; shows what to publish."""

    async def work(ground: Ground) -> Sequence[Row]:
        account_id = await _whose(ground, name, account)
        if account_id is None:
            return await ground[Domains].check_any(name)
        return await ground[Domains].check(account_id, name)

    rows = [_check_row(row) for row in run_on_ground(config, work)]
    if json:
        show_json(rows)
        return
    show_rows(rows, ("what", "state", "name", "found"), as_json=False, empty="")
    for row in rows:
        if row["publish"]:
            say(f"\n{row['what']}: publish at {clean(row['name'])}\n  {clean(row['publish'])}")


@app.command()
def rotate(
    account: AccountArgument,
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Make new DKIM keys; they take over when `verify` has seen their records."""

    async def work(ground: Ground) -> tuple[Domain, Sequence[DnsRecord]]:
        found = await find_account(ground, account, usable=True)
        domain = await ground[Domains].rotate(found.id, name)
        return domain, await ground[Domains].dns_records(found.id, domain.name)

    _show(*run_on_ground(config, work), as_json=json)


@app.command()
def remove(
    account: AccountArgument,
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Really: its keys are gone with it.")] = False,
) -> None:
    """Take a domain and its keys away; nothing from it is accepted any more."""

    async def work(ground: Ground) -> str:
        found = await find_account(ground, account)
        domain = await ground[Domains].get(found.id, name)
        if not yes:
            raise CliError(f"Removing {domain.name} destroys its keys. If it is meant, repeat it with --yes.")
        await ground[Domains].remove(found.id, domain.name)
        return domain.name

    say(f"{run_on_ground(config, work)} is removed.")


async def _whose(ground: Ground, name: str, account: str | None) -> str | None:
    """The account whose keys to look for: the one given, the only one that has the domain, or none."""
    if account is not None:
        return (await find_account(ground, account)).id
    rows = await ground.store.read(lambda tx: tx.rows(_ACCOUNTS_OF, (normal_name(name),)))
    if len(rows) > 1:
        raise CliError(f"Several accounts have {name}; say whose keys to look for with --account.")
    return str(rows[0][0]) if rows else None


def _show(domain: Domain, records: Sequence[DnsRecord], *, as_json: bool) -> None:
    shown = [
        {"purpose": one.purpose, "type": one.type, "name": one.name, "value": one.value} for one in records
    ]
    keys = [{"selector": key.selector, "algorithm": key.algorithm, "state": key.state} for key in domain.keys]
    if as_json:
        show_json(_row(domain) | {"keys": keys, "records": shown})
        return
    show_record(_row(domain), as_json=False)
    say()
    show_rows(keys, ("selector", "algorithm", "state"), as_json=False, empty="It has no keys.")
    for one in shown:
        say(f"\n{one['purpose'].upper()}: publish at {one['name']} {one['type']}\n  {one['value']}")


def _row(domain: Domain) -> dict[str, Any]:
    return {
        "name": domain.name,
        "account": domain.account_id,
        "status": domain.status.value,
        "selectors": _selectors(domain),
        "created": when(domain.created_ms),
        "verified": when(domain.verified_ms),
    }


def _selectors(domain: Domain) -> str:
    """The selectors that sign."""
    return ", ".join(key.selector for key in domain.keys if key.state == "active")


def _check_row(row: Row) -> dict[str, Any]:
    return {
        "what": row.what,
        "state": row.state.value,
        "name": row.name,
        "found": row.found,
        "publish": row.publish,
    }
