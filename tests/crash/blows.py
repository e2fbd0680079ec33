"""What is done to the processes, each at a random moment: kills, ends, freezes, and deaths around them."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.daemons import Daemon
from tests.crash.far_ends import FarEnd
from tests.crash.incidents import Incident
from tests.crash.world import World

_ORPHANS_S = 30.0
_DOWN_S = 0.5  # a far end's or the database's absence


@dataclass(frozen=True, slots=True)
class Blow:
    """One kind of blow and how often it is drawn."""

    name: str
    weight: float
    strike: Callable[[], Awaitable[None]]


class Blows:
    """Strikes the daemons and what is around them; the world's `incidents` remember whom, and when."""

    def __init__(self, world: World) -> None:
        self.counts: Counter[str] = Counter()
        self.kills = 0
        self._world = world
        self._daemons = world.daemons
        self._database = world.database
        self._rng = world.setting.rng("blows")
        self._incidents = world.incidents
        self._lease_s = world.setting.harness.lease_s
        mail, smsc = world.far_ends.mail, world.far_ends.smsc
        self._blows = [
            Blow("SIGKILL", 60, self._kill),
            Blow("SIGKILL while starting", 8, self._kill_start),
            Blow("SIGTERM", 10, self._terminate),
            Blow("SIGSTOP and SIGCONT", 8, self._freeze),
            Blow("mail sink dies", 2, lambda: self._far_end(mail)),
            Blow("SMSC dies", 4, lambda: self._far_end(smsc)),
        ]
        if world.setting.harness.workers > 1:
            self._blows += [
                Blow("SIGKILL of a worker", 30, self._kill_worker),
                Blow("SIGKILL of the supervisor alone", 8, self._orphan),
            ]
        if world.database.server is not None:
            self._blows.append(Blow("PostgreSQL stops at once", 5, self._database_stops))

    async def strike(self) -> None:
        """One blow, until what it struck is up again."""
        await self._world.revive()
        blow = self._rng.choices(self._blows, [one.weight for one in self._blows])[0]
        self.counts[blow.name] += 1
        await blow.strike()

    def _victim(self) -> Daemon:
        return self._rng.choice(self._daemons.members)

    async def _kill(self) -> None:
        victim = self._victim()
        await self._end_group(victim, "killed")
        await self._world.start(victim)

    async def _kill_start(self) -> None:
        """Killed, and again at some moment of its start."""
        victim = self._victim()
        await self._end_group(victim, "killed")
        await victim.spawn()
        await asyncio.sleep(self._rng.uniform(0.0, 2.5))
        await self._end_group(victim, "killed while starting")
        await self._world.start(victim)

    async def _end_group(self, victim: Daemon, kind: str) -> None:
        incident = self._begin(kind, victim.pids())
        victim.up.clear()
        victim.signal_group(signal.SIGKILL)
        assert victim.process is not None
        await victim.process.wait()
        await _gone(incident.pids)
        incident.to_s = time.monotonic()
        self.kills += 1

    async def _kill_worker(self) -> None:
        """Its supervisor starts it again by itself."""
        pids = self._victim().pids()[1:]
        if not pids:
            return
        pid = self._rng.choice(pids)
        incident = self._begin("killed", [pid])
        _signal(pid, signal.SIGKILL)
        await _gone([pid])
        incident.to_s = time.monotonic()
        self.kills += 1

    async def _orphan(self) -> None:
        """Its workers drain and end by themselves, then it is started again."""
        victim = self._victim()
        incident = self._begin("killed", victim.pids())
        await victim.end(signal.SIGKILL)
        await _gone(incident.pids)
        incident.to_s = time.monotonic()
        self.kills += 1
        await self._world.start(victim)

    async def _terminate(self) -> None:
        victim = self._victim()
        incident = self._begin("ended by SIGTERM", victim.pids())
        code = await victim.end(signal.SIGTERM)
        incident.to_s = time.monotonic()
        incident.explains = incident.to_s - incident.from_s >= self._world.setting.harness.drain_s
        if code != 0:
            self._world.deaths.append(f"{victim.folder.name} ended with {code} after SIGTERM")
        await self._world.start(victim)

    async def _freeze(self) -> None:
        """The whole group stands still, for less or for more than its lease."""
        victim = self._victim()
        incident = self._begin("frozen", victim.pids(), ends=False)
        victim.signal_group(signal.SIGSTOP)
        await asyncio.sleep(self._rng.uniform(0.1, 1.8) * self._lease_s)
        incident.to_s = time.monotonic()
        victim.signal_group(signal.SIGCONT)

    async def _far_end(self, one: FarEnd) -> None:
        await one.die()
        await asyncio.sleep(self._rng.uniform(0.0, _DOWN_S))
        await one.start()

    async def _database_stops(self) -> None:
        server = self._database.server
        assert server is not None
        pids = [pid for one in self._daemons.members for pid in one.pids()]
        incident = self._begin("database stopped", pids)
        await asyncio.to_thread(server.stop, hard=True)
        await asyncio.sleep(self._rng.uniform(0.0, _DOWN_S))
        await asyncio.to_thread(server.start)
        incident.to_s = time.monotonic()

    def _begin(self, kind: str, pids: Sequence[int], *, ends: bool = True) -> Incident:
        return self._incidents.begin(kind, pids, time.monotonic(), ends=ends)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


async def _gone(pids: "Sequence[int] | frozenset[int]") -> None:
    """Returns when none of them runs any more. Raises TimeoutError."""
    async with asyncio.timeout(_ORPHANS_S):
        while any(_runs(pid) for pid in pids):
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
