"""The ground that commands work on: every vertical's services on the database as it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from config import Settings
from gateway import verticals
from gateway.clock import SystemClock
from gateway.credits.service import Credits
from gateway.ground import Ground
from gateway.store.store import Store
from gateway.terminal.faults import CliError


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Ground]:
    """The ground on the database as it is; its schema must be this program's."""
    path = settings.store.sqlite_path
    if path is not None and not path.exists():
        raise CliError(f"{path}: there is no database yet. Run: gateway db upgrade")
    store = Store.open(
        settings.store.url,
        password=settings.store.password,
        lease_s=settings.store.lease_s,
        busy_timeout_s=settings.store.busy_timeout_s,
        listeners=verticals.EVENT_LISTENERS,
    )
    ground = verticals.make(settings, store, SystemClock())
    try:
        yield ground
    finally:
        await ground[Credits].stop()
        await ground.caches.close()
        await store.close()
