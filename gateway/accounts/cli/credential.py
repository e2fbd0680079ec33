"""`gateway credential`: logins for SMTP and SMPP. `gateway.accounts.cli.key` does the same for API keys.

Secrets are shown once, by `create` and `renew`; nobody can show them again.
"""

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.accounts.credentials import Credential, Credentials, Issued
from gateway.accounts.lookup import AccountArgument, find_account
from gateway.accounts.secrets import CredentialKind
from gateway.ground import Ground
from gateway.terminal.faults import CliError
from gateway.terminal.output import complain, say, show_record, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(
    name="credential", help="Logins for SMTP and SMPP. API keys: gateway key.", add_completion=False
)


class Login(StrEnum):
    """What a login is for."""

    SMTP = "smtp"
    SMPP = "smpp"


LOGINS = frozenset({CredentialKind.SMTP, CredentialKind.SMPP})
LabelOption = Annotated[str | None, typer.Option(help="Your own words, to tell it from others.")]
AllOption = Annotated[bool, typer.Option("--all", help="Revoked ones too.")]
_CredentialArgument = Annotated[str, typer.Argument(metavar="LOGIN", help="Its id, or its username.")]
_PAGE = 500


@app.command()
def create(
    account: AccountArgument,
    kind: Annotated[Login, typer.Argument(help="What it is for.")],
    username: Annotated[str | None, typer.Option(help="SMTP user or SMPP system_id; one is made up.")] = None,
    label: LabelOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Make a login; its password is shown this once."""

    async def work(ground: Ground) -> Issued:
        found = await find_account(ground, account, usable=True)
        return await ground[Credentials].create(
            found.id, CredentialKind(kind.value), username=username, label=label
        )

    show_issued(run_on_ground(config, work), as_json=json)


@app.command("list")
def list_(
    account: AccountArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    all_: AllOption = False,
    json: JsonOption = False,
) -> None:
    """List an account's logins."""
    rows = credential_rows(config, account, LOGINS, revoked=all_)
    columns = ("id", "kind", "username", "label", "created", "revoked")
    show_rows(
        rows, columns, as_json=json, empty="It has none. Make one: gateway credential create ACCOUNT smtp"
    )


@app.command()
def renew(
    account: AccountArgument,
    login: _CredentialArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Give a login a new password; the old one stops at once."""

    async def work(ground: Ground) -> Issued:
        one = await find_credential(ground, account, login, LOGINS)
        return await ground[Credentials].renew(one.account_id, one.id)

    show_issued(run_on_ground(config, work), as_json=json)


@app.command()
def revoke(
    account: AccountArgument, login: _CredentialArgument, config: ConfigOption = DEFAULT_CONFIG
) -> None:
    """End a login for good."""
    revoke_credential(config, account, login, LOGINS)


# --- shared with `gateway key` -----------------------------------------------------------------------------


def credential_rows(
    config: Path, account: str, kinds: Collection[CredentialKind], *, revoked: bool
) -> list[dict[str, Any]]:
    """The account's credentials of these kinds, as they are shown."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        found = await find_account(ground, account)
        return [_row(one) for one in await _all(ground, found.id, revoked=revoked) if one.kind in kinds]

    return run_on_ground(config, work)


def revoke_credential(config: Path, account: str, text: str, kinds: Collection[CredentialKind]) -> None:
    """Revokes the credential that `text` names, and says so."""

    async def work(ground: Ground) -> Credential:
        one = await find_credential(ground, account, text, kinds)
        return await ground[Credentials].revoke(one.account_id, one.id)

    gone = run_on_ground(config, work)
    say(f"{_shown_name(gone)} ({gone.id}) is revoked: a running gateway refuses it within a second.")


async def find_credential(
    ground: Ground, account: str, text: str, kinds: Collection[CredentialKind]
) -> Credential:
    """The credential of the account with this id, username, or (for API keys) prefix. Raises CliError."""
    found = await find_account(ground, account)
    for one in await _all(ground, found.id, revoked=True):
        if one.kind in kinds and text in {one.id, one.username, _shown_name(one)}:
            return one
    noun = "key" if CredentialKind.API in kinds else "credential"
    raise CliError(f"{found.name} has no {noun} {text[:80]!r}. See: gateway {noun} list {found.id}")


async def _all(ground: Ground, account_id: str, *, revoked: bool) -> list[Credential]:
    found: list[Credential] = []
    while page := await ground[Credentials].list(
        account_id, after=found[-1].id if found else "", limit=_PAGE, revoked=revoked
    ):
        found += page
    return found


def show_issued(issued: Issued, *, as_json: bool) -> None:
    """A new secret, with the advice to keep it."""
    is_key = issued.credential.kind is CredentialKind.API
    show_record(_row(issued.credential) | {"key" if is_key else "password": issued.secret}, as_json=as_json)
    if not as_json:
        complain("Keep it now: it is stored as a hash only and cannot be shown again.")


def _row(credential: Credential) -> dict[str, Any]:
    row: dict[str, Any] = {"id": credential.id, "kind": credential.kind.value}
    if credential.kind is CredentialKind.API:
        row |= {"prefix": _shown_name(credential), "scopes": sorted(credential.scopes)}
    else:
        row |= {"username": credential.username}
    return row | {
        "label": credential.label,
        "created": when(credential.created_ms),
        "revoked": when(credential.revoked_ms),
    }


def _shown_name(credential: Credential) -> str:
    return f"gw_{credential.username}" if credential.kind is CredentialKind.API else credential.username
