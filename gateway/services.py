"""What the API, the console and the command line work with: every service of an account, on one open store.

The command line builds these without a `Road`: it changes accounts and credits and looks into the queue, and a
running daemon sees the changes within a second.
"""

from dataclasses import dataclass

from config.schema import Settings
from gateway.accounts.auth import Authenticator
from gateway.accounts.credentials import Credentials
from gateway.accounts.service import Accounts
from gateway.credits.service import Credits
from gateway.domains.service import Domains
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
    caches: Caches
    accounts: Accounts
    credentials: Credentials
    authenticator: Authenticator
    credits: Credits
    domains: Domains
    sender_names: SenderNames
    webhooks: Webhooks
