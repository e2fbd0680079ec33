"""The demo's account: credits, a SenderName, a sender domain, and credentials for every door.

`furnish` looks at what is there and adds what is missing, each in a transaction of its own that leaves the
account whole. Its credentials are kept as long as their secrets are known, and replaced otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.accounts.credentials import Credential, Credentials, Issued
from gateway.accounts.secrets import CredentialKind, key_prefix
from gateway.accounts.service import Account, Accounts, AccountStatus
from gateway.credits import ledger
from gateway.credits.service import Credits
from gateway.domains.service import Domains, DomainStatus
from gateway.errors import ConflictError, NotFoundError
from gateway.ground import Ground
from gateway.sendernames.service import NameStatus, SenderNames
from gateway.store.tx import Tx

ACCOUNT = "demo"
SMS_CREDITS = 100
SENDER_NAME = "DemoCo"
DOMAIN = "demo.example"
_LABEL = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What opens the doors, as far as it is known; "" for what is not."""

    api_key: str = field(default="", repr=False)
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    smpp_system_id: str = ""
    smpp_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Furnished:
    """The demo as it stands; every secret is known."""

    account: Account
    secrets: Secrets
    sender_name: str = SENDER_NAME
    domain: str = DOMAIN


async def furnish(ground: Ground, known: Secrets) -> Furnished:
    """The demo account with all it needs; `known` are the secrets of an earlier start."""
    account = await _account(ground)
    await _sender_name(ground, account)
    await _domain(ground, account)
    api_key = await _api_key(ground, account, known.api_key)
    smtp = await _login(ground, account, CredentialKind.SMTP, known.smtp_user, known.smtp_password)
    smpp = await _login(ground, account, CredentialKind.SMPP, known.smpp_system_id, known.smpp_password)
    secrets = Secrets(
        api_key=api_key,
        smtp_user=smtp[0],
        smtp_password=smtp[1],
        smpp_system_id=smpp[0],
        smpp_password=smpp[1],
    )
    return Furnished(account=account, secrets=secrets)


async def _account(ground: Ground) -> Account:
    named = await ground[Accounts].named(ACCOUNT, limit=1)
    if not named or named[0].status is AccountStatus.CLOSED:
        return await ground[Accounts].create(ACCOUNT, grants=_grants(ground))
    (found,) = named
    if found.status is AccountStatus.SUSPENDED:
        return await ground[Accounts].activate(found.id)
    return found


def _grants(ground: Ground) -> Callable[[Tx, str], None]:
    """The first credits, in the transaction that makes the account: neither is there without the other."""

    def grant(tx: Tx, account_id: str) -> None:
        ground[Credits].welcome(tx, account_id)  # R11
        now_ms = ground.clock.now_ms()
        expires_ms = ground[Credits].terms.expires_ms("sms", now_ms)
        ledger.grant(
            tx,
            account_id,
            "sms",
            SMS_CREDITS,
            source="grant",
            now_ms=now_ms,
            expires_ms=expires_ms,
            note="demo",
        )

    return grant


async def _sender_name(ground: Ground, account: Account) -> None:
    try:
        found = await ground[SenderNames].get(account.id, SENDER_NAME)
    except NotFoundError:
        found = None
    if found is None or found.status is not NameStatus.APPROVED:
        await ground[SenderNames].approve(account.id, SENDER_NAME)


async def _domain(ground: Ground, account: Account) -> None:
    try:
        found = await ground[Domains].get(account.id, DOMAIN)
    except NotFoundError:
        found = await ground[Domains].add(account.id, DOMAIN)
    if found.status is not DomainStatus.VERIFIED:
        await ground[Domains].approve(account.id, DOMAIN)


async def _api_key(ground: Ground, account: Account, key: str) -> str:
    prefix = key_prefix(key)
    if prefix is not None and await _is_good(ground, account, CredentialKind.API, prefix, key):
        return key
    issued = await ground[Credentials].create(account.id, CredentialKind.API, label=_LABEL)
    for older in await _own(ground, account, CredentialKind.API):
        if older.id != issued.credential.id:
            await ground[Credentials].revoke(account.id, older.id)
    return issued.secret


async def _login(
    ground: Ground, account: Account, kind: CredentialKind, username: str, password: str
) -> tuple[str, str]:
    """Username and password that work: the known ones, or the demo's login with a new password."""
    if username and await _is_good(ground, account, kind, username, password):
        return username, password
    own = await _own(ground, account, kind)
    if own:
        issued = await ground[Credentials].renew(account.id, own[0].id)
    else:
        issued = await _new_login(ground, account, kind)
    return issued.credential.username, issued.secret


async def _new_login(ground: Ground, account: Account, kind: CredentialKind) -> Issued:
    try:
        return await ground[Credentials].create(account.id, kind, username=ACCOUNT, label=_LABEL)
    except ConflictError:  # the name is somebody else's, or was revoked
        return await ground[Credentials].create(account.id, kind, label=_LABEL)


async def _own(ground: Ground, account: Account, kind: CredentialKind) -> list[Credential]:
    """The demo's own credentials of a kind that are not revoked."""
    found = await ground[Credentials].list(account.id, limit=1000)
    return [one for one in found if one.kind is kind and one.label == _LABEL]


async def _is_good(
    ground: Ground, account: Account, kind: CredentialKind, username: str, secret: str
) -> bool:
    return await ground[Credentials].opens(account.id, kind, username, secret)
