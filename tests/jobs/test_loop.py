"""A job's loop: rounds, gaps, wakes, failures; in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import structlog

from gateway.jobs.loop import Elsewhere, Job, Loop
from gateway.store.errors import StoreFailed
from tests.virtual import run


@dataclass
class Counts:
    """What a loop reports of its job."""

    period_s: float = 0.0
    succeeded: int = 0
    failed: int = 0
    names: set[str] = field(default_factory=set)

    def job_started(self, job: str, every_s: float) -> None:
        self.names.add(job)
        self.period_s = every_s

    def job_succeeded(self, job: str) -> None:
        self.names.add(job)
        self.succeeded += 1

    def job_failed(self, job: str) -> None:
        self.names.add(job)
        self.failed += 1


def rounds(
    for_s: float, outcome: Callable[[int], object], *, wake_at_s: float | None = None, **job: float
) -> tuple[list[float], Counts]:
    """When each round began within `for_s` seconds; `outcome(n)` is what round n gives or raises."""
    counts = Counts()

    async def main() -> list[float]:
        began: list[float] = []

        async def work() -> object:
            began.append(asyncio.get_running_loop().time())
            found = outcome(len(began) - 1)
            if isinstance(found, Exception):
                raise found
            return found

        loop = Loop(Job(name="sweep", work=work, every_s=10.0, **job), counts)  # type: ignore[arg-type]  # by name
        await loop.start()
        if wake_at_s is not None:
            asyncio.get_running_loop().call_at(wake_at_s, loop.wake)
        await asyncio.sleep(for_s)
        await loop.stop()
        return began

    return run(main()), counts


def test_it_runs_at_once_and_then_every_period() -> None:
    began, counts = rounds(35, lambda _n: None)
    assert began == [0, 10, 20, 30]
    assert (counts.succeeded, counts.failed, counts.period_s, counts.names) == (4, 0, 10.0, {"sweep"})


def test_more_is_done_at_once_and_a_wake_ends_the_wait() -> None:
    began, _ = rounds(15, lambda n: n < 2, wake_at_s=4)
    assert began == [0, 0, 0, 4, 14]


def test_what_wakes_it_in_floods_is_served_together() -> None:
    began, _ = rounds(25, lambda _n: None, wake_at_s=1, gap_s=2.0)
    assert began == [0, 2, 12, 22]


def test_failures_wait_longer_each_time_up_to_a_limit_and_are_forgotten_with_a_success() -> None:
    fails = {0, 1, 2, 3, 5}
    began, counts = rounds(
        40, lambda n: ValueError("no") if n in fails else None, retry_first_s=1.0, retry_most_s=5.0
    )
    assert began == [0, 1, 3, 7, 12, 22, 23, 33]
    assert counts.failed == 5


def test_a_wake_does_not_shorten_the_wait_after_a_failure() -> None:
    began, _ = rounds(9, lambda n: ValueError("no") if n == 0 else None, wake_at_s=1, retry_first_s=5.0)
    assert began == [0, 5]


def test_a_round_that_another_process_does_is_neither_success_nor_failure() -> None:
    began, counts = rounds(15, lambda _n: Elsewhere())
    assert began == [0, 10]
    assert (counts.succeeded, counts.failed) == (0, 0)


@pytest.mark.parametrize("error", [ValueError("broken"), StoreFailed("the disk is full")])
def test_a_series_of_failures_is_told_once_a_minute_under_the_jobs_own_name(error: Exception) -> None:
    with structlog.testing.capture_logs() as lines:
        began, counts = rounds(65, lambda _n: error)
    assert len(began) == counts.failed == 7
    assert [(line["event"], line["job"]) for line in lines] == [("job_failed", "sweep")] * 2


def test_stopping_ends_a_round_under_way() -> None:
    async def main() -> bool:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def endless() -> None:
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        work: Callable[[], Awaitable[object]] = endless
        loop = Loop(Job(name="endless", work=work, every_s=1.0))
        await loop.start()
        await begun.wait()
        await loop.stop()
        return ended.is_set()

    assert run(main()), "what the store is needed for is over before the store is closed"
