"""Chores: what has to be done now and then for the whole installation, each by one process at a time."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.jobs.leased import leased
from gateway.jobs.loop import Job, Loop, Watch
from gateway.store.store import Store

HOURLY_S = 3600.0
_RETRY_FIRST_S = 10.0
_RETRY_MOST_S = 600.0
_LEASE_PERIODS, _LEASE_MOST_S = 3, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """A chore by its name, which is also that of its lease and in its metrics."""

    name: str
    work: Callable[[], Awaitable[object]]
    """One round; True: there is more to do at once."""
    every_s: float = HOURLY_S


class Chores:
    """The chores of one process: none waits for another, and none that fails keeps another from its round."""

    def __init__(
        self, chores: Sequence[Chore], store: Store, clock: Clock, *, holder: str, watch: Watch | None = None
    ) -> None:
        self._loops = [
            Loop(
                Job(
                    name=one.name,
                    work=leased(
                        one.name,
                        one.work,
                        store=store,
                        clock=clock,
                        holder=holder,
                        lease_ms=int(min(_LEASE_MOST_S, _LEASE_PERIODS * one.every_s) * 1000),
                    ),
                    every_s=one.every_s,
                    retry_first_s=min(_RETRY_FIRST_S, one.every_s),
                    retry_most_s=min(_RETRY_MOST_S, one.every_s),
                ),
                watch,
            )
            for one in chores
        ]

    async def start(self) -> None:
        """Begins the first rounds."""
        for loop in self._loops:
            await loop.start()

    async def stop(self) -> None:
        """Ends rounds under way where they are; the next start goes on."""
        for loop in self._loops:
            await loop.stop()
