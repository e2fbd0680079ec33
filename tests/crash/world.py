"""What both harnesses stand on: a database, daemons on it, the far ends, accounts, and their clients."""

import asyncio
import contextlib
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.accounts import Account, make_accounts
from tests.crash.books import Books, read
from tests.crash.daemons import (
    Daemon,
    Daemons,
    Database,
    Engine,
    Harness,
    end_all,
    fresh_database,
)
from tests.crash.far_ends import FarEnds
from tests.crash.http_clients import HttpClient
from tests.crash.incidents import LEASE_LOST, Incidents
from tests.crash.seen import Seen, Senders
from tests.crash.tally import Tally
from tests.crash.wire_clients import SmppClient, SmtpClient

DRAIN_S = 120.0
"""Within this all is final after the last blow: a webhook's lease (32 s), the mail sink's rest (15, 30 s)."""
RICH, POOR = "crash", "poor"
DOMAINS = {RICH: "crash.example", POOR: "poor.example"}
CREDITS = {RICH: 10_000_000, POOR: 40}
_STARTS = 3
_OPEN = {
    "messages": "SELECT count(*) FROM message WHERE status IN ('queued', 'scheduled')",
    "receipts": "SELECT count(*) FROM client_receipt",
    "webhooks": "SELECT count(*) FROM webhook_delivery WHERE status = 'waiting'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """On what a run takes place. `folder` keeps everything there; none: it is removed."""

    seed: int
    engine: Engine = "sqlite"
    daemons: int = 1
    harness: Harness = field(default_factory=Harness)
    folder: Path | None = None

    def rng(self, name: str) -> random.Random:
        """The random numbers of one consumer, which draws them in its own order."""
        return random.Random(f"{self.seed} {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything a run has."""

    setting: Setting
    database: Database
    daemons: Daemons
    far_ends: FarEnds
    accounts: dict[str, Account]
    seen: Seen
    smpp: SmppClient
    tally: Tally
    incidents: Incidents = field(default_factory=Incidents)
    deaths: list[str] = field(default_factory=list)
    """Processes that ended by themselves."""

    def http(self, name: str) -> HttpClient:
        """A client of the API for an account."""
        return HttpClient(self.daemons, self.accounts[name], DOMAINS[name], self.tally)

    def smtp(self, name: str) -> SmtpClient:
        """A client of submission for an account."""
        return SmtpClient(self.daemons, self.accounts[name], DOMAINS[name])

    async def drained(self) -> tuple[Books, dict[str, float]]:
        """The books once nothing is open, or after DRAIN_S; and after how many seconds each kind was not."""
        begun_s = time.monotonic()
        closed: dict[str, float] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while len(closed) < len(_OPEN):
                    for what, sql in _OPEN.items():
                        if await asyncio.to_thread(self.database.number, sql):
                            closed.pop(what, None)
                        else:
                            closed.setdefault(what, time.monotonic() - begun_s)
                    await asyncio.sleep(0.2)
        return await asyncio.to_thread(read, self.database), closed

    async def start(self, daemon: Daemon) -> None:
        """Starts it, again where it ends meanwhile, and notes that. Raises RuntimeError after a few times."""
        for _ in range(_STARTS - 1):
            with contextlib.suppress(RuntimeError):
                await daemon.start()
                return
            assert daemon.process is not None
            self.deaths.append(f"{daemon.folder.name} ended with {daemon.process.returncode} at its start")
        await daemon.start()

    async def revive(self) -> None:
        """Starts again what has ended by itself, and notes that."""
        for one in self.daemons.members:
            assert one.process is not None
            if (code := one.process.returncode) is not None:
                self.deaths.append(f"{one.folder.name} ended by itself with {code}")
                await self.start(one)

    async def end(self) -> None:
        """Ends every daemon in good order, and notes where that fails."""
        await self.revive()
        for one in self.daemons.members:
            if (code := await one.end(signal.SIGTERM)) != 0:
                self.deaths.append(f"{one.folder.name} ended with {code} after SIGTERM")
            self.deaths.extend(one.workers_died())
            self._note_lost_leases(one)

    def _note_lost_leases(self, daemon: Daemon) -> None:
        """Who lost its lease could send until it ran out, and not settle what it had just sent."""
        ahead_s = time.time() - time.monotonic()
        for pid, renewed_s in daemon.lost_leases():
            incident = self.incidents.begin(LEASE_LOST, [pid], renewed_s - ahead_s, ends=False)
            incident.to_s = incident.from_s + self.setting.harness.lease_s


@asynccontextmanager
async def world(
    setting: Setting, make_far_ends: Callable[[Seen, Senders, Setting, Path], FarEnds]
) -> AsyncIterator[World]:
    """A world whose daemons are ready and whose SMPP client is bound."""
    seen, tally = Seen(), Tally()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder(setting.folder))
        database = stack.enter_context(fresh_database(setting.engine, folder))
        members: list[Daemon] = []
        senders = Senders(lambda: [pid for one in members for pid in one.pids()])
        far_ends = make_far_ends(seen, senders, setting, folder)
        await stack.enter_async_context(far_ends.running())
        members += [
            Daemon(
                folder / f"daemon{number}",
                far_ends.mail.port,
                far_ends.smsc.port,
                store_url=database.url,
                harness=setting.harness,
            )
            for number in range(setting.daemons)
        ]
        stack.callback(end_all, members)
        wanted = {name: (domain, CREDITS[name]) for name, domain in DOMAINS.items()}
        accounts = await make_accounts(members[0].folder / "gateway.toml", wanted)
        await asyncio.gather(*(one.start() for one in members))
        daemons = Daemons(members, setting.rng("daemons"))
        smpp = SmppClient(daemons, accounts[RICH], tally)
        await stack.enter_async_context(smpp.running())
        yield World(
            setting=setting,
            database=database,
            daemons=daemons,
            far_ends=far_ends,
            accounts=accounts,
            seen=seen,
            smpp=smpp,
            tally=tally,
        )


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="gateway-crash-") as folder:
            yield Path(folder)
        return
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    yield kept
