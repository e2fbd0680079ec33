"""Housekeeping lives no longer than the service tree lets it."""

import asyncio

from gateway.jobs.housekeeping import Housekeeping


async def test_a_round_under_way_ends_with_stop_and_is_no_fault() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    housekeeping = Housekeeping([endless])
    await housekeeping.start()
    async with asyncio.timeout(5):
        await begun.wait()
        await housekeeping.stop()
    assert ended.is_set(), "what the store is needed for is over before the store is closed"
