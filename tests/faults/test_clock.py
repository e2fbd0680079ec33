"""A wall clock that jumps both ways: ids stay in order, nothing is lost and nothing delivered twice."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from config.sections.messages import Retry
from gateway.ids import IdFactory
from gateway.store import leases
from gateway.store.tx import Tx
from tests.faults.test_mail_relays import relay
from tests.faults.world import World, settings_for, world
from tests.smtp.fake_mx import FakeMx, Script

HOUR_S = 3600.0
DAYS_S = 10 * 86_400.0
JUMPS = pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, DAYS_S, -DAYS_S])


class JumpingClock:
    """The machine's monotonic clock, and a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.offset_s = 1_790_000_000.0

    def now_ms(self) -> int:
        return int((self.offset_s + time.monotonic()) * 1000)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def jump(self, seconds: float) -> None:
        self.offset_s += seconds


@JUMPS
def test_ids_stay_unique_and_in_order_over_a_jump(jump_s: float) -> None:
    ids, now_ms = IdFactory(), 1_790_000_000_000
    made = [ids.new(now_ms + number // 100) for number in range(1000)]
    made += [ids.new(now_ms + int(jump_s * 1000) + number // 100) for number in range(1000)]
    made += [ids.new(now_ms + number // 100) for number in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@JUMPS
async def test_what_flows_goes_on_over_a_jump_each_once(tmp_path: Path, jump_s: float) -> None:
    clock = JumpingClock()
    async with FakeMx.running() as mx:
        settings = settings_for(mail={"*": relay(mx)})
        settings = replace(settings, mail=replace(settings.mail, lifetime_s=30 * 86_400))
        async with world(tmp_path, settings, clock=clock) as here:
            ids = await here.mail("b@example.net", count=20)
            clock.jump(jump_s)
            ids += await here.mail("b@example.net", count=20)
            clock.jump(-jump_s)
            ids += await here.mail("b@example.net", count=20)
            assert {view.status for view in await here.settled(ids)} == {"delivered"}
            assert ids == sorted(ids)
            assert len(mx.transactions) == 60


@pytest.mark.parametrize("jump_s", [HOUR_S, DAYS_S])
async def test_a_jump_ahead_brings_retries_forward_and_ends_lifetimes(tmp_path: Path, jump_s: float) -> None:
    """What is older than its lifetime by the new time has expired: that is what the clock says."""
    clock = JumpingClock()
    replies = {"RCPT": "452 4.2.2 full"}
    async with FakeMx.running(Script(replies=replies)) as mx:
        settings = settings_for(mail={"*": relay(mx)})
        settings = replace(settings, mail=replace(settings.mail, retry=Retry(first_s=1800, max_s=1800)))
        async with world(tmp_path, settings, clock=clock) as here:
            ids = await here.mail("b@example.net", count=5)
            for message_id in ids:
                await here.until_event(message_id, "message.deferred")
            replies.clear()
            clock.jump(jump_s)
            views = await here.settled(ids)
            expected = "delivered" if jump_s < settings.mail.lifetime_s else "failed"
            assert {view.status for view in views} == {expected}
            own = [one for one in mx.transactions if "b@example.net" in one.rcpts]
            assert len(own) == (5 if expected == "delivered" else 0)


@pytest.mark.parametrize("jump_s", [-HOUR_S, -DAYS_S])
async def test_a_jump_back_delays_no_retry(tmp_path: Path, jump_s: float) -> None:
    clock = JumpingClock()
    replies = {"RCPT": "452 4.2.2 full"}
    async with (
        FakeMx.running(Script(replies=replies)) as mx,
        world(tmp_path, settings_for(mail={"*": relay(mx)}), clock=clock) as here,
    ):
        ids = await here.mail("b@example.net", count=5)
        for message_id in ids:
            await here.until_event(message_id, "message.deferred")
        clock.jump(jump_s)
        replies.clear()
        later = await here.mail("c@example.net", count=5)
        assert {view.status for view in await here.settled(later)} == {"delivered"}
        assert {view.status for view in await here.settled(ids)} == {"delivered"}
        assert len(mx.transactions) == 10


@pytest.mark.parametrize("jump_s", [DAYS_S, -DAYS_S])
async def test_a_clock_that_differs_makes_no_living_process_dead(tmp_path: Path, jump_s: float) -> None:
    """Nothing that one process holds is taken over, and so doubled, because the other's clock jumped."""
    there_clock = JumpingClock()
    async with FakeMx.running(Script(greets_when_released=True)) as mx:
        settings = _two_processes(mx)
        async with (
            world(tmp_path, settings, clock=JumpingClock(), shared=True) as here,
            world(tmp_path, settings, clock=there_clock, shared=True, beside=here) as there,
        ):
            ids = await here.mail("b@example.net", count=20)
            there_clock.jump(jump_s)
            for _ in range(4):  # looks around for the dead at each
                await _renewed(there)
            mx.release.set()
            assert {view.status for view in await here.settled(ids)} == {"delivered"}
            assert len(mx.transactions) == 20


async def test_the_dead_are_found_though_their_clock_was_ahead(tmp_path: Path) -> None:
    """A process died while its clock was wrong by ten days: its lease says that it lives that long."""
    async with FakeMx.running(Script(greets_when_released=True)) as mx:
        settings = _two_processes(mx)
        async with world(tmp_path, settings, shared=True) as here:
            ids = await here.mail("b@example.net", count=5)
            await here.road.queue.stop()  # it renews nothing any more
            expires_ms = here.clock.now_ms() + int(DAYS_S * 1000)
            await here.ground.store.write(lambda tx: tx.run("UPDATE lease SET expires_ms = ?", (expires_ms,)))
            async with world(tmp_path, settings, shared=True, beside=here) as there:
                holder = there.road.dispatcher.holder
                async with asyncio.timeout(15):
                    while await there.ground.store.read(lambda tx: _held_by_others(tx, holder)):
                        await asyncio.sleep(0.05)
                mx.release.set()
                assert {view.status for view in await there.settled(ids)} == {"delivered"}


def _two_processes(mx: FakeMx) -> Settings:
    settings = settings_for(mail={"*": relay(mx)})
    return replace(settings, store=replace(settings.store, lease_s=2.0))


def _held_by_others(tx: Tx, own: str) -> int:
    row = tx.one("SELECT count(*) FROM delivery WHERE holder IS NOT NULL AND holder <> ?", (own,))
    assert row is not None
    return int(row[0])


async def _renewed(one: World) -> None:
    """Returns when the process has renewed its lease once more."""
    key = (leases.process_lease(one.road.dispatcher.holder),)

    def look(tx: Tx) -> int:
        row = tx.one("SELECT expires_ms FROM lease WHERE name = ?", key)
        return 0 if row is None else int(row[0])

    before = await one.ground.store.read(look)
    async with asyncio.timeout(10):
        while await one.ground.store.read(look) == before:
            await asyncio.sleep(0.02)


async def test_a_jump_back_leaves_what_is_scheduled_at_its_time(tmp_path: Path) -> None:
    clock = JumpingClock()
    async with (
        FakeMx.running() as mx,
        world(tmp_path, settings_for(mail={"*": relay(mx)}), clock=clock) as here,
    ):
        at_ms = clock.now_ms() + 60_000
        (scheduled,) = await here.mail("b@example.net", send_at_ms=at_ms)
        clock.jump(-HOUR_S)
        (now,) = await here.mail("c@example.net")
        assert {view.status for view in await here.settled([now])} == {"delivered"}
        view = await here.view(scheduled)
        assert (view.status, view.send_at_ms) == ("scheduled", at_ms)
        assert view.recipients[0].next_attempt_ms == at_ms
