"""Receipts for SMPP clients: when they come, what they say, and that none is lost."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import verticals
from gateway.ingress.receipt_sender import ReceiptSender
from gateway.ingress.smpp import SmppIngress
from gateway.messages.model import Delivered, Failed, Outcome, Submitted, Work
from gateway.messages.queue import cancel
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.store.store import Store
from smpp.constants import CommandStatus, EsmClass, MessageState
from smpp.pdu import BindTransceiver, BindTransceiverResp, DeliverSm, DeliverSmResp, SubmitSmResp
from smpp.states import BindMode
from tests.doors.support import make_door
from tests.ingress.smpp_rig import Door, door, submit_sm
from tests.smpp.servers import bare_client, soon
from tests.support.fakes import FakeClock, FakeUpstream

OK = int(CommandStatus.ESME_ROK)
SCHEDULED = "000001000000000R"


def answering(outcome: Outcome) -> FakeUpstream:
    return FakeUpstream(answer=lambda work, _attempt: [outcome] * len(work.deliveries))


async def apply(one: Door, upstream_id: str, state: str, *, error: str = "") -> None:
    """The upstream's receipt for one part."""
    receipt = PartReceipt(
        upstream="fake",
        ids=(upstream_id,),
        delivered=state == "DELIVERED",
        state=state,
        error=error,
        received_ms=one.rig.clock.now_ms(),
    )
    operation = ApplyReceipts(receipt, refund_on=frozenset(), keep_content=True, parked_max=100)
    await one.rig.store.submit(operation)


def advance(one: Door, seconds: float) -> None:
    assert isinstance(one.rig.clock, FakeClock)
    one.rig.clock.advance(seconds)


# --- what they say ------------------------------------------------------------------------------------------


async def test_a_receipt_carries_our_message_id_and_the_clients_addresses_swapped(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        status, message_id = await client.send(to="41791234567", dest_addr_npi=8, service_type="OTP")
        assert status == OK
        pdu = await soon(client.deliveries.get())
        assert isinstance(pdu, DeliverSm)
        assert pdu.esm_class == EsmClass.DELIVERY_RECEIPT
        assert (pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr) == (1, 8, "41791234567")
        assert (pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr) == (5, 0, "Acme")
        assert pdu.service_type == "OTP"
        assert pdu.short_message.startswith(f"id:{message_id} sub:001 dlvrd:001 submit date:26".encode())
        assert b"stat:DELIVRD err:000" in pdu.short_message
        await one.until_kept(0)


@pytest.mark.parametrize(
    ("outcome", "state", "error"),
    [
        (Delivered(), MessageState.DELIVERED, "000"),
        (Failed(reply="ESME_RINVDSTADR", reason="rejected"), MessageState.REJECTED, "000"),
        (Failed(reply="not delivered within its lifetime", reason="expired"), MessageState.EXPIRED, "000"),
        (Failed(reply="EXPIRED err:027", reason="undelivered"), MessageState.EXPIRED, "027"),
        (Failed(reply="DELIVERED", reason="undelivered"), MessageState.UNDELIVERABLE, "000"),
    ],
)
async def test_the_state_follows_from_how_the_message_ended(
    tmp_path: Path, outcome: Outcome, state: MessageState, error: str
) -> None:
    async with door(tmp_path, upstream=answering(outcome)) as one, one.client() as client:
        _, message_id = await client.send()
        receipt = await client.receipt()
        assert (receipt.message_id, receipt.state, receipt.error) == (message_id, state, error)


async def test_the_receipts_of_all_parts_become_one(tmp_path: Path) -> None:
    def answer(work: Work, _attempt: int) -> Sequence[Outcome]:
        return [Submitted(upstream="fake", upstream_ids=("a1", "a2"))] * len(work.deliveries)

    async with door(tmp_path, upstream=FakeUpstream(answer=answer)) as one, one.client() as client:
        _, message_id = await client.send("a" * 200)
        async with asyncio.timeout(5):
            while not (await one.rig.store.read(lambda tx: tx.rows("SELECT 1 FROM sms_part"))):
                await asyncio.sleep(0.005)
        await apply(one, "a1", "DELIVERED")
        assert await one.kept() == 0
        await apply(one, "a2", "UNDELIVERABLE", error="011")
        receipt = await client.receipt()
        assert (receipt.message_id, receipt.state) == (message_id, MessageState.UNDELIVERABLE)
        assert receipt.error == "011"
        await one.until_kept(0)
        assert client.deliveries.empty()


async def test_a_cancelled_message_is_told_as_deleted(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        _, message_id = await client.send(schedule_delivery_time=SCHEDULED)
        account_id, now_ms = one.login.account_id, one.rig.clock.now_ms()
        await one.rig.store.write(
            lambda tx: cancel.cancel(
                tx, account_id, message_id, now_ms=now_ms, refund_on=frozenset(), keep_content=True
            )
        )
        assert (await client.receipt()).state is MessageState.DELETED


@pytest.mark.parametrize(
    ("registered_delivery", "outcome", "wanted"),
    [
        (0, Delivered(), False),
        (1, Delivered(), True),
        (1, Failed(), True),
        (2, Delivered(), False),
        (2, Failed(), True),
        (0x10, Delivered(), False),
    ],
)
async def test_a_receipt_comes_only_where_it_was_asked_for(
    tmp_path: Path, registered_delivery: int, outcome: Outcome, wanted: bool
) -> None:
    async with door(tmp_path, upstream=answering(outcome)) as one, one.client(mode=BindMode.TX) as client:
        _, message_id = await client.send(registered_delivery=registered_delivery)
        async with asyncio.timeout(5):
            while (await one.rig.view(message_id, one.login.account_id)).status == "queued":
                await asyncio.sleep(0.005)
        assert await one.kept() == int(wanted)


async def test_what_came_over_another_ingress_owes_no_receipt(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        slot: Any = await one.rig.sms()
        slot.account_id = one.login.account_id
        await one.rig.road.acceptor.accept(one.login.account_id, [slot])
        await one.upstream.wait_for(1)
        async with asyncio.timeout(5):
            while (await one.rig.view(slot.id, one.login.account_id)).status != "delivered":
                await asyncio.sleep(0.005)
        assert await one.kept() == 0


async def test_a_client_of_version_3_3_gets_no_tlvs(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        login = one.login
        await client.ask(BindTransceiver(1, login.system_id, login.password, interface_version=0x33))
        client.send(submit_sm_numbered(2))
        pdus = [await client.receive(), await client.receive()]
        receipts = [pdu for pdu in pdus if isinstance(pdu, DeliverSm)]
        assert [pdu.tlvs for pdu in receipts] == [()]


def submit_sm_numbered(number: int) -> Any:
    return submit_sm(sequence_number=number)


# --- that none is lost --------------------------------------------------------------------------------------


async def test_receipts_wait_for_a_bind_that_can_receive(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        async with one.client(mode=BindMode.TX) as client:
            sent = [(await client.send())[1] for _ in range(5)]
            await one.until_kept(5)
            assert client.deliveries.empty()
        async with one.client(mode=BindMode.RX) as listener:
            got = [(await listener.receipt()).message_id for _ in range(5)]
            assert sorted(got) == sorted(sent)
            await one.until_kept(0)


async def test_receipts_survive_a_restart(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        async with one.client(mode=BindMode.TX) as client:
            _, message_id = await client.send()
        await one.until_kept(1)
        login = one.login
    async with door(tmp_path, login=login) as one, one.client() as client:
        assert (await client.receipt()).message_id == message_id
        await one.until_kept(0)
        await one.ingress.stop(1)
    async with door(tmp_path, login=login) as one, one.client() as client:
        assert await one.kept() == 0


async def test_a_receipt_that_was_not_answered_goes_to_the_next_bind(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        async with one.client(mute=True) as client:
            _, message_id = await client.send()
            assert (await client.receipt()).message_id == message_id
        assert await one.kept() == 1
        async with one.client() as client:
            assert (await client.receipt()).message_id == message_id
            await one.until_kept(0)


async def test_a_receipt_that_the_client_refuses_is_offered_again_later(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        client.answer.append(CommandStatus.ESME_RX_P_APPN)
        _, message_id = await client.send()
        assert (await client.receipt()).message_id == message_id
        attempts = "SELECT attempts FROM client_receipt"
        async with asyncio.timeout(5):
            while (await one.rig.store.read(lambda tx: tx.rows(attempts))) != [(1,)]:
                await asyncio.sleep(0.005)
        assert client.deliveries.empty()
        advance(one, 6)
        assert (await client.receipt()).message_id == message_id
        await one.until_kept(0)


async def test_a_receipt_goes_to_the_system_id_it_belongs_to(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        sibling = await one.new_login("sibling", one.login.account_id)
        stranger = await one.new_login("stranger")
        async with one.client(sibling) as second, one.client(stranger) as third:
            async with one.client(mode=BindMode.TX) as client:
                await client.send()
                await one.until_kept(1)
            async with one.client() as client:
                await client.receipt()
                await one.until_kept(0)
            assert second.deliveries.empty()
            assert third.deliveries.empty()


async def test_a_client_that_does_not_answer_gets_no_more_than_its_window_and_delays_nobody(
    tmp_path: Path,
) -> None:
    async with door(tmp_path, window=3) as one:
        other = await one.new_login("other")
        async with one.client(mode=BindMode.TX) as sender:
            for _ in range(6):
                await sender.send()
        await one.until_kept(6)
        async with one.client(mute=True) as mute, one.client(other) as client:
            for _ in range(3):
                await mute.receipt()
            for _ in range(10):
                _, message_id = await client.send()
                assert (await client.receipt()).message_id == message_id
            assert mute.deliveries.empty()
            mute.gate.set()
            for _ in range(3):
                await mute.receipt()
            await one.until_kept(0)


async def test_two_binds_of_a_client_share_its_receipts(tmp_path: Path) -> None:
    async with door(tmp_path, window=2) as one:
        async with one.client(mode=BindMode.TX) as sender:
            for _ in range(4):
                await sender.send()
        await one.until_kept(4)
        async with one.client(mute=True) as first, one.client(mute=True) as second:
            got = [
                await first.receipt(),
                await first.receipt(),
                await second.receipt(),
                await second.receipt(),
            ]
            assert len({receipt.message_id for receipt in got}) == 4
            first.gate.set()
            second.gate.set()
            await one.until_kept(0)


async def test_only_so_many_receipts_are_kept_and_the_oldest_go_first(tmp_path: Path) -> None:
    async with door(tmp_path, receipts_kept=3) as one:
        other = await one.new_login("other")
        async with one.client(other, mode=BindMode.TX) as client:
            await client.send()
        async with one.client(mode=BindMode.TX) as client:
            sent = []
            for n in range(5):
                sent.append((await client.send())[1])
                await one.until_kept(n + 2)
                advance(one, 0.1)
            advance(one, 60)
            await one.until_kept(4)
        async with one.client() as client:
            got = [(await client.receipt()).message_id for _ in range(3)]
            assert got == sent[2:]
        async with one.client(other) as client:
            await client.receipt()


async def test_a_store_that_fails_repeats_no_receipt_and_loses_none(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        fault = "INSERT INTO no_such_table VALUES (1)"  # an OperationalError, as of a full disk
        broken = f"CREATE TRIGGER full BEFORE DELETE ON client_receipt BEGIN {fault}; END"
        await one.rig.store.write(lambda tx: tx.run(broken))
        await client.send()
        await client.receipt()
        async with asyncio.timeout(5):
            while not one.rig.store.writer.failing:
                await asyncio.sleep(0.005)
        assert await one.kept() == 1
        await one.rig.store.write(lambda tx: tx.run("DROP TRIGGER full"))
        await one.until_kept(0)
        assert client.deliveries.empty()


async def test_one_process_at_a_time_serves_a_client(tmp_path: Path) -> None:
    """Two daemons on one database that neither has for itself."""
    async with door(tmp_path, window=2) as one:
        one.rig.store._lock, lock = None, one.rig.store._lock  # this store is not ours alone any more
        second = Store.open(f"sqlite:{tmp_path / 'gateway.db'}")
        ground = verticals.make(one.rig.settings, second, one.rig.clock)
        ingress = SmppIngress(ground, one.rig.road, observer=one.observer, door=make_door("smpp"))
        other: ReceiptSender = ingress.application.receipts
        other._holder = "other process"
        await ingress.start()
        try:
            async with one.client(mute=True) as here:
                await here.send()
                await here.receipt()
                there = replace_port(one, ingress)
                async with there as away:
                    await here.send()
                    await here.receipt()
                    await apart(other)
                    assert away.deliveries.empty()
                    here.gate.set()
                    await one.until_kept(0)
        finally:
            await ingress.stop(1)
            await ground.caches.close()
            await second.close()
            one.rig.store._lock = lock


def replace_port(one: Door, ingress: SmppIngress) -> Any:
    """A client of the other process."""
    return replace(one, ingress=ingress).client()


async def apart(sender: ReceiptSender) -> None:
    """Returns once the sender has done a whole round with its client."""
    async with asyncio.timeout(5):
        while not sender._clients:
            await asyncio.sleep(0.005)
    await sender._round()


async def test_receipts_flow_at_the_pace_of_the_client(tmp_path: Path) -> None:
    """Many at once: each exactly once while nothing breaks, acknowledged in few writes."""
    async with door(tmp_path, sms_credits=1000) as one, bare_client(one.ingress.port) as client:
        answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
        assert isinstance(answer, BindTransceiverResp)
        ids: list[str] = []
        receipts: list[str] = []
        for start in range(2, 502, 50):
            client.send(*(submit_sm_numbered(n) for n in range(start, start + 50)))
            wanted = len(ids) + 50
            while len(ids) < wanted:
                take(client, await client.receive(), ids, receipts)
        while len(receipts) < 500:
            take(client, await client.receive(), ids, receipts)
        assert len(set(ids)) == 500
        assert sorted(receipts) == sorted(ids)
        await one.until_kept(0)
        sender = one.ingress.application.receipts
        await sender.pause()
        await sender._round()
        assert (sender.acknowledged, sender.unanswered, sender._acknowledged) == (500, 0, [])


def take(client: Any, pdu: Any, ids: list[str], receipts: list[str]) -> None:
    if isinstance(pdu, SubmitSmResp):
        assert pdu.command_status == OK
        ids.append(pdu.message_id)
    elif isinstance(pdu, DeliverSm):
        receipts.append(pdu.short_message[3:29].decode())
        client.send(DeliverSmResp(pdu.sequence_number))
