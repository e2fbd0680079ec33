"""Which message a receipt is for, where ids can be read in more than one way, and that it is used once."""

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from config.sections.messages import Refund
from gateway.messages.model import Channel, Deferred, Message, Outcome, Submitted, Unknown, Work
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.messages.receipts.late import TakeLateAnswer
from smpp.receipt import keys
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, Rig, make_settings, rig

pytestmark = pytest.mark.usefixtures("engine")  # on SQLite and on PostgreSQL


def operator(*ids: str) -> FakeUpstream:
    """An upstream that gives these ids, one message each."""
    left = iter(ids)
    return FakeUpstream(
        "operator",
        answer=lambda _w, _a: [Submitted(upstream="operator", upstream_ids=(next(left),))],
        recipients_per_work=1,
        concurrency=1,
    )


def receipt(one: Rig, message_id: str, *, delivered: bool = True) -> PartReceipt:
    """What an operator's receipt for this id becomes."""
    return PartReceipt(
        upstream="operator",
        ids=keys(message_id),
        delivered=delivered,
        state="DELIVERED" if delivered else "UNDELIVERABLE",
        received_ms=one.clock.now_ms(),
    )


async def apply(one: Rig, *receipts: PartReceipt, parked_max: int = 100) -> list[str | None]:
    """All of one read."""
    operation = ApplyReceipts(*receipts, refund_on=frozenset(), keep_content=False, parked_max=parked_max)
    return await one.store.submit(operation)


async def parked(one: Rig) -> int:
    """How many rows wait for a part."""
    return int((await one.store.read(lambda tx: tx.rows("SELECT count(*) FROM parked_receipt")))[0][0])


async def recorded(one: Rig, count: int) -> None:
    """Returns once so many parts are recorded."""
    async with asyncio.timeout(5):
        while len(await one.store.read(lambda tx: tx.rows("SELECT 1 FROM sms_part"))) < count:
            await asyncio.sleep(0.005)  # polls a committed state; bounded by the timeout above


async def statuses(one: Rig, *message_ids: str | None) -> list[str]:
    return [(await one.view(message_id or "")).status for message_id in message_ids]


async def test_the_exact_id_wins_over_its_hex_and_decimal_readings(tmp_path: Path) -> None:
    """A receipt for "10000000" is not for "989680", though that is the same number in hex."""
    upstream = operator("989680", "10000000")
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        first, second = await one.send_sms(), await one.send_sms()
        await recorded(one, 2)
        assert len(keys("10000000")) == 3
        assert await apply(one, receipt(one, "10000000")) == ["delivered"]
        assert await apply(one, receipt(one, "10000000")) == [None], "told twice, it changes nothing more"
        assert await statuses(one, first.id, second.id) == ["queued", "delivered"]


@pytest.mark.parametrize("refund_on", [(), ("undelivered",)])
async def test_credits_come_back_for_what_a_receipt_says_was_not_delivered_where_asked_for(
    tmp_path: Path, refund_on: tuple[Refund, ...]
) -> None:
    defaults = make_settings()
    settings = replace(defaults, sms=replace(defaults.sms, refund_on=refund_on))
    async with rig(tmp_path, [FakeUpstream("mail"), operator("a1")], settings=settings) as one:
        sent = await one.send_sms()
        await recorded(one, 1)
        assert await one.balance("sms") == 99
        operation = ApplyReceipts(
            receipt(one, "a1", delivered=False),
            refund_on=one.road.rules[Channel.SMS].refund_on,
            keep_content=False,
            parked_max=100,
        )
        assert await one.store.submit(operation) == ["failed"]
        assert await statuses(one, sent.id) == ["failed"]
        assert await one.balance("sms") == (100 if refund_on else 99)


async def test_a_decimal_receipt_finds_the_hex_id_of_its_answer(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream("mail"), operator("bc614e1a")]) as one:
        verdict = await one.send_sms()
        await recorded(one, 1)
        assert await apply(one, receipt(one, "3160493594")) == ["delivered"]
        assert await statuses(one, verdict.id) == ["delivered"]
        assert await parked(one) == 0


async def test_an_early_receipt_of_a_counting_smsc_waits_for_its_own_message(tmp_path: Path) -> None:
    """The receipt of "16" comes first; "10" is the same number in hex, and is another message."""
    upstream = operator("10", "16")
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        assert await apply(one, receipt(one, "16")) == [None]
        assert await parked(one) == 1
        other = await one.send_sms()
        await recorded(one, 1)
        own = await one.send_sms()
        await one.settled(own.id or "", "delivered")
        assert await statuses(one, other.id) == ["queued"]
        assert await parked(one) == 0


async def test_an_early_receipt_is_used_once_however_its_id_is_read(tmp_path: Path) -> None:
    upstream = operator("bc614e1a", "3160493594")
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        assert await apply(one, receipt(one, "3160493594")) == [None]
        assert await parked(one) == 3
        first = await one.send_sms()
        await one.settled(first.id or "", "delivered")
        assert await parked(one) == 0
        second = await one.send_sms()
        await recorded(one, 2)
        assert await statuses(one, second.id) == ["queued"]


async def test_an_early_receipt_under_its_own_id_is_not_displaced_by_a_reading(tmp_path: Path) -> None:
    upstream = operator("989680")
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        await apply(one, receipt(one, "989680", delivered=False))
        await apply(one, receipt(one, "10000000"))  # may be read as 989680
        verdict = await one.send_sms()
        assert (await one.settled(verdict.id or "")).status == "failed"


async def test_only_so_many_early_receipts_are_kept(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream("mail"), operator()]) as one:
        for number in range(20):
            await apply(one, receipt(one, f"x{number}"), receipt(one, f"y{number}"), parked_max=5)
        assert await parked(one) <= 5


async def test_the_receipts_of_one_read_are_applied_together(tmp_path: Path) -> None:
    """Parts of several messages, one told twice, one of nobody."""
    ids = iter((("a1", "a2"), ("b1",), ("c1", "c2")))
    upstream = FakeUpstream(
        "operator",
        answer=lambda _w, _a: [Submitted(upstream="operator", upstream_ids=next(ids))],
        recipients_per_work=1,
        concurrency=1,
    )
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        sent = [await one.send_sms() for _ in range(3)]
        await recorded(one, 5)
        told = [receipt(one, each) for each in ("a1", "b1", "b1", "z9", "c1")]
        told.append(receipt(one, "a2", delivered=False))
        assert await apply(one, *told) == [None, "delivered", None, None, None, "failed"]
        assert await statuses(one, *(verdict.id for verdict in sent)) == ["failed", "delivered", "queued"]
        assert await apply(one, receipt(one, "c2")) == ["delivered"]
        view = await one.view(sent[0].id or "")
        assert [event.type for event in view.events] == [
            "message.accepted",
            "message.submitted",
            "message.failed",
        ]


async def late(one: Rig, upstream: FakeUpstream, outcome: Outcome, gate_s: float) -> tuple[str, bool]:
    """A message whose first attempt ends as `outcome`, and whether its late answer was of use."""
    upstream.answer = lambda _w, attempt: [outcome if attempt == 1 else Deferred(after_s=gate_s)]
    verdict = await one.send_sms()
    message_id = verdict.id or ""
    async with asyncio.timeout(5):
        while len((await one.view(message_id)).events) < 2:
            await asyncio.sleep(0.005)  # polls a committed state; bounded by the timeout above
    work: Work = upstream.works[0]
    assert isinstance(work.message, Message)
    taken = await one.store.submit(
        TakeLateAnswer(
            work,
            Submitted(upstream="operator", upstream_ids=("7",)),
            now_ms=one.clock.now_ms(),
            receipt_timeout_ms=1000,
            refund_on=frozenset(),
            keep_content=False,
        )
    )
    return message_id, taken


async def test_a_late_answer_settles_what_waits_for_its_next_try(tmp_path: Path) -> None:
    upstream = operator()
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        await apply(one, receipt(one, "7"))  # the receipt is earlier still
        message_id, taken = await late(one, upstream, Unknown(reply="no answer"), 60)
        assert taken
        assert (await one.view(message_id)).status == "delivered"
        assert len(upstream.works) == 1


async def test_a_late_answer_changes_nothing_that_has_ended(tmp_path: Path) -> None:
    upstream = operator()
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        submitted = Submitted(upstream="operator", upstream_ids=("1",))
        message_id, taken = await late(one, upstream, submitted, 60)
        assert not taken
        await apply(one, receipt(one, "1"))
        assert (await one.view(message_id)).status == "delivered"


async def test_webhooks_are_told_whose_sms_it_is_however_it_ends(tmp_path: Path) -> None:
    """An answer that came late, a receipt, and one that never came."""
    insert = """
    INSERT INTO webhook (account_id, id, url, events, secret, status, created_ms)
    VALUES (?, 'w', 'https://hooks.example.com', '["*"]', 'whsec_', 'active', 0)
    """
    clock, upstream, ids = FakeClock(), operator(), iter(("a1", "a2"))
    async with rig(tmp_path, [FakeUpstream("mail"), upstream], clock=clock) as one:
        await one.store.write(lambda tx: tx.run(insert, (ACCOUNT,)))
        lost, _ = await late(one, upstream, Unknown(reply="no answer"), 60)
        upstream.answer = lambda _w, _a: [Submitted(upstream="operator", upstream_ids=(next(ids),))]
        await one.send_sms("+41791234561")
        silent = await one.send_sms("+41791234562")
        await recorded(one, 3)
        await apply(one, receipt(one, "a1"))
        clock.advance(one.settings.sms.receipt_timeout_s + 1)
        one.road.queue.wake()
        for message_id in (lost, silent.id):
            await one.settled(message_id or "", "failed")
        rows = await one.store.read(lambda tx: tx.rows("SELECT body FROM webhook_delivery"))
    told = [msgspec.json.decode(body) for (body,) in rows]
    assert {(one["data"].get("address"), one["type"].removeprefix("message.")) for one in told} == {
        *(("+41791234567", kind) for kind in ("unknown", "submitted", "failed")),
        *(("+41791234561", kind) for kind in ("submitted", "delivered")),
        *(("+41791234562", kind) for kind in ("submitted", "failed")),
    }
