"""SIGKILL at random moments: nothing acknowledged is lost, nothing is debited twice (A1 to A4)."""

import os

import pytest

from tests.crash.daemons import Engine
from tests.crash.harness import render, run
from tests.postgres_server import MISSING, programs

KILLS = int(os.environ.get("KILLS", "3"))


@pytest.mark.timeout(60 + 20 * KILLS)
@pytest.mark.parametrize(("engine", "daemons"), [("sqlite", 1), ("postgresql", 2)])
async def test_nothing_acknowledged_is_lost_and_nothing_is_debited_twice(
    engine: Engine, daemons: int
) -> None:
    if engine == "postgresql" and programs() is None:
        pytest.skip(MISSING)
    report = await run(KILLS, seed=1, engine=engine, daemons=daemons)
    assert report.holds, render(report)
    assert report.not_final == 0, render(report)
    assert report.acknowledged > KILLS, render(report)
