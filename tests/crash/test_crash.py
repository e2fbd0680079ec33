"""Everything is killed at random moments: nothing is lost, debited twice, or told otherwise than it was."""

import os

import pytest

from tests.crash.daemons import Engine, Harness
from tests.crash.harness import run
from tests.crash.world import Setting
from tests.postgres_server import MISSING, programs

KILLS = int(os.environ.get("KILLS", "3"))


@pytest.mark.timeout(400 + 25 * KILLS)
@pytest.mark.parametrize(("engine", "daemons", "workers"), [("sqlite", 1, 1), ("postgresql", 2, 1)])
async def test_nothing_acknowledged_is_lost_and_everything_adds_up(
    engine: Engine, daemons: int, workers: int
) -> None:
    if engine == "postgresql" and programs() is None:
        pytest.skip(MISSING)
    setting = Setting(seed=1, engine=engine, daemons=daemons, harness=Harness(workers=workers))
    report = await run(setting, KILLS)
    assert report.holds, report.text()
    assert len(report.world.tally.acked) > KILLS, report.text()
