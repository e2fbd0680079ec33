"""The receiver of the accounts' webhooks: writes down what it is told; at times it fails, or is silent."""

import json
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.crash.world import World
from tests.support.receiver import OK, Request, answer, receiver

_FAILS, _SILENT = 0.01, 0.005


@asynccontextmanager
async def webhook_receiver(world: World) -> AsyncIterator[str]:
    """Its URL. What it answered otherwise than by 200 is not written down: it has to come again."""
    rng, tally = world.setting.rng("webhooks"), world.tally
    async with receiver() as made:

        async def handle(request: Request, writer: StreamWriter) -> None:
            made.requests.clear()
            drawn = rng.random()
            if drawn < _SILENT:
                return
            if drawn < _SILENT + _FAILS:
                writer.write(answer(503))
                return
            told = json.loads(request.body)
            tally.note_webhook(told["data"]["event_id"], request.headers["webhook-id"])
            writer.write(OK)

        made.handler = handle
        yield made.url
