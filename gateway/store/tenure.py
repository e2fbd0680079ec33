"""How long this process may use what it holds: its lease on the deliveries in its memory.

A process that stood still (a stopped machine, a migration, swapping) comes back not knowing how long it was
away, and others may have taken over what it held. So before anything leaves, `may_send` compares how long ago
the lease was renewed with its length: a third of it stays as a margin for what is on its way. The time counts
from before the renewal was submitted, by the clock that goes on in suspend *and* by the wall clock, whichever
says that more time has passed.

A renewal that finds the lease taken over is a loss: the process goes on under another name (`holder`), under
which it holds nothing yet. Nobody can take anything over from a process that is alone on its database.
"""

import os
from collections.abc import Callable

import structlog

from gateway.clock import Clock
from gateway.store import leases
from gateway.store.locks import Locks
from gateway.store.store import Store
from gateway.store.tx import Tx

log = structlog.get_logger(__name__)


class Tenure:
    """This process's lease. `new_holder` makes a name for it; `lost` is told of every loss."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_holder: Callable[[], str],
        *,
        lease_s: float,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.renew_s = lease_s / 3
        self.process = new_holder()
        """The name of this process in every lease it has, for as long as it lives."""
        self.holder = self.process
        """The name by which deliveries are held now."""
        self._store = store
        self._alone = store.exclusive
        self._damage = store.damage
        self._clock = clock
        self._new_holder = new_holder
        self._lost = lost
        self._lease_ms = int(lease_s * 1000)
        self._usable_s = lease_s - lease_s / 3
        self._renewed: tuple[float, float] | None = None  # by both clocks, before it was asked for

    def may_send(self) -> bool:
        """Whether what this process holds is its own beyond doubt."""
        if self._alone:
            return not self._damage.text  # what is sent could not be settled
        if self._renewed is None:
            return False
        elapsed_s, wall_s = self._renewed
        clock = self._clock
        return (
            clock.monotonic_s() - elapsed_s < self._usable_s
            and clock.now_ms() / 1000 - wall_s < self._usable_s
        )

    async def begin(self) -> None:
        """Takes the lease. Raises StoreBusy and StoreFailed, as `renew` does."""
        asked = self._now()
        await self._store.write(
            lambda tx: self._take(tx, self.holder, asked), locks=_locks(self.holder), urgent=True
        )
        self._renewed = asked

    async def renew(self) -> bool:
        """Renews the lease; False: it had been taken over, and `holder` is another now."""
        asked, old, new = self._now(), self.holder, self._new_holder()

        def renew(tx: Tx) -> bool:
            if leases.renew_process(tx, old, expires_ms=self._expires_ms(asked)):
                return True
            self._take(tx, new, asked)
            return False

        kept = await self._store.write(renew, locks=_locks(old, new), urgent=True)
        if not kept:
            self.holder = new
            since_s = None if self._renewed is None else round(asked[1] - self._renewed[1], 3)
            log.error("process_lease_lost", pid=os.getpid(), holder=old, now=new, renewed_before_s=since_s)
            self._lost()
        self._renewed = asked
        return kept

    async def end(self) -> None:
        """Gives the lease back; what is still held under it is anybody's."""
        await self._store.write(
            lambda tx: leases.drop(tx, leases.process_lease(self.holder), self.process),
            locks=_locks(self.holder),
            urgent=True,
        )
        self._renewed = None

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic_s(), self._clock.now_ms() / 1000

    def _expires_ms(self, asked: tuple[float, float]) -> int:
        return int(asked[1] * 1000) + self._lease_ms

    def _take(self, tx: Tx, holder: str, asked: tuple[float, float]) -> None:
        name = leases.process_lease(holder)
        leases.take(tx, name, self.process, now_ms=int(asked[1] * 1000), lease_ms=self._lease_ms)


def _locks(*holders: str) -> Locks:
    return leases.locks(*(leases.process_lease(holder) for holder in holders))
