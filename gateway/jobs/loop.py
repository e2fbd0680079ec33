"""Work that comes again and again: each kind is a job with its own name, its own loop and its own failures.

A job that fails is tried again, later each time, and holds up no other. Its failures are told in the log once
when they begin and then once a minute, under its own event name, and counted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.store.errors import StoreBusy, StoreFailed

log = structlog.get_logger(__name__)

_TELL_EVERY_S = 60.0
_LATER_BY = 2.0


class Elsewhere(Exception):
    """Another process is at this job just now; that is neither success nor failure."""


class Watch(Protocol):
    """Who counts."""

    def job_started(self, job: str, every_s: float) -> None:
        """A job will run, at least this often."""
        ...

    def job_succeeded(self, job: str) -> None:
        """A round of the job is done."""
        ...

    def job_failed(self, job: str) -> None:
        """A round of the job failed."""
        ...


class Unwatched:
    """Counts nothing."""

    def job_started(self, job: str, every_s: float) -> None: ...

    def job_succeeded(self, job: str) -> None: ...

    def job_failed(self, job: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is done in a round, and when."""

    name: str
    """In metrics and leases; it never changes."""
    work: Callable[[], Awaitable[object]]
    """One round; True: there is more to do at once. It may raise."""
    every_s: float
    """How long it waits after a round, unless woken."""
    gap_s: float = 0.0
    """So long no wake ends the wait, so that what wakes it in floods is served together."""
    retry_first_s: float | None = None
    retry_most_s: float | None = None
    """The wait after a failure, doubled with each in a row; None: `every_s`."""
    failed: str = "job_failed"
    """The event in the log when a round fails."""


class Loop:
    """Runs one job: at once, then again and again, until it is stopped."""

    def __init__(self, job: Job, watch: Watch | None = None, *, wake: asyncio.Event | None = None) -> None:
        """`wake` set by anybody is as good as a call of `wake`."""
        self._job = job
        self._watch: Watch = watch or Unwatched()
        self._wake = wake or asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0  # in a row
        self._tell_at_s = float("-inf")

    async def start(self) -> None:
        """Begins the first round; returns at once."""
        self._watch.job_started(self._job.name, self._job.every_s)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"job-{self._job.name}")

    def wake(self) -> None:
        """There is something to do: the next round begins now."""
        self._wake.set()

    async def stop(self) -> None:
        """Ends it where it is; a round under way is cancelled."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        job = self._job
        while True:
            self._wake.clear()
            more, pause_s = False, 0.0
            try:
                more = await job.work() is True
            except Elsewhere:
                self._failures = 0
            except Exception as error:  # noqa: BLE001 - A7: whatever is wrong, it is tried again
                pause_s = self._failed(error)
                more = True  # the wait after a failure is `pause_s`
            else:
                self._failures = 0
                self._watch.job_succeeded(job.name)
            await asyncio.sleep(pause_s)
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        await asyncio.sleep(self._job.gap_s)
        try:
            async with asyncio.timeout(self._job.every_s - self._job.gap_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _failed(self, error: Exception) -> float:
        """Counts and tells it; how long to wait."""
        job = self._job
        self._watch.job_failed(job.name)
        now_s = asyncio.get_running_loop().time()
        if not self._failures or now_s >= self._tell_at_s:
            self._tell_at_s = now_s + _TELL_EVERY_S
            if isinstance(error, (StoreBusy, StoreFailed)):
                log.warning(job.failed, job=job.name, reason=str(error))
            else:
                log.error(job.failed, job=job.name, exc_info=error)
        first_s = job.every_s if job.retry_first_s is None else job.retry_first_s
        most_s = job.every_s if job.retry_most_s is None else job.retry_most_s
        wait_s = min(first_s * _LATER_BY ** min(self._failures, 32), max(first_s, most_s))
        self._failures += 1
        return wait_s
