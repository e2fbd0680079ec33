"""Whether the daemon is alive, and whether it is ready for work: the store writable, every door open."""

from dataclasses import dataclass, field

from gateway.store import revision
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.store import Store


@dataclass(slots=True)
class Readiness:
    """What /readyz answers. Doors report themselves; the store is asked by writing.

    A disk may have room for that little and none for a mail: then the writer knows (`Writer.failing`).
    """

    store: Store
    doors: dict[str, bool] = field(default_factory=dict)
    """Every door that was opened; that the process stops is told by `stopping`, before the first closes."""
    stopping: bool = False

    async def checks(self) -> dict[str, bool]:
        """Each check by name; ready only if all are true."""
        return {"store": await self._writable(), "running": not self.stopping, **self.doors}

    async def _writable(self) -> bool:
        try:
            await self.store.write(revision.touch, locks=revision.LOCK)
        except (StoreBusy, StoreFailed):
            return False
        return not self.store.writer.failing
