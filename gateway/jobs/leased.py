"""Jobs that one process at a time does, of however many there are: by a lease of the job's name."""

from collections.abc import Awaitable, Callable

from gateway.clock import Clock
from gateway.jobs.loop import Elsewhere
from gateway.store import leases
from gateway.store.store import Store

LEASE_MS = 600_000
"""After so long another process begins, should this one stand still in the middle of it."""


def leased(
    name: str, work: Callable[[], Awaitable[object]], *, store: Store, clock: Clock, holder: str
) -> Callable[[], Awaitable[object]]:
    """`work` under the lease `name`, given back at the end. Raises Elsewhere while another holder has it."""

    async def one_round() -> object:
        locks = leases.locks(name)
        now_ms = clock.now_ms()
        if not await store.write(
            lambda tx: leases.take(tx, name, holder, now_ms=now_ms, lease_ms=LEASE_MS), locks=locks
        ):
            raise Elsewhere
        try:
            return await work()
        finally:
            await store.write(lambda tx: leases.drop(tx, name, holder), locks=locks, urgent=True)

    return one_round
