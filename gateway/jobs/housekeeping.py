"""Housekeeping: once an hour, voids expired credits (R4) and drops what retention no longer keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

log = structlog.get_logger(__name__)

_EVERY_S = 3600.0


class Housekeeping:
    """Runs `chores` one after the other, at the start and every hour; stopping ends them where they are."""

    def __init__(self, chores: Sequence[Callable[[], Awaitable[object]]]) -> None:
        self._chores = chores
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins the first round."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ends a round under way; what it deleted so far stays deleted, and the next start goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                for chore in self._chores:
                    await chore()
            except Exception:
                log.exception("housekeeping_failed")
            await asyncio.sleep(_EVERY_S)
