"""The waiting queue when the database goes away between the steps of one round."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from config.sections.limits import Limits
from gateway.store.errors import StoreBusy
from tests.faults.test_mail_relays import relay
from tests.faults.world import settings_for, world
from tests.smtp.fake_mx import FakeMx


async def test_deliveries_claimed_just_before_the_database_went_away_are_not_forgotten(
    tmp_path: Path,
) -> None:
    """They are held by this process, so nobody else would ever take them up."""
    async with FakeMx.running() as mx:
        settings = settings_for(mail={"*": relay(mx)})
        settings = replace(settings, limits=Limits(queue_memory_messages=10))
        async with world(tmp_path, settings) as here:
            store = here.ground.store
            read, sweep = store.read, store.sweep
            lost = asyncio.Event()

            async def sweep_then_lose(function: Callable[[Any], Any], **how: Any) -> Any:
                result = await sweep(function, **how)
                if isinstance(result, list) and result:  # a claim that took something
                    store.sweep, store.read = sweep, away  # type: ignore[method-assign]  # a faulty store
                return result

            async def away(function: Callable[[Any], Any]) -> Any:
                del function
                store.read = read  # type: ignore[method-assign]  # and it is back
                lost.set()
                raise StoreBusy("The database is away for the moment.")

            store.sweep = sweep_then_lose  # type: ignore[method-assign]  # a faulty store
            ids = await here.mail("b@example.net", count=40)
            async with asyncio.timeout(10):
                await lost.wait()
            await here.settled(ids)
            assert len(mx.transactions) == 40
