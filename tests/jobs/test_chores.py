"""Chores on a real database: each for itself, one process at a time."""

import asyncio
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.jobs.chores import Chore, Chores
from gateway.store import leases
from gateway.store.store import Store
from tests.support.databases import database_url


class Watched:
    """Which jobs succeeded and failed."""

    def __init__(self) -> None:
        self.succeeded: list[str] = []
        self.failed: list[str] = []
        self.changed = asyncio.Event()

    def job_started(self, job: str, every_s: float) -> None: ...

    def job_succeeded(self, job: str) -> None:
        self.succeeded.append(job)
        self.changed.set()

    def job_failed(self, job: str) -> None:
        self.failed.append(job)
        self.changed.set()

    async def until(self, count: int) -> None:
        """Until so many rounds have ended, within ten seconds."""
        async with asyncio.timeout(10):
            while len(self.succeeded) + len(self.failed) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.mark.usefixtures("engine")
async def test_a_chore_that_fails_keeps_no_other_from_its_round(tmp_path: Path) -> None:
    store = Store.open(database_url(tmp_path), upgrade=True)
    watched, done = Watched(), []

    async def broken() -> None:
        raise ValueError("a fault of ours")

    async def sound() -> None:
        done.append("sound")

    chores = Chores(
        [Chore(name="credits_expiry", work=broken), Chore(name="retention", work=sound)],
        store,
        SystemClock(),
        holder="here",
        watch=watched,
    )
    await chores.start()
    await watched.until(2)
    await chores.stop()
    assert (watched.succeeded, watched.failed, done) == (["retention"], ["credits_expiry"], ["sound"])
    assert await store.read(lambda tx: tx.rows("SELECT name FROM lease")) == []
    await store.close()


@pytest.mark.usefixtures("engine")
async def test_a_chore_is_one_processs_at_a_time(tmp_path: Path) -> None:
    store = Store.open(database_url(tmp_path), upgrade=True)
    now_ms = SystemClock().now_ms()
    await store.write(
        lambda tx: leases.take(tx, "retention", "elsewhere", now_ms=now_ms, lease_ms=60_000),
        locks=leases.locks("retention"),
    )
    watched, done = Watched(), []

    async def ours() -> None:
        done.append("ours")

    chores = Chores(
        [Chore(name="retention", work=ours, every_s=0.01)], store, SystemClock(), holder="here", watch=watched
    )
    await chores.start()
    await asyncio.sleep(0.05)  # some rounds in which the other holds it: nothing may come of them
    assert done == []
    await store.write(lambda tx: leases.drop(tx, "retention", "elsewhere"), locks=leases.locks("retention"))
    await watched.until(1)
    await chores.stop()
    assert done
    assert not watched.failed
    await store.close()


async def test_a_dead_processs_lease_holds_up_nobody_who_is_alone(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:{tmp_path / 'gateway.db'}", upgrade=True, exclusive=True)
    now_ms = SystemClock().now_ms()
    await store.write(
        lambda tx: leases.take(tx, "retention", "dead", now_ms=now_ms, lease_ms=60_000),
        locks=leases.locks("retention"),
    )
    watched = Watched()

    async def ours() -> None: ...

    chores = Chores([Chore(name="retention", work=ours)], store, SystemClock(), holder="here", watch=watched)
    await chores.start()
    await watched.until(1)
    await chores.stop()
    assert watched.succeeded == ["retention"]
    await store.close()
