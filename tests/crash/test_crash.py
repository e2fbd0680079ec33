"""SIGKILL at random moments: nothing acknowledged is lost, nothing is debited twice (A1 to A4)."""

import os

import pytest

from tests.crash.harness import render, run

KILLS = int(os.environ.get("KILLS", "5"))


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_nothing_acknowledged_is_lost_and_nothing_is_debited_twice() -> None:
    report = await run(KILLS, seed=1)
    assert report.holds, render(report)
    assert report.not_final == 0, render(report)
    assert report.acknowledged > KILLS, render(report)
