"""What a crash would send again is bounded: none is tried while too many settlements wait for the store."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config.sections.store import Store
from gateway.store.tx import Tx
from tests.support.fakes import FakeUpstream
from tests.world import ACCOUNT, make_settings, rig

SETTINGS = replace(make_settings(), store=Store(batch_max=50))
MOST = 2 * SETTINGS.store.batch_max

pytestmark = pytest.mark.usefixtures("engine")  # on SQLite and on PostgreSQL


async def until(condition: Callable[[], bool]) -> None:
    """Waits until it holds, ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)  # polls; bounded by the timeout above


async def test_a_store_that_stands_still_stops_new_attempts_until_it_goes_on(tmp_path: Path) -> None:
    count = 2 * MOST + 50
    upstream = FakeUpstream(concurrency=8)
    async with rig(tmp_path, [upstream], settings=SETTINGS, mail_credits=count) as one:
        upstream.gate.clear()
        await one.road.acceptor.accept(ACCOUNT, [await one.mail() for _ in range(count)])
        await until(lambda: upstream.under_way == upstream.concurrency)
        entered, leave = threading.Event(), threading.Event()

        def stand_still(_tx: Tx) -> bool:
            entered.set()
            return leave.wait(30)

        standing = asyncio.ensure_future(one.store.write(stand_still))
        await until(entered.is_set)
        upstream.gate.set()
        await until(lambda: len(upstream.works) >= MOST and upstream.under_way == 0)
        assert len(upstream.works) < MOST + upstream.concurrency
        leave.set()
        assert await standing
        await until(lambda: not one.road.dispatcher.lanes.deliveries)
        assert len(upstream.works) == count
        left = await one.store.read(lambda tx: tx.rows("SELECT DISTINCT status FROM message"))
        assert left == [("delivered",)]
