"""Every vertical of the gateway, and what they make together. A new one is a folder and a line here."""

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Table

from config.schema import Settings
from gateway.accounts.api_keys import ApiKeys
from gateway.accounts.auth import Authenticator
from gateway.accounts.credentials import Scopes
from gateway.accounts.known import LoginKey
from gateway.accounts.vertical import ACCOUNTS
from gateway.clock import Clock
from gateway.credits.vertical import CREDITS
from gateway.dns import Dns
from gateway.domains.vertical import DOMAINS
from gateway.events import record as events
from gateway.events import tables as events_tables
from gateway.events.record import EventKinds
from gateway.ground import Ground
from gateway.http.describe import catalogue
from gateway.http.gate.app import App
from gateway.http.gate.operation import Operation
from gateway.http.gate.translate import EVERYWHERE, Translations
from gateway.http.wire import kinds
from gateway.http.wire.kinds import Kind
from gateway.http.wire.site import BODIES_AT_ONCE, Readiness, Site
from gateway.jobs.chores import Chore
from gateway.jobs.retention import Purge, older_than, purge_all, sweeping, sweeping_accounts, whole_days
from gateway.messages.vertical import MESSAGES
from gateway.notices import queue as notices
from gateway.notices import tables as notices_tables
from gateway.notices.kind import NoticeKinds
from gateway.peers import Networks
from gateway.sendernames.vertical import SENDERNAMES
from gateway.store import idempotency, leases
from gateway.store import tables as store_tables
from gateway.store.cache import Caches
from gateway.store.store import Store
from gateway.store.tx import Listener
from gateway.upstreams.sandbox.vertical import SANDBOX
from gateway.vertical import Vertical
from gateway.webhooks.vertical import WEBHOOKS
from policy.retention import DAY_MS
from smtp.data import Budget

VERTICALS: Sequence[Vertical] = (
    ACCOUNTS,
    CREDITS,
    DOMAINS,
    SENDERNAMES,
    MESSAGES,
    WEBHOOKS,
    SANDBOX,
)
"""In the order in which their services are made, and commands and operations shown."""

TABLES: Mapping[str, Sequence[Table]] = {
    "store": store_tables.EVERY,
    "events": (events_tables.event,),
    "notices": (notices_tables.notice,),
    **{one.name: one.tables for one in VERTICALS},
}
"""Every table by its owner."""

EVENT_LISTENERS: Sequence[Listener] = [one.listens for one in VERTICALS if one.listens is not None]
"""Who is told of events, inside the transaction that writes them: every store is opened with these."""

EVENT_KINDS = EventKinds((kind, scope) for one in VERTICALS for kind, scope in one.event_kinds.items())
NOTICE_KINDS = NoticeKinds((kind.name, kind) for one in VERTICALS for kind in one.notices)
SCOPES = Scopes(scope for one in VERTICALS for scope in one.scopes)
OPERATIONS: Sequence[Operation] = [
    *MESSAGES.operations,  # what most clients are here for
    *(operation for one in VERTICALS if one is not MESSAGES for operation in one.operations),
]
KINDS: Sequence[Kind] = [*kinds.EVERY, *(kind for one in VERTICALS for kind in one.kinds)]
"""Of problems."""


def make(
    settings: Settings,
    store: Store,
    clock: Clock,
    *,
    dns: Dns | None = None,
    login_key: LoginKey | None = None,
    caches: Caches | None = None,
) -> Ground:
    """The services of all verticals on an open store; nothing is started.

    `login_key` is `accounts.known.read_key`'s. The command line makes the same, without a road: a running
    daemon sees what it changes within a second.
    """
    ground = Ground(settings, store, clock, dns=dns, caches=caches)
    ground.add(SCOPES)
    ground.add(EVENT_KINDS)
    ground.add(NOTICE_KINDS)
    if login_key is not None:
        ground.add(login_key)
    for one in VERTICALS:
        one.make(ground)
    return ground


def api(ground: Ground, readiness: Readiness) -> App:
    """The application that answers for all verticals; `readiness` is what /readyz asks."""
    http = ground.settings.http
    site = Site(
        ground=ground,
        readiness=readiness,
        budget=Budget(BODIES_AT_ONCE * http.max_body_octets),
        proxies=Networks(http.trusted_proxies),
    )
    return App(site, ApiKeys(ground[Authenticator]), operations(ground.settings), problems())


def operations(settings: Settings) -> Sequence[Operation]:
    """Everything that is served over HTTP, with its description."""
    return catalogue.everything(OPERATIONS, KINDS, server=settings.http.public_url or "/")


def problems() -> Translations:
    """Which error is which problem."""
    found = dict(EVERYWHERE)
    for one in VERTICALS:
        found.update(one.problems)
    return found


def jobs(ground: Ground) -> Sequence[Chore]:
    """What is done now and then for the whole installation."""
    return (
        *(chore for one in VERTICALS for chore in one.jobs(ground)),
        Chore(
            name="retention",
            work=partial(purge_all, purges(ground.settings), ground.store, ground.clock),
        ),
    )


def purges(settings: Settings) -> Sequence[Purge]:
    """What is not kept for ever, in the order in which it goes."""
    return (
        sweeping(idempotency.purge, older_than(0)),
        sweeping(leases.purge, older_than(DAY_MS)),
        *(purge for one in VERTICALS for purge in one.purges(settings)),
        sweeping_accounts("event", events.purge, whole_days(settings.retention.event_days)),
        sweeping_accounts("notice", notices.purge, whole_days(settings.retention.event_days)),
    )
