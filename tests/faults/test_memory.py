"""A message leaves memory with its settlement, by its reference counts: the garbage collector seldom looks
(`gateway/memory.py`), and when it must clear away thousands of messages everybody waits for it.
"""

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from config.sections.upstreams import RelayUpstream
from gateway.messages.model import Message
from tests.faults.test_smsc import GOOD, operator, simulator
from tests.faults.world import settings_for, world
from tests.smtp.fake_mx import FakeMx

_MESSAGES = 30


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Nothing but reference counts frees anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _alive(ids: Sequence[str]) -> int:
    """How many of these messages are in memory; an earlier test of the process may have left others."""
    return sum(type(one) is Message and one.id in ids for one in gc.get_objects())


async def test_an_sms_leaves_memory_when_it_is_settled(tmp_path: Path) -> None:
    async with (
        simulator() as smsc,
        world(tmp_path, settings_for(sms={"*": operator(smsc.port, response_s=60)})) as here,
    ):
        sent = [*await here.sms(GOOD, count=_MESSAGES), *await here.sms(GOOD, text="a" * 400)]
        assert _alive(sent), "they are found while they are under way"
        await here.settled(sent)
        await here.ground.store.write(lambda tx: tx.run("SELECT 1"))  # the writer forgets its last batch
        assert _alive(sent) == 0


async def test_a_mail_leaves_memory_when_it_is_settled(tmp_path: Path) -> None:
    async with FakeMx.running() as mx:
        relay = RelayUpstream(host="127.0.0.1", port=mx.port, tls="none", max_connections=4)
        async with world(tmp_path, settings_for(mail={"*": relay})) as here:
            sent = await here.mail("b@example.net", "c@example.net", count=_MESSAGES)
            assert _alive(sent), "they are found while they are under way"
            await here.settled(sent)
            await here.ground.store.write(lambda tx: tx.run("SELECT 1"))  # as above
            assert _alive(sent) == 0
