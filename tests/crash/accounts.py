"""The accounts under test, made through the services before the daemons start."""

from dataclasses import dataclass
from pathlib import Path

from config import load
from gateway.accounts.secrets import CredentialKind
from gateway.clock import SystemClock
from gateway.services import LISTENERS, Services, build_services
from gateway.store.store import Store

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
    store = Store.open(settings.store.url, upgrade=True, listeners=LISTENERS)
    services = build_services(settings, store, SystemClock())
    try:
        return {
            name: await _make(services, name, domain, credits) for name, (domain, credits) in wanted.items()
        }
    finally:
        await services.caches.close()
        await store.close()


async def _make(services: Services, name: str, domain: str, credits: int) -> Account:
    account = await services.accounts.create(name)
    api, smtp, smpp = [
        await services.credentials.create(account.id, kind)
        for kind in (CredentialKind.API, CredentialKind.SMTP, CredentialKind.SMPP)
    ]
    for product in PRODUCTS:
        await services.credits.grant(account.id, product, credits)
    await services.domains.add(account.id, domain)
    await services.domains.approve(account.id, domain)
    await services.sender_names.approve(account.id, SENDER_NAME)
    return Account(
        name, api.secret, smtp.credential.username, smtp.secret, smpp.credential.username, smpp.secret
    )
