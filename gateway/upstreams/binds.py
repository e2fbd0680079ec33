"""The binds of one SMPP operator: each exists once over all processes (a lease), and is kept up by this one.

`Leases` is the port to the store. Without it (one process alone on its database) every bind is ours from the
start. Kill the process that holds a bind, and another takes it over when the lease has run out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from smpp.esme import Esme
from smpp.states import BindMode

log = structlog.get_logger(__name__)


class Leases(Protocol):
    """What may exist only once, by name."""

    renew_s: float
    """How often a lease that is held has to be renewed."""

    async def take(self, name: str) -> bool:
        """Takes or renews a lease; False while another process has it."""
        ...

    async def drop(self, name: str) -> None:
        """Gives it back."""
        ...


class LeasedBind:
    """One bind: waits for its lease, runs its ESME, ends it when the lease is lost."""

    def __init__(
        self,
        name: str,
        mode: BindMode,
        make: Callable[[], Esme],
        leases: Leases | None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called whenever the bind begins or ceases to be this process's to keep."""
        self.mode = mode
        self._changed = changed
        self._name = name
        self._make = make
        self._leases = leases
        self._task: asyncio.Task[None] | None = None
        self._throttled_before = 0
        self.esme: Esme | None = None
        """The ESME while this process holds the bind."""

    @property
    def throttled(self) -> int:
        """How many answers told this process to slow down on this bind."""
        return self._throttled_before + (self.esme.throttled if self.esme is not None else 0)

    def start(self) -> None:
        """Begins to keep the bind."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self, drain_s: float) -> None:
        """Unbinds within `drain_s` seconds and gives the lease back."""
        if self._task is None:
            return
        if self.esme is not None:
            await self.esme.unbind_and_close(drain_s)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._leases is not None:
            await _tried(self._leases.drop(self._name))

    async def _keep(self) -> None:
        while True:
            if await self._held():
                await self._run()
            if self._leases is not None:
                await asyncio.sleep(self._leases.renew_s)

    async def _run(self) -> None:
        """Runs the ESME for as long as the lease is ours."""
        self.esme = self._make()
        self._changed()
        running = asyncio.get_running_loop().create_task(self.esme.run())
        try:
            while await self._held():
                wait_s = None if self._leases is None else self._leases.renew_s
                done, _ = await asyncio.wait([running], timeout=wait_s)
                if done:
                    return
            log.warning("bind_lease_lost", bind=self._name)
            await self.esme.unbind_and_close(1.0)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._throttled_before += self.esme.throttled
            self.esme = None
            self._changed()

    async def _held(self) -> bool:
        if self._leases is None:
            return True
        # A third of the lease has passed since it was renewed; when the rest has, it may be another's.
        left_s = 2 * self._leases.renew_s
        return await _tried(asyncio.wait_for(self._leases.take(self._name), left_s)) is True


async def _tried(call: Awaitable[object]) -> object:
    """What the store answers; None when it could not: a lease that cannot be renewed is not held."""
    try:
        return await call
    except Exception:  # noqa: BLE001 - whatever ails the store, the bind must not outlive its lease
        log.warning("bind_lease_unknown")
        return None
