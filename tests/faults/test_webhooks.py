"""A webhook's target that accepts and never answers: messages are not delayed, and nothing is lost to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from config.sections.upstreams import SandboxMailUpstream
from config.sections.webhooks import Webhooks
from gateway.dns import SystemDns
from gateway.webhooks.post import Poster
from gateway.webhooks.sender import PLACES, WebhookSender
from gateway.webhooks.service import Webhooks as WebhookService
from tests.faults.world import World, settings_for, world
from tests.support.receiver import OK, Receiver, Request

_COUNT = 100


@asynccontextmanager
async def sender(here: World) -> AsyncIterator[WebhookSender]:
    """The sender of webhooks, as the daemon makes it."""
    settings = here.settings.webhooks
    poster = Poster(SystemDns().addresses, timeout_s=settings.timeout_s, allow_private=True)
    one = WebhookSender(here.ground.caches, here.clock, settings, poster)
    await one.start()
    try:
        yield one
    finally:
        await one.stop(1.0)


async def test_a_webhook_that_never_answers_delays_no_message_and_gets_all_events_later(
    tmp_path: Path,
) -> None:
    silence = asyncio.Event()
    target = Receiver()

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        if not silence.is_set():
            await silence.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(OK)

    target.handler = answer
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    target.port = server.sockets[0].getsockname()[1]
    settings = settings_for(mail={"*": SandboxMailUpstream()})
    hooks = Webhooks(timeout_s=0.5, retry_first_s=0.2, retry_max_s=0.5, allow_private_targets=True)
    settings = replace(settings, webhooks=hooks)
    async with server, world(tmp_path, settings) as here, sender(here) as hook_sender:
        await here.ground[WebhookService].create(here.account_id, target.url, ["message.delivered"])
        ids = []
        for _ in range(_COUNT // 10):
            ids += await here.mail("b@example.net", count=10)
            assert hook_sender.under_way <= PLACES
        assert {view.status for view in await here.settled(ids, within_s=5)} == {"delivered"}
        await here.until(lambda: len(target.requests) > 4)  # given up after 0.5 s, and tried again

        silence.set()
        told = "SELECT count(*) FROM webhook_delivery WHERE status = 'delivered'"
        async with asyncio.timeout(20):
            while (await here.ground.store.read(lambda tx: tx.rows(told)))[0][0] < _COUNT:
                await asyncio.sleep(0.05)
