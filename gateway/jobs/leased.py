"""Jobs that one process at a time does, of however many there are: by a lease of the job's name."""

from collections.abc import Awaitable, Callable

from gateway.clock import Clock
from gateway.jobs.loop import Elsewhere
from gateway.store import leases
from gateway.store.store import Store


def leased(
    name: str,
    work: Callable[[], Awaitable[object]],
    *,
    store: Store,
    clock: Clock,
    holder: str,
    lease_ms: int,
) -> Callable[[], Awaitable[object]]:
    """`work` under the lease `name`, given back at the end. Raises Elsewhere while another holder has it.

    After `lease_ms` another process begins, should this one stand still in the middle of it. A process that
    has the database for itself asks for none: one of a dead process would only hold it up.
    """

    async def one_round() -> object:
        if store.exclusive:
            return await work()
        locks = leases.locks(name)
        now_ms = clock.now_ms()
        if not await store.write(
            lambda tx: leases.take(tx, name, holder, now_ms=now_ms, lease_ms=lease_ms), locks=locks
        ):
            raise Elsewhere
        try:
            return await work()
        finally:
            await store.write(lambda tx: leases.drop(tx, name, holder), locks=locks, urgent=True)

    return one_round
