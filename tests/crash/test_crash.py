"""Everything is killed at random moments: nothing is lost, debited twice, or told otherwise than it was."""

import os
from dataclasses import dataclass

import pytest

from tests.crash.daemons import Engine, Harness
from tests.crash.foreign import MissingError, require
from tests.crash.harness import run
from tests.crash.world import Setting
from tests.postgres_server import MISSING, programs

KILLS = int(os.environ.get("KILLS", "3"))


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of installation; one in `share` of the kills is its part."""

    engine: Engine
    daemons: int = 1
    workers: int = 1
    foreign: bool = False
    share: int = 1


CASES = {
    "SQLite": Case("sqlite"),
    "PostgreSQL with two daemons": Case("postgresql", daemons=2),
    "two workers": Case("sqlite", workers=2, share=5),
    "far ends that are not our own": Case("sqlite", foreign=True, share=5),
}


@pytest.mark.timeout(600 + 30 * KILLS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_nothing_acknowledged_is_lost_and_everything_adds_up(case: Case) -> None:  # A1, A2, A3
    if case.engine == "postgresql" and programs() is None:
        pytest.skip(MISSING)
    if case.foreign:
        try:
            require()
        except MissingError as missing:
            pytest.skip(str(missing))
    harness = Harness(workers=case.workers)
    setting = Setting(seed=1, engine=case.engine, daemons=case.daemons, harness=harness)
    kills = max(2, KILLS // case.share)
    report = await run(setting, kills, foreign=case.foreign)
    assert report.holds, report.text()
    assert len(report.world.tally.acked) > kills, report.text()
