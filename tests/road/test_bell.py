"""The bell: what waits in the database is claimed when it can be, not when the keeper looks next."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from gateway.messages.model import Delivered, Failed, Outcome, Work
from gateway.messages.queue import keeper
from tests.gateway.fakes import FakeUpstream
from tests.gateway.rig import make_settings, rig

HOUR_S = 3600.0


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
