"""The service tree: Twisted services whose start and stop are coroutines, run in order.

Parts start one after the other, each when the one before is up, and stop in reverse order. A part that fails
to start stops those that were started.
"""

import asyncio
from collections.abc import Awaitable, Callable

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred


class Part(Service):
    """A leaf of the tree."""

    def __init__(
        self, name: str, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]
    ) -> None:
        self.name = name
        self._start = start
        self._stop = stop

    async def start(self) -> None:
        """Starts it; what it raises reaches whoever starts the tree."""
        self.running = 1
        await self._start()

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Stops it; the Deferred fires when it is down."""
        self.running = 0
        return Deferred.fromFuture(asyncio.ensure_future(self._stop()))


class Tree(MultiService):
    """The parts, in starting order."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as below

    def add(
        self,
        name: str,
        start: Callable[[], Awaitable[None]] | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Adds a part behind the others; what it does not have to do may be left out."""
        Part(name, start or _nothing, stop or _nothing).setServiceParent(self)  # type: ignore[no-untyped-call]  # Twisted is typed in parts only

    async def start(self) -> None:
        """Starts every part in turn."""
        try:
            for part in list(self):
                await part.start()
        except BaseException:
            await self.stop()
            raise
        self.running = 1

    async def stop(self) -> None:
        """Stops the parts that run, the last one first; one that fails does not spare the others."""
        self.running = 0
        failures = []
        for part in reversed(list(self)):
            if part.running:
                try:
                    await part.stopService().asFuture(asyncio.get_running_loop())
                except Exception as error:  # noqa: BLE001 - collected and raised below
                    failures.append(error)
        if failures:
            raise ExceptionGroup("parts did not stop cleanly", failures)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Twisted's way to `stop`."""
        return Deferred.fromFuture(asyncio.ensure_future(self.stop()))


async def _nothing() -> None:
    return
