"""The dispatcher at its edges: reports that cannot be written yet, attempts that take long, and the stop."""

import asyncio
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from gateway.messages.model import Deferred, Failed, Unknown
from gateway.messages.queue.cancel import cancel
from gateway.store.errors import StoreBusy
from tests.faults.test_mail_relays import relay
from tests.faults.world import settings_for, world
from tests.smtp.fake_mx import HANG, FakeMx, Script
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, Rig, rig

REPORTS = "SELECT count(*) FROM message WHERE ingress = 'report'"


class Away:
    """Domains that can be asked only at the third time: the database is away until then."""

    def __init__(self, one: Rig) -> None:
        self._allowed = one.directory.allowed
        self.asked = 0

    async def __call__(self, account_id: str, domain: str) -> bool:
        self.asked += 1
        if self.asked < 3:
            raise StoreBusy("The database is away for the moment.")
        return await self._allowed(account_id, domain)


async def test_a_report_that_cannot_be_written_yet_is_written_with_its_failure_later(tmp_path: Path) -> None:
    upstream = FakeUpstream(answer=lambda work, _a: [Failed(reply="550 5.1.1 none")] * len(work.deliveries))
    async with rig(tmp_path, [upstream]) as one:
        sent = await one.mail()
        away = Away(one)
        one.directory.allowed = away  # type: ignore[method-assign]  # the database goes away after shaping
        (verdict,) = await one.road.acceptor.accept(ACCOUNT, [sent])
        async with asyncio.timeout(1):
            while not away.asked:
                await asyncio.sleep(0.005)  # polls until the first try; bounded above
        assert (await one.view(verdict.id or "")).status == "queued", "not settled without its report"
        assert (await one.settled(verdict.id or "")).status == "failed"
        assert away.asked == 3
        assert await one.store.read(lambda tx: tx.rows(REPORTS)) == [(1,)]


async def test_an_attempt_that_takes_long_is_logged_and_shown_on_its_message(tmp_path: Path) -> None:
    clock = FakeClock()
    upstream = FakeUpstream("smarthost")
    upstream.gate.clear()
    async with rig(tmp_path, [upstream], clock=clock) as one:
        with capture_logs() as logs:
            sent = [(await one.send_mail()).id or "" for _ in range(3)]
            await upstream.wait_for(3)
            one.road.dispatcher._look_for_slow()
            assert [line["event"] for line in logs] == []
            clock.advance(31)
            one.road.dispatcher._look_for_slow()
            lines = [line for line in logs if line["event"] == "attempt_slow"]
        assert [(line["upstream"], line["under_way"]) for line in lines] == [("smarthost", 3)]
        async with asyncio.timeout(5):
            while (reply := (await one.view(sent[2])).recipients[0].reply) is None:
                await asyncio.sleep(0.005)  # polls until the note is committed; bounded above
        assert reply == "smarthost has not answered for 30 seconds; the attempt goes on"
        upstream.gate.set()
        view = await one.settled(sent[2])
        assert (view.status, view.recipients[0].reply) == ("delivered", "250 2.0.0 Ok")


async def test_a_stop_does_not_wait_for_a_server_that_never_greeted(tmp_path: Path) -> None:
    async with (
        FakeMx.running(Script(replies={"GREETING": HANG})) as mx,
        world(tmp_path, settings_for(mail={"*": relay(mx)})) as here,
    ):
        ids = await here.mail("b@example.net", count=3)
        await here.until(lambda: here.road.dispatcher.under_way > 0)
        async with asyncio.timeout(60):  # a tenth of the drain
            await here.road.stop(600.0)
        assert {(await here.view(one)).status for one in ids} == {"queued"}
        rows = await here.ground.store.read(
            lambda tx: tx.rows("SELECT count(*) FROM delivery WHERE holder IS NOT NULL")
        )
        assert rows == [(0,)]


async def cancelled(one: Rig, message_id: str) -> int:
    def run(tx: Any) -> int:
        return cancel(
            tx,
            ACCOUNT,
            message_id,
            now_ms=one.clock.now_ms(),
            refund_on=frozenset({"cancelled"}),
            keep_content=False,
        )

    return await one.store.write(run)


async def test_what_may_have_been_delivered_cannot_be_called_back_for_its_price(tmp_path: Path) -> None:
    """A receiver that takes the mail and cuts the connection before it answers."""

    def answer(work: Any, _attempt: int) -> list[Any]:
        return [
            Unknown(reply="no answer") if one.address.startswith("b") else Deferred(reply="450 later")
            for one in work.deliveries
        ]

    async with rig(tmp_path, [FakeUpstream(answer=answer)]) as one:
        sent = (await one.send_mail("b@example.net", "c@example.net")).id or ""
        async with asyncio.timeout(5):
            while [event.type for event in (await one.view(sent)).events][1:] == []:
                await asyncio.sleep(0.005)  # polls until both outcomes are settled; bounded above
        assert await cancelled(one, sent) == 1, "the one that was put off, not the one that may be there"
        view = await one.view(sent)
        assert [recipient.status for recipient in view.recipients] == ["queued", "cancelled"]
        assert view.refunded_credits == 1
        assert await cancelled(one, sent) == 0
