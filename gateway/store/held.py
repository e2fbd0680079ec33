"""Leases as an upstream sees them: taken and given back in the name of this process."""

from gateway.clock import Clock
from gateway.store import leases
from gateway.store.store import Store
from gateway.store.tx import Tx


class HeldLeases:
    """Implements `gateway.upstreams.binds.Leases` on the store."""

    def __init__(self, store: Store, clock: Clock, *, holder: str, lease_s: float) -> None:
        self.renew_s = lease_s / 3
        self._store = store
        self._clock = clock
        self._holder = holder
        self._lease_ms = int(lease_s * 1000)

    async def take(self, name: str) -> bool:
        """Takes or renews a lease; False while another process has it."""
        own_ms = self._clock.now_ms()

        def take(tx: Tx) -> bool:
            now_ms = leases.agreed_ms(tx, own_ms)
            return leases.take(tx, name, self._holder, now_ms=now_ms, lease_ms=self._lease_ms)

        return await self._store.write(take, locks=leases.locks(name), urgent=True)

    async def drop(self, name: str) -> None:
        """Gives it back."""
        await self._store.write(
            lambda tx: leases.drop(tx, name, self._holder), locks=leases.locks(name), urgent=True
        )
