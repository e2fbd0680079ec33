"""What the API and the command line work with: every service of an account, on one open store.

The command line builds these without a `Road`: it changes accounts and credits and looks into the queue; a
running daemon sees the changes within a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from config.schema import Settings
from gateway.accounts import known
from gateway.accounts.auth import Authenticator
from gateway.accounts.credentials import Credentials
from gateway.accounts.service import Accounts
from gateway.clock import Clock
from gateway.credits.providers import Invoice
from gateway.credits.service import Credits
from gateway.credits.terms import Terms
from gateway.dns import Dns, SystemDns
from gateway.domains.service import Domains
from gateway.domains.signers import Signers
from gateway.domains.spf import judge_spf
from gateway.events import record as events
from gateway.ids import IdFactory
from gateway.jobs.retention import Purge, older_than, sweeping, sweeping_accounts, whole_days
from gateway.messages.receipts import apply as receipts
from gateway.messages.receipts import client as client_receipts
from gateway.messages.retention import FinalMessages
from gateway.sendernames.service import SenderNames
from gateway.store import idempotency, leases
from gateway.store.cache import Caches
from gateway.store.store import Store
from gateway.store.tx import Listener
from gateway.webhooks import outbox
from gateway.webhooks.service import Webhooks
from policy.retention import DAY_MS

LISTENERS: Sequence[Listener] = (outbox.enqueue,)
"""Who is told of events, inside the transaction that writes them; every store is opened with these."""


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


def purges(settings: Settings) -> Sequence[Purge]:
    """What is not kept for ever, in the order in which it goes."""
    keep, sms = settings.retention, settings.sms
    receipts_ms = sms.receipt_timeout_s * 1000
    told = older_than(keep.event_days * DAY_MS)
    return (
        sweeping(idempotency.purge, older_than(0)),
        sweeping(receipts.purge_parts, older_than(receipts_ms + sms.lifetime_s * 1000)),
        sweeping(receipts.purge_parked, older_than(receipts_ms)),
        sweeping(known.purge, older_than(settings.limits.auth_trusted_days * DAY_MS)),
        sweeping(leases.purge, older_than(DAY_MS)),
        sweeping(outbox.purge, told),
        sweeping(client_receipts.purge, told),
        sweeping_accounts("event", events.purge, whole_days(keep.event_days)),
        FinalMessages(keep).purge,
    )
