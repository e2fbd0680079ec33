"""The road of a message: accepted, paid, delivered, settled, with every kind of outcome on the way."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from gateway.messages.accept.acceptor import KeyInUse
from gateway.messages.model import Deferred, Delivered, Failed, Message, Outcome, Submitted, Unknown, Work
from gateway.messages.queue import cancel
from gateway.store.idempotency import IdempotencyKey, KeyReused
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, rig

pytestmark = pytest.mark.usefixtures("engine")  # on SQLite and on PostgreSQL


async def test_mail_is_debited_delivered_and_told(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with rig(tmp_path, [upstream]) as one:
        verdict = await one.send_mail("b@example.net", "c@example.net")
        assert verdict.accepted
        assert verdict.price_credits == 2
        view = await one.settled(verdict.id or "")
        assert view.status == "delivered"
        assert [recipient.status for recipient in view.recipients] == ["delivered", "delivered"]
        assert [event.type for event in view.events] == ["message.accepted", *["message.delivered"] * 2]
        assert await one.balance() == 98
        assert len(upstream.works) == 1
        content = upstream.works[0].message.content
        assert content.startswith(b"Received: from")
        assert b"\r\nMessage-ID: <" in content


async def test_a_mail_that_the_balance_does_not_cover_whole_is_refused_and_nothing_is_stored(
    tmp_path: Path,
) -> None:  # R12
    async with rig(tmp_path, [FakeUpstream()], mail_credits=2) as one:
        verdict = await one.send_mail("b@example.net", "c@example.net", "d@example.net")
        assert verdict.refused == "insufficient_credits"
        assert await one.balance() == 2
        assert await one.store.read(lambda tx: tx.rows("SELECT count(*) FROM message")) == [(0,)]
        assert one.road.dispatcher.lanes.deliveries == 0


async def test_concurrent_sends_never_spend_more_than_the_balance(tmp_path: Path) -> None:  # A2
    async with rig(tmp_path, [FakeUpstream()], mail_credits=10) as one:
        verdicts = await asyncio.gather(*(one.send_mail() for _ in range(50)))
        assert sum(verdict.accepted for verdict in verdicts) == 10
        assert await one.balance() == 0


async def test_a_temporary_failure_is_tried_again_when_its_time_has_come(tmp_path: Path) -> None:
    clock = FakeClock()

    def answer(_work: Work, attempt: int) -> list[Outcome]:
        return [Deferred(reply="451 4.7.1 later")] if attempt == 1 else [Delivered(reply="250 Ok")]

    upstream = FakeUpstream(answer=answer)
    async with rig(tmp_path, [upstream], clock=clock) as one:
        verdict = await one.send_mail()
        await upstream.wait_for(1)
        async with asyncio.timeout(10):
            while not (view := await one.view(verdict.id or "")).recipients[0].attempts:
                await asyncio.sleep(0.005)
        assert view.status == "queued"
        assert view.recipients[0].reply == "451 4.7.1 later"
        clock.advance(120)
        one.road.queue.wake()
        view = await one.settled(verdict.id or "")
        assert view.status == "delivered"
        assert [event.type for event in view.events][1:] == ["message.deferred", "message.delivered"]


async def test_a_permanent_failure_is_told_to_a_verified_sender_by_a_dsn(tmp_path: Path) -> None:
    def answer(work: Work, _attempt: int) -> list[Outcome]:
        if work.deliveries[0].address == "a@example.org":
            return [Delivered(reply="250 Ok")]
        return [Failed(reply="550 5.1.1 no such mailbox")]

    upstream = FakeUpstream(answer=answer)
    async with rig(tmp_path, [upstream]) as one:
        verdict = await one.send_mail()
        view = await one.settled(verdict.id or "")
        assert view.status == "failed"
        await upstream.wait_for(2)
        report = upstream.works[1].message
        assert report.sender == ""
        assert report.deliveries[0].address == "a@example.org"
        assert b"Status: 5.1.1" in report.content
        assert await one.balance() == 99


async def test_a_failed_report_is_not_reported_again(tmp_path: Path) -> None:
    upstream = FakeUpstream(answer=lambda work, _: [Failed(reply="550 5.1.1 no")] * len(work.deliveries))
    async with rig(tmp_path, [upstream]) as one:
        await one.send_mail()
        await upstream.wait_for(2)
        async with asyncio.timeout(10):
            while (await one.store.read(lambda tx: tx.rows("SELECT status FROM message"))) != [
                ("failed",)
            ] * 2:
                await asyncio.sleep(0.005)
        assert len(upstream.works) == 2


async def test_no_reply_after_the_final_dot_is_an_event_of_its_own_and_tried_again(tmp_path: Path) -> None:
    clock = FakeClock()
    upstream = FakeUpstream(
        answer=lambda _w, attempt: [Unknown(reply="no reply")] if attempt == 1 else [Delivered(reply="250")]
    )
    async with rig(tmp_path, [upstream], clock=clock) as one:
        verdict = await one.send_mail()
        await upstream.wait_for(1)
        async with asyncio.timeout(10):
            while len((await one.view(verdict.id or "")).events) < 2:
                await asyncio.sleep(0.005)
        clock.advance(3600)
        one.road.queue.wake()
        view = await one.settled(verdict.id or "")
        assert [event.type for event in view.events][1:] == ["message.unknown", "message.delivered"]


async def test_a_message_older_than_its_lifetime_fails(tmp_path: Path) -> None:
    clock = FakeClock()
    upstream = FakeUpstream(answer=lambda _w, _a: [Deferred(reply="451 later")])
    async with rig(tmp_path, [upstream], clock=clock) as one:
        verdict = await one.send_mail()
        await upstream.wait_for(1)
        clock.advance(6 * 86_400)
        one.road.queue.wake()
        view = await one.settled(verdict.id or "")
        assert view.status == "failed"
        assert view.events[-1].detail["reason"] == "expired"


async def test_some_delivered_and_some_failed_is_partly_delivered(tmp_path: Path) -> None:
    upstream = FakeUpstream(answer=lambda _w, _a: [Delivered(reply="250"), Failed(reply="550 5.1.1 no")])
    async with rig(tmp_path, [upstream]) as one:
        verdict = await one.send_mail("b@example.net", "c@example.net")
        assert (await one.settled(verdict.id or "")).status == "partly_delivered"


async def test_a_slow_destination_does_not_hold_up_another(tmp_path: Path) -> None:  # A5
    upstream = FakeUpstream(per_domain=True, concurrency=2)
    async with rig(tmp_path, [upstream]) as one:
        upstream.gate.clear()
        slow = [await one.send_mail("b@slow.example") for _ in range(10)]
        await upstream.wait_for(2)
        upstream.answer = lambda work, _: [Delivered(reply=work.destination)]
        other = FakeUpstream("fake", per_domain=True)
        one.road.router._upstreams["fake"] = other  # type: ignore[index]  # the quick one behind the same name
        verdict = await one.send_mail("c@quick.example")
        assert (await one.settled(verdict.id or "")).status == "delivered"
        assert upstream.most_under_way == 2
        upstream.gate.set()
        for one_slow in slow:
            await one.settled(one_slow.id or "")


async def test_attempts_that_fail_together_make_one_rest(tmp_path: Path) -> None:
    """Ten connections that break at once are one failure: 15 s, and not 15 * 2^9."""
    upstream = FakeUpstream(concurrency=10, answer=lambda _w, _a: [Deferred(reply="down", rest_s=15)])
    upstream.gate.clear()
    async with rig(tmp_path, [upstream]) as one:
        for _ in range(10):
            await one.send_mail()
        await upstream.wait_for(10)
        upstream.gate.set()
        async with asyncio.timeout(10):
            while one.road.dispatcher.under_way:
                await asyncio.sleep(0.005)  # polls; bounded by the timeout above
        assert 0 < one.road.dispatcher.pause_left_s("fake") <= 15


async def test_what_memory_has_no_room_for_waits_in_the_database_and_is_delivered(tmp_path: Path) -> None:
    defaults = Settings()
    settings = replace(defaults, limits=replace(defaults.limits, queue_memory_messages=4))
    upstream = FakeUpstream(concurrency=1)
    async with rig(tmp_path, [upstream], settings=settings) as one:
        upstream.gate.clear()
        verdicts = [await one.send_mail() for _ in range(30)]
        assert one.road.dispatcher.lanes.deliveries <= 4
        upstream.gate.set()
        for verdict in verdicts:
            assert (await one.settled(verdict.id or "")).status == "delivered"
        assert len(upstream.works) == 30
        assert one.road.dispatcher.lanes.deliveries == 0
        assert one.road.dispatcher.lanes.octets == 0


async def test_what_a_dead_process_held_is_delivered_by_the_next(tmp_path: Path) -> None:
    stuck = FakeUpstream()
    async with rig(tmp_path, [stuck], start=False) as one:
        stuck.gate.clear()
        verdict = await one.send_mail()
        # What SIGKILL leaves behind: the row is held by a process that is gone.
        one.road.tenure.holder = "z" * 26
        for task in list(one.road.dispatcher._attempts):
            task.cancel()
    held = FakeUpstream()
    async with rig(tmp_path, [held], mail_credits=0, sms_credits=0) as one:
        assert (await one.settled(verdict.id or "")).status == "delivered"


async def test_the_outcome_of_a_delivery_that_another_process_has_taken_over_changes_nothing(
    tmp_path: Path,
) -> None:
    upstream = FakeUpstream(
        answer=lambda _w, _a: [Failed(reply="ESME_RINVDSTADR", reason="rejected")], recipients_per_work=1
    )
    upstream.gate.clear()
    async with rig(tmp_path, [upstream]) as one:
        sent = await one.send_sms("+41791234567", "+41791234568")
        await upstream.wait_for(2)
        await one.store.write(lambda tx: tx.run("UPDATE delivery SET holder = ? WHERE n = 0", ("z" * 26,)))
        upstream.gate.set()
        async with asyncio.timeout(5):
            while one.road.dispatcher.lanes.deliveries:
                await asyncio.sleep(0.005)  # polls until both outcomes are settled; bounded above
        view = await one.view(sent.id or "")
        assert [recipient.status for recipient in view.recipients] == ["queued", "failed"]
        assert view.status == "queued"
        assert [event.recipient for event in view.events if event.type == "message.failed"] == [
            "+41791234568"
        ]
        assert await one.balance("sms") == 99, "one refund, for the delivery that was still ours"
        await one.store.write(lambda tx: tx.run("UPDATE delivery SET holder = NULL WHERE n = 0"))


async def test_the_same_key_gives_the_same_answer_and_another_payload_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        key = IdempotencyKey("k", b"digest", one.clock.now_ms() + 86_400_000)
        first = await one.road.acceptor.accept(ACCOUNT, [await one.mail()], key)
        again = await one.road.acceptor.accept(ACCOUNT, [await one.mail()], key)
        assert again[0].id == first[0].id
        assert again[0].replayed  # A4
        assert await one.balance() == 99
        with pytest.raises(KeyReused):
            await one.road.acceptor.accept(ACCOUNT, [await one.mail()], replace(key, digest=b"other"))
        assert one.road.dispatcher.lanes.deliveries == 0


async def test_a_second_request_while_the_first_runs_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        key = IdempotencyKey("k", b"digest", one.clock.now_ms() + 86_400_000)
        slots = [[await one.mail()] for _ in range(10)]
        results = await asyncio.gather(
            *(one.road.acceptor.accept(ACCOUNT, slot, key) for slot in slots), return_exceptions=True
        )
        assert sum(isinstance(result, list) for result in results) == 1
        assert sum(isinstance(result, KeyInUse) for result in results) == 9
        assert await one.balance() == 99


async def test_a_refused_message_leaves_its_key_free(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()], mail_credits=0) as one:
        key = IdempotencyKey("k", b"digest", one.clock.now_ms() + 86_400_000)
        assert not (await one.road.acceptor.accept(ACCOUNT, [await one.mail()], key))[0].accepted
        await one.credits.grant(ACCOUNT, "mail", 1)
        assert (await one.road.acceptor.accept(ACCOUNT, [await one.mail()], key))[0].accepted


async def test_a_caller_that_goes_away_does_not_lose_the_message(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with rig(tmp_path, [upstream]) as one:
        task = asyncio.ensure_future(one.road.acceptor.accept(ACCOUNT, [await one.mail()]))
        await asyncio.sleep(0)  # one turn of the loop: the operation is submitted
        task.cancel()
        await upstream.wait_for(1)


async def test_a_scheduled_message_waits_and_can_be_cancelled_with_its_credits_back(tmp_path: Path) -> None:
    clock = FakeClock()
    upstream = FakeUpstream()
    async with rig(tmp_path, [upstream], clock=clock) as one:
        at_ms = clock.now_ms() + 3_600_000
        first = await one.send_mail(send_at_ms=at_ms)
        second = await one.send_mail(send_at_ms=at_ms)
        assert first.status == "scheduled"
        assert (await one.view(first.id or "")).status == "scheduled"
        assert await one.balance() == 98
        count = await one.store.write(
            lambda tx: cancel.cancel(
                tx,
                ACCOUNT,
                first.id or "",
                now_ms=clock.now_ms(),
                refund_on=frozenset({"cancelled"}),
                keep_content=False,
            )
        )
        assert count == 1
        assert (await one.view(first.id or "")).status == "cancelled"
        assert await one.balance() == 99
        clock.advance(3601)
        one.road.queue.wake()
        assert (await one.settled(second.id or "")).status == "delivered"
        assert len(upstream.works) == 1


async def test_an_sms_costs_its_segments_and_is_delivered_by_its_receipts(tmp_path: Path) -> None:
    upstream = FakeUpstream(
        answer=lambda _w, _a: [Submitted(upstream="fake", upstream_ids=("1", "2"))], recipients_per_work=1
    )
    async with rig(tmp_path, [upstream]) as one:
        verdict = await one.send_sms(text="x" * 200)
        assert verdict.segments == 2
        assert await one.balance("sms") == 98
        assert (await one.view(verdict.id or "")).status == "queued"


async def test_a_refund_after_a_rejection_goes_back_once(tmp_path: Path) -> None:  # A2
    upstream = FakeUpstream(
        answer=lambda _w, _a: [Failed(reply="ESME_RINVDSTADR", reason="rejected")], recipients_per_work=1
    )
    async with rig(tmp_path, [upstream]) as one:
        verdict = await one.send_sms()
        view = await one.settled(verdict.id or "")
        assert view.status == "failed"
        assert view.refunded_credits == 1
        assert await one.balance("sms") == 100


@pytest.mark.parametrize(
    ("recipients", "reason"),
    [(("not a number",), "bad_number"), (("+4179",), "bad_number")],
)
async def test_odd_numbers_are_refused_with_what_to_do(
    tmp_path: Path, recipients: tuple[str, ...], reason: str
) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        verdict = await one.send_sms(*recipients)
        assert verdict.refused == reason
        assert verdict.detail


async def test_a_sender_of_a_foreign_domain_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        verdict = await one.send_mail(mail_from="a@elsewhere.example")
        assert verdict.refused == "sender_not_allowed"
        slot = await one.mail(content=b"From: ceo@bank.example\r\n\r\nHi\r\n")
        assert not isinstance(slot, Message)
        assert slot.refused == "sender_not_allowed"


async def test_a_claim_is_fair_across_accounts_and_destinations(tmp_path: Path) -> None:
    """A thousand due deliveries of one destination do not come before the one of another."""
    clock = FakeClock()
    upstream = FakeUpstream(per_domain=True, concurrency=1)
    async with rig(tmp_path, [upstream], clock=clock, mail_credits=2000) as one:
        at_ms = clock.now_ms() + 1000
        slots = [await one.mail("b@many.example", send_at_ms=at_ms) for _ in range(500)]
        await one.road.acceptor.accept(ACCOUNT, slots)
        last = await one.send_mail("c@zz.example", send_at_ms=at_ms)
        upstream.gate.clear()
        clock.advance(2)
        one.road.queue.wake()
        await upstream.wait_for(2)
        domains = {work.destination for work in upstream.works}
        assert domains == {"fake/many.example", "fake/zz.example"}
        upstream.gate.set()
        assert (await one.settled(last.id or "")).status == "delivered"
