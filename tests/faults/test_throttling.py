"""SMSCs that throttle, over real sockets and a real database; the rest is in `tests/upstreams`."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from config.sections.messages import Retry
from gateway.messages.queue import cancel
from smpp.limit import Counted
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.faults.test_smsc import GOOD, operator, simulator
from tests.faults.world import World, settings_for, world

POISON = {
    "+882990000012": "ESME_RTHROTTLED",
    "+882990000013": "ESME_RSYSERR",
    "+882990000015": "ESME_RMSGQFUL",
}
_PATIENT = Retry(first_s=60, max_s=600, jitter=0)


async def cancelled(here: World, message_id: str) -> int:
    """How many deliveries of the message could be cancelled."""
    now_ms = here.clock.now_ms()
    return await here.ground.store.write(
        lambda tx: cancel.cancel(
            tx, here.account_id, message_id, now_ms=now_ms, refund_on=frozenset(), keep_content=False
        )
    )


@pytest.mark.parametrize("number", POISON)
async def test_300_sms_leave_beside_a_number_that_is_always_throttled(tmp_path: Path, number: str) -> None:
    async with simulator() as smsc:
        settings = settings_for(sms={"*": operator(smsc.port, response_s=30, window=10)})
        settings = replace(settings, sms=replace(settings.sms, retry=_PATIENT))
        async with world(tmp_path, settings) as here:
            (bad,) = await here.sms(number)
            started_s = time.monotonic()
            good = await here.sms(GOOD, count=300)
            assert {view.status for view in await here.settled(good, within_s=15)} == {"delivered"}
            assert time.monotonic() - started_s < 15, "and not a minute"
            await here.until_event(bad, "message.deferred")
            view = await here.view(bad)
            (recipient,) = view.recipients
            assert (view.status, recipient.attempts, recipient.reply) == ("queued", 1, POISON[number])
            assert await cancelled(here, bad) == 1
            assert (await here.view(bad)).status == "cancelled"


async def test_a_limit_of_the_smsc_is_found_and_nothing_is_lost(tmp_path: Path) -> None:
    """Twice as many as it takes at once: they all arrive, each once, and none fails or is deferred."""
    smsc = Simulator(
        SimulatorConfig(smsc=SmscConfig(port=0, system_id="sandbox"), receipt_delay_s=0.0),
        limit=Counted(100),
    )
    await smsc.start()
    try:
        async with world(tmp_path, settings_for(sms={"*": operator(smsc.port, response_s=30)})) as here:
            ids = await here.sms(GOOD, count=400)
            assert {view.status for view in await here.settled(ids, within_s=30)} == {"delivered"}
            assert len(smsc.messages()) == 400
            assert smsc.throttled > 0
            assert here.road.dispatcher.lanes.deliveries == 0
    finally:
        await smsc.stop(0.1)
        await asyncio.sleep(0)
