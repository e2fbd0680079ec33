"""Housekeeping: once an hour, voids expired credits (R4) and drops what retention no longer keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

log = structlog.get_logger(__name__)

_EVERY_S = 3600.0


class Housekeeping:
    """Runs `chores` one after the other, at the start and every hour; stopping ends them where they are."""

    def __init__(self, chores: Sequence[Callable[[], Awaitable[object]]]) -> None:
        self._chores = chores
        self._loop = LoopingCall(self._begin)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins the first round."""
        self._loop.start(_EVERY_S, now=True)

    async def stop(self) -> None:
        """Ends a round under way; what it deleted so far stays deleted, and the next start goes on."""
        if self._loop.running:
            self._loop.stop()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _begin(self) -> Deferred[None]:
        self._running = asyncio.ensure_future(self._round())
        return Deferred.fromFuture(self._running)

    async def _round(self) -> None:
        try:
            for chore in self._chores:
                await chore()
        except asyncio.CancelledError:
            return
        except Exception:
            log.exception("housekeeping_failed")
