"""What wakes what waits: the bell, and links that come up. Nothing waits for the keeper's next look."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from gateway.messages.model import Deferred, Delivered, Failed, Outcome, Work
from gateway.messages.ports import Links
from gateway.messages.queue import keeper
from tests.support.fakes import FakeUpstream
from tests.world import make_settings, rig

HOUR_S = 3600.0


class Linked(FakeUpstream):
    """One over links, of which it tells the road."""

    links: Links

    async def start(self, links: Links) -> None:
        self.links = links


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The keeper looks once an hour by itself; there is memory for a few messages."""
    monkeypatch.setattr(keeper, "_TICK_S", HOUR_S)
    given = make_settings()
    return replace(
        given,
        store=replace(given.store, lease_s=3 * HOUR_S),
        limits=replace(given.limits, queue_memory_messages=4),
    )


async def test_what_found_no_room_in_memory_follows_what_leaves_it(
    tmp_path: Path, settings: Settings
) -> None:
    upstream = FakeUpstream()
    upstream.gate.clear()
    async with rig(tmp_path, [upstream], settings=settings) as one:
        ids = [(await one.send_mail()).id or "" for _ in range(40)]
        assert one.road.dispatcher.lanes.deliveries <= 4
        upstream.gate.set()
        async with asyncio.timeout(20):
            for message_id in ids:
                await one.settled(message_id, "delivered")


async def test_what_has_many_recipients_follows_as_well(tmp_path: Path, settings: Settings) -> None:
    settings = replace(settings, limits=replace(settings.limits, queue_memory_messages=40))
    upstream = FakeUpstream(recipients_per_work=100)
    upstream.gate.clear()
    recipients = [f"b{number}@example.net" for number in range(15)]
    async with rig(tmp_path, [upstream], settings=settings, mail_credits=1000) as one:
        ids = [(await one.send_mail(*recipients)).id or "" for _ in range(12)]
        assert one.road.dispatcher.lanes.deliveries <= 40
        upstream.gate.set()
        async with asyncio.timeout(20):
            for message_id in ids:
                await one.settled(message_id, "delivered")


async def test_a_report_of_a_failure_leaves_at_once(tmp_path: Path, settings: Settings) -> None:
    def answer(work: Work, _attempt: int) -> list[Outcome]:
        report = not work.message.sender
        return [Delivered(reply="250 Ok") if report else Failed(reply="550 5.1.1 no such mailbox")]

    upstream = FakeUpstream(answer=answer)
    async with rig(tmp_path, [upstream], settings=settings) as one:
        await one.send_mail()
        await upstream.wait_for(2)
        report = upstream.works[1].message
        assert (report.ingress, report.deliveries[0].address) == ("report", "a@example.org")


async def test_a_link_that_comes_up_ends_the_rest_of_what_waits_for_it(
    tmp_path: Path, settings: Settings
) -> None:
    def answer(_work: Work, attempt: int) -> list[Outcome]:
        down = Deferred(reply="no bind is up", after_s=HOUR_S, rest_s=HOUR_S, counts=False)
        return [down if attempt == 1 else Delivered(reply="250 Ok")]

    upstream = Linked(answer=answer)
    async with rig(tmp_path, [upstream], settings=settings) as one:
        first = (await one.send_mail()).id or ""
        async with asyncio.timeout(10):
            while (await one.view(first)).recipients[0].reply is None:
                await asyncio.sleep(0.005)  # polls until the rest has begun; bounded above
        second = (await one.send_mail()).id or ""
        async with asyncio.timeout(10):
            while one.road.dispatcher._bell.rung.is_set():
                await asyncio.sleep(0.005)  # polls until the keeper has looked; bounded above
        await one.road.queue.claim_round()
        assert len(upstream.works) == 1
        upstream.links.ready(upstream.name)
        await one.settled(second, "delivered")


async def test_an_upstream_that_takes_more_at_once_is_given_more(tmp_path: Path, settings: Settings) -> None:
    upstream = Linked(concurrency=1)
    upstream.gate.clear()
    async with rig(tmp_path, [upstream], settings=settings) as one:
        for _ in range(2):
            await one.send_mail()
        await upstream.wait_for(1)
        assert len(upstream.works) == 1
        upstream.concurrency = 2
        upstream.links.more(upstream.name)
        await upstream.wait_for(2)
