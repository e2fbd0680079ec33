"""The freeze harness: processes stand still under load while others go on; a duplicate must have its window.

At random moments processes get SIGSTOP for longer than `store.lease_s`, then SIGCONT. The far ends note when
each copy came and which process sent it. A duplicate is allowed where the first copy was taken in the frozen
process's last moments, so that it could not settle any more, or where the pause fell between the question
whether the lease is good and the octets; anything else is a fault, and the harness exits 1.

`python -m tests.crash.freezes --freezes 300` shares them among four settings and prints a table.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.clients import Clients
from tests.crash.daemons import Engine, Harness
from tests.crash.far_ends import FarEnds
from tests.crash.fates import PLAIN
from tests.crash.harness import PER_INCIDENT
from tests.crash.incidents import IN_FLIGHT, LEASE_LOST, THAW, UNEXPLAINED, UNKNOWN
from tests.crash.judge import Judge, Rules, Verdict
from tests.crash.mail_sink import MailSink
from tests.crash.seen import Seen, Senders
from tests.crash.smsc import Smsc
from tests.crash.world import Setting, World, world

LEASE_S = 1.5
_ANSWER_S = 0.01  # of the far ends, so that something is under way at every moment
_REST_S = 0.04
_BETWEEN_S = (0.4, 1.2)
_PAUSE = (1.2, 2.4)  # in leases
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One setting, and what stands still in it."""

    name: str
    engine: Engine
    daemons: int
    workers: int
    one_worker: bool = False
    """One worker alone, instead of a daemon's whole process group."""


CASES = (
    Case("one of two daemons on PostgreSQL", "postgresql", 2, 1),
    Case("a supervisor with its workers on SQLite", "sqlite", 1, 2),
    Case("one of two supervisors with its workers on PostgreSQL", "postgresql", 2, 2),
    Case("one worker of two on SQLite", "sqlite", 1, 2, one_worker=True),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What one case gave."""

    case: Case
    freezes: int
    acknowledged: int
    lost_leases: int
    verdict: Verdict
    took_s: float

    @property
    def row(self) -> tuple[object, ...]:
        """Its line of the table."""
        causes = self.verdict.duplicates
        counts = (causes[cause] for cause in (IN_FLIGHT, THAW, LEASE_LOST, UNKNOWN, UNEXPLAINED))
        broken = sum(len(found) for found in self.verdict.broken.values())
        return (
            self.case.name, self.freezes, self.acknowledged, self.lost_leases, *counts, broken,
            f"{self.took_s:.0f} s",
        )  # fmt: skip


COLUMNS = (
    "case", "freezes", "acknowledged", "leases lost", "in flight", "check to octet", "at a loss", "unknown",
    "unexplained", "rules broken", "took",
)  # fmt: skip


async def run(case: Case, freezes: int, *, seed: int, folder: Path | None = None) -> Result:
    """Freezes so many times, drains, and judges as the crash harness does."""
    begun_s = time.monotonic()
    harness = Harness(lease_s=LEASE_S, workers=case.workers, worker_silent_s=0)
    setting = Setting(seed=seed, engine=case.engine, daemons=case.daemons, harness=harness, folder=folder)
    async with world(setting, _far_ends) as made:
        clients, rng = Clients(made, rest_s=_REST_S, fates=PLAIN), setting.rng("freezes")
        async with asyncio.TaskGroup() as group:
            for client in clients.rich():
                group.create_task(client)
            for _ in range(freezes):
                await asyncio.sleep(rng.uniform(*_BETWEEN_S))
                await _freeze(made, case, rng)
            await asyncio.sleep(LEASE_S)
            clients.stop()
        books, _ = await made.drained()
        await made.end()
        lost = sum(len(one.lost_leases()) for one in made.daemons.members)
    rules = Rules(per_incident=PER_INCIDENT, deaths=made.deaths)
    verdict = Judge(made.tally, made.seen, books, made.incidents, rules).verdict()
    return Result(case, freezes, len(made.tally.acked), lost, verdict, time.monotonic() - begun_s)


def _far_ends(seen: Seen, senders: Senders, setting: Setting, _folder: Path) -> FarEnds:
    return FarEnds(
        MailSink(seen, senders, answer_s=_ANSWER_S),
        Smsc(seen, senders, setting.rng("smsc"), answer_s=_ANSWER_S),
    )


async def _freeze(made: World, case: Case, rng: random.Random) -> None:
    """Stops what the case says for longer than the lease, and lets it go on."""
    await made.revive()
    victim = rng.choice(made.daemons.members)
    pids = victim.pids()
    if case.one_worker:
        pids = [rng.choice(pids[1:])]
    else:
        victim.up.clear()  # its clients would only wait
    incident = made.incidents.begin("frozen", pids, time.monotonic(), ends=False)
    _signal(pids, signal.SIGSTOP)
    await asyncio.sleep(rng.uniform(*_PAUSE) * LEASE_S)
    incident.to_s = time.monotonic()
    _signal(pids, signal.SIGCONT)
    victim.up.set()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def table(results: Sequence[Result]) -> str:
    """The results as a table, then what breaks rules."""
    rows = [COLUMNS, *(result.row for result in results)]
    widths = [max(len(str(row[place])) for row in rows) for place in range(len(COLUMNS))]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    for result in results:
        for rule, found in result.verdict.broken.items():
            lines.append(f"{result.case.name}: {rule}: {len(found)}")
            lines += [f"    {one}" for one in found[:_SHOWN]]
    return "\n".join(line.rstrip() for line in lines)


async def run_all(freezes: int, *, seed: int, folder: Path | None = None) -> list[Result]:
    """Every case with its share of the freezes, the first ones with what is left over."""
    results = []
    for place, case in enumerate(CASES):
        share = freezes // len(CASES) + (place < freezes % len(CASES))
        if share:
            where = None if folder is None else folder / str(place)
            results.append(await run(case, share, seed=seed, folder=where))
    return results


def main() -> int:
    """The command line of the harness."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--freezes", type=int, default=int(os.environ.get("FREEZES", "300")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    parser.add_argument("--folder", type=Path, help="where databases and logs stay; default: they do not")
    given = parser.parse_args()
    results = asyncio.run(run_all(given.freezes, seed=given.seed, folder=given.folder))
    print(f"seed {given.seed}, lease {LEASE_S} s\n{table(results)}")  # noqa: T201 - what the command is for
    return 0 if all(result.verdict.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
