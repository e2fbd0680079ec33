"""What the API and the command line work with: every service of an account, on one open store.

The command line builds these without a `Road`: it changes accounts and credits and looks into the queue; a
running daemon sees the changes within a second.
"""

from dataclasses import dataclass

from config.schema import Settings
from gateway.accounts.auth import Authenticator
from gateway.accounts.credentials import Credentials
from gateway.accounts.service import Accounts
from gateway.credits.providers import Invoice
from gateway.credits.service import Credits
from gateway.credits.terms import Terms
from gateway.domains.dns import Dns, SystemDns
from gateway.domains.service import Domains
from gateway.domains.signers import Signers
from gateway.domains.spf import judge_spf
from gateway.ids import IdFactory
from gateway.ports import Clock
from gateway.sendernames.service import SenderNames
from gateway.store.cache import Caches
from gateway.store.store import Store
from gateway.webhooks.service import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All services on one store."""

    settings: Settings
    clock: Clock
    ids: IdFactory
    store: Store
    dns: Dns
    caches: Caches
    accounts: Accounts
    credentials: Credentials
    authenticator: Authenticator
    credits: Credits
    domains: Domains
    signers: Signers
    sender_names: SenderNames
    webhooks: Webhooks


def build_services(
    settings: Settings,
    store: Store,
    clock: Clock,
    *,
    dns: Dns | None = None,
    login_key: bytes | None = None,
) -> Services:
    """The services on an open store; nothing is started. `login_key` is `accounts.known.read_key`'s."""
    ids = IdFactory()
    caches = Caches(store)
    dns = dns or SystemDns()
    providers = {"invoice": Invoice(settings.credits.invoice_confirm)}
    return Services(
        settings=settings,
        clock=clock,
        ids=ids,
        store=store,
        dns=dns,
        caches=caches,
        accounts=Accounts(caches, clock, ids),
        credentials=Credentials(caches, clock, ids),
        authenticator=Authenticator(caches, clock, settings.limits, login_key=login_key),
        credits=Credits(store, clock, Terms(settings=settings.credits), providers),
        domains=Domains(caches, clock, settings.mail, dns=dns, spf=judge_spf),
        signers=Signers(caches),
        sender_names=SenderNames(caches, clock, settings.sender_name),
        webhooks=Webhooks(caches, clock, ids, settings.webhooks),
    )
