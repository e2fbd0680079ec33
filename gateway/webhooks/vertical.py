"""Webhooks: a client's servers are told what happened."""

from collections.abc import Sequence

from config.schema import Settings
from gateway.events.record import EventKinds
from gateway.ground import Ground
from gateway.jobs.retention import Purge, older_than, sweeping
from gateway.vertical import Vertical
from gateway.webhooks import api, cli, outbox, tables
from gateway.webhooks.service import Webhooks
from policy.retention import DAY_MS


def _make(ground: Ground) -> None:
    ground.add(
        Webhooks(ground.caches, ground.clock, ground.ids, ground.settings.webhooks, ground[EventKinds])
    )


def _purges(settings: Settings) -> Sequence[Purge]:
    return (sweeping(outbox.purge, older_than(settings.retention.event_days * DAY_MS)),)


WEBHOOKS = Vertical(
    name="webhooks",
    tables=(tables.webhook, tables.webhook_delivery),
    make=_make,
    operations=api.OPERATIONS,
    commands=(cli.app,),
    scopes=("webhooks:read", "webhooks:write"),
    listens=outbox.enqueue,
    purges=_purges,
)
