"""The accounts under test, made through the ground before the daemons start."""

from dataclasses import dataclass
from pathlib import Path

from config import load
from gateway import verticals
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.clock import SystemClock
from gateway.credits.service import Credits
from gateway.domains.service import Domains
from gateway.ground import Ground
from gateway.sendernames.service import SenderNames
from gateway.store.store import Store
from gateway.verticals import EVENT_LISTENERS

SENDER_NAME = "Crash"
PRODUCTS = ("mail", "sms")


@dataclass(frozen=True, slots=True)
class Account:
    """The logins of one account."""

    name: str
    key: str
    smtp_user: str
    smtp_password: str
    smpp_system_id: str
    smpp_password: str


async def make_accounts(config: Path, wanted: dict[str, tuple[str, int]]) -> dict[str, Account]:
    """The database with an account for each name, with its domain and so many credits of each product."""
    settings = load(config)
    store = Store.open(settings.store.url, upgrade=True, listeners=EVENT_LISTENERS)
    ground = verticals.make(settings, store, SystemClock())
    try:
        return {
            name: await _make(ground, name, domain, credits) for name, (domain, credits) in wanted.items()
        }
    finally:
        await ground.caches.close()
        await store.close()


async def _make(ground: Ground, name: str, domain: str, credits: int) -> Account:
    account = await ground[Accounts].create(name)
    api, smtp, smpp = [
        await ground[Credentials].create(account.id, kind)
        for kind in (CredentialKind.API, CredentialKind.SMTP, CredentialKind.SMPP)
    ]
    for product in PRODUCTS:
        await ground[Credits].grant(account.id, product, credits)
    await ground[Domains].add(account.id, domain)
    await ground[Domains].approve(account.id, domain)
    await ground[SenderNames].approve(account.id, SENDER_NAME)
    return Account(
        name, api.secret, smtp.credential.username, smtp.secret, smpp.credential.username, smpp.secret
    )
