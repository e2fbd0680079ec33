"""What a bound client submits over a real socket, what it is answered, and what it may ask of it later."""

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.schema import Settings
from gateway.ingress.smpp_submit import ESME_RINVDCS, INSUFFICIENT_CREDITS
from smpp.constants import CommandStatus, MessageState, Tag
from smpp.esme import RequestOutcome, SubmitResult
from smpp.pdu import (
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    EnquireLink,
    EnquireLinkResp,
    Pdu,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    SubmitSmResp,
)
from tests.ingress.smpp_rig import bind, door, numbered_as, submit_sm
from tests.smpp.servers import BareClient, bare_client
from tests.support.fakes import FakeClock

OK = int(CommandStatus.ESME_ROK)


async def numbered(client: BareClient, count: int) -> dict[int, Pdu]:
    """The next `count` PDUs by sequence_number."""
    return {pdu.sequence_number: pdu for pdu in [await client.receive() for _ in range(count)] if pdu}


# --- submit_sm ----------------------------------------------------------------------------------------------


async def test_a_submitted_text_is_charged_durable_and_delivered(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        status, message_id = await client.send("Hello")
        assert status == OK
        row = await one.row(message_id)
        assert row["account_id"] == one.login.account_id
        await one.upstream.wait_for(1)
        message = one.upstream.works[0].message
        assert message.content == b"Hello"
        assert message.deliveries[0].address == "+41791234567"
        assert await one.rig.balance("sms", one.login.account_id) == 99


async def test_the_answer_waits_for_the_commit(tmp_path: Path) -> None:  # A1
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        other = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # nobody else can commit now
        client.send(numbered_as(submit_sm(), 2), EnquireLink(3))
        assert await client.receive() == EnquireLinkResp(3)
        other.execute("ROLLBACK")
        other.close()
        answer = await client.receive()
        assert isinstance(answer, SubmitSmResp)
        assert (answer.sequence_number, answer.command_status) == (2, OK)


async def test_what_arrives_together_is_accepted_in_one_operation(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        before = one.rig.store.writer
        operations: list[int] = []
        submit = before.submit

        def spy(operation: Any, *, urgent: bool = False) -> Any:
            operations.append(len(getattr(operation, "slots", ())))
            return submit(operation, urgent=urgent)

        before.submit = spy  # type: ignore[method-assign]  # a spy on one instance
        client.send(*(numbered_as(submit_sm(f"{n}"), n) for n in range(2, 52)))
        answers = await numbered(client, 50)
        assert {type(pdu) for pdu in answers.values()} == {SubmitSmResp}
        assert len({pdu.message_id for pdu in answers.values() if isinstance(pdu, SubmitSmResp)}) == 50
        accepting = [size for size in operations if size]
        assert sum(accepting) == 50
        assert len(accepting) < 10


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"source_addr": "Unknown"}, CommandStatus.ESME_RINVSRCADR),
        ({"source_addr": "With space"}, CommandStatus.ESME_RINVSRCADR),
        ({"source_addr": ""}, CommandStatus.ESME_RINVSRCADR),
        ({"to": "4179"}, CommandStatus.ESME_RINVDSTADR),
        ({"to": "hello"}, CommandStatus.ESME_RINVDSTADR),
        ({"to": ""}, CommandStatus.ESME_RINVDSTADR),
        ({"short_message": b""}, CommandStatus.ESME_RINVMSGLEN),
        ({"short_message": b"a" * 2000}, CommandStatus.ESME_RINVMSGLEN),
        ({"short_message": b"\xe9", "data_coding": 0}, ESME_RINVDCS),
        ({"short_message": b"\xe9", "data_coding": 1}, ESME_RINVDCS),
        ({"short_message": b"\xd8\x00", "data_coding": 8}, ESME_RINVDCS),
        ({"short_message": b"abc", "data_coding": 8}, ESME_RINVDCS),
        ({"short_message": b"x" * 141, "data_coding": 4}, CommandStatus.ESME_RINVMSGLEN),
        ({"short_message": b"\xff\x00", "esm_class": 0x40}, CommandStatus.ESME_RINVESMCLASS),
        ({"esm_class": 0x08}, CommandStatus.ESME_RINVESMCLASS),
        ({"validity_period": "tomorrow"}, CommandStatus.ESME_RINVEXPIRY),
        ({"validity_period": "200101000000000+"}, CommandStatus.ESME_RINVEXPIRY),
        ({"schedule_delivery_time": "000031000000000R"}, CommandStatus.ESME_RINVSCHED),
        ({"schedule_delivery_time": "200101000000000+"}, CommandStatus.ESME_RINVSCHED),
        ({"schedule_delivery_time": "261350000000000+"}, CommandStatus.ESME_RINVSCHED),
        ({"replace_if_present_flag": 1}, CommandStatus.ESME_RINVSUBREP),
        ({"sm_default_msg_id": 1}, CommandStatus.ESME_RINVDFTMSGID),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_its_status_and_costs_nothing(
    tmp_path: Path, fields: dict[str, Any], status: int
) -> None:
    async with door(tmp_path) as one, one.client() as client:
        assert await client.send(**fields) == (status, "")
        assert len(one.observer.refusals) == 1
        assert await one.rig.balance("sms", one.login.account_id) == 100
        assert (await client.send())[0] == OK


async def test_a_text_that_policy_forbids_is_refused(tmp_path: Path) -> None:  # R32
    def strict(settings: Settings) -> Settings:
        use = replace(settings.acceptable_use, refuse_card_numbers=("sms",))
        return replace(settings, acceptable_use=use)

    async with door(tmp_path, change=strict) as one, one.client() as client:
        status, _ = await client.send("card 4111 1111 1111 1111")
        assert status == CommandStatus.ESME_RSUBMITFAIL


async def test_a_refused_message_takes_no_other_with_it(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        client.send(
            numbered_as(submit_sm(), 2),
            numbered_as(submit_sm(to="1"), 3),
            numbered_as(submit_sm(), 4),
        )
        answers = await numbered(client, 3)
        statuses = [answers[n].status for n in (2, 3, 4)]
        assert statuses == [OK, CommandStatus.ESME_RINVDSTADR, OK]


async def test_lack_of_credits_has_a_status_of_its_own(tmp_path: Path) -> None:
    async with door(tmp_path, sms_credits=1) as one, one.client() as client:
        assert (await client.send())[0] == OK
        assert await client.send() == (INSUFFICIENT_CREDITS, "")
        assert one.observer.refusals == ["insufficient_credits"]
        assert await one.rig.balance("sms", one.login.account_id) == 0


async def test_a_client_that_keeps_just_the_window_in_flight_is_never_throttled(tmp_path: Path) -> None:
    """The room of a submit_sm is free before its answer can be read."""
    async with door(tmp_path, window=20, sms_credits=2000) as one, one.client(window=20) as client:
        results: list[SubmitResult] = []
        done = asyncio.Event()
        left = iter(range(1000))

        def send() -> None:
            if next(left, None) is not None:
                client.esme.submit_told(submit_sm(registered_delivery=0), told)

        def told(result: SubmitResult) -> None:
            results.append(result)
            if len(results) == 1000:
                done.set()
            send()  # at once, so that it leaves with the answer's own turn of the loop

        for _ in range(20):
            send()
        async with asyncio.timeout(30):
            await done.wait()
        assert {result.outcome for result in results} == {RequestOutcome.OK}


async def test_submits_over_the_window_are_throttled(tmp_path: Path) -> None:
    async with door(tmp_path, window=2) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        client.send(*(numbered_as(submit_sm(), n) for n in range(2, 7)))
        answers = await numbered(client, 5)
        statuses = [answers[n].status for n in range(2, 7)]
        assert statuses == [OK, OK, *[int(CommandStatus.ESME_RTHROTTLED)] * 3]


async def test_submits_over_the_accounts_own_rate_are_throttled(tmp_path: Path) -> None:  # R29
    async with door(tmp_path) as one:
        await one.accounts.set_rate(one.login.account_id, 2)
        async with one.client(throttle_initial_s=0.01) as client:
            statuses = [(await client.send())[0] for _ in range(3)]
            assert statuses == [OK, OK, CommandStatus.ESME_RTHROTTLED]
            assert one.observer.refusals == ["rate"]
            assert isinstance(one.rig.clock, FakeClock)
            one.rig.clock.advance(1)
            assert (await client.send())[0] == OK


async def test_a_full_writer_throttles_and_a_failing_store_is_a_system_error(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        writer = one.rig.store.writer
        writer._queue_max, size = 0, writer._queue_max
        answer = await client.ask(numbered_as(submit_sm(), 2))
        assert answer == SubmitSmResp(2, CommandStatus.ESME_RTHROTTLED)
        writer._queue_max = size
        broken = "CREATE TRIGGER full BEFORE INSERT ON message BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        await one.rig.store.write(lambda tx: tx.run(broken))
        answer = await client.ask(numbered_as(submit_sm(), 3))
        assert answer == SubmitSmResp(3, CommandStatus.ESME_RSYSERR)
        await one.rig.store.write(lambda tx: tx.run("DROP TRIGGER full"))
        answer = await client.ask(numbered_as(submit_sm(), 4))
        assert isinstance(answer, SubmitSmResp)
        assert answer.command_status == OK
        assert await one.rig.balance("sms", one.login.account_id) == 99


# --- texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "data_coding", "text"),
    [
        (b"caf\x05 \x1b\x65", 0, "café €"),
        (b"plain", 1, "plain"),
        ("façade".encode("latin-1"), 3, "façade"),
        ("Grüße 🐳".encode("utf-16-be"), 8, "Grüße 🐳"),
    ],
)
async def test_texts_are_decoded_by_their_data_coding(
    tmp_path: Path, octets: bytes, data_coding: int, text: str
) -> None:
    async with door(tmp_path) as one, one.client() as client:
        assert (await client.send(short_message=octets, data_coding=data_coding))[0] == OK
        await one.upstream.wait_for(1)
        message = one.upstream.works[0].message
        assert message.content.decode() == text
        assert getattr(message.envelope, "data_coding", 0) is None


async def test_a_long_text_in_message_payload_costs_its_segments(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        assert (await client.send("a" * 400))[0] == OK  # 153 + 153 + 94
        assert await one.rig.balance("sms", one.login.account_id) == 97
        await one.upstream.wait_for(1)
        assert len(one.upstream.works[0].message.content) == 400


@pytest.mark.parametrize(
    ("fields", "content", "udhi"),
    [
        (
            {"short_message": b"\x05\x00\x03\x07\x02\x01part one", "esm_class": 0x40},
            b"\x05\x00\x03\x07\x02\x01part one",
            True,
        ),
        ({"short_message": b"\x00\x01\xff", "data_coding": 4}, b"\x00\x01\xff", False),
        (
            {
                "short_message": b"part two",
                "tlvs": (
                    (Tag.SAR_MSG_REF_NUM, b"\x01\x07"),
                    (Tag.SAR_TOTAL_SEGMENTS, b"\x02"),
                    (Tag.SAR_SEGMENT_SEQNUM, b"\x02"),
                ),
            },
            b"\x05\x00\x03\x07\x02\x02part two",
            True,
        ),
    ],
)
async def test_user_data_passes_as_it_is_for_one_segment(
    tmp_path: Path, fields: dict[str, Any], content: bytes, udhi: bool
) -> None:
    async with door(tmp_path) as one, one.client() as client:
        assert (await client.send(**fields))[0] == OK
        await one.upstream.wait_for(1)
        message = one.upstream.works[0].message
        assert message.content == content
        envelope: Any = message.envelope
        assert (envelope.data_coding, envelope.udhi) == (fields.get("data_coding", 0), udhi)
        assert await one.rig.balance("sms", one.login.account_id) == 99


async def test_data_sm_takes_the_same_road(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        answer = await client.ask(
            DataSm(
                2,
                source_addr_ton=5,
                source_addr="Acme",
                dest_addr_ton=1,
                destination_addr="41791234567",
                tlvs=((Tag.MESSAGE_PAYLOAD, b"Hello"),),
            )
        )
        assert isinstance(answer, DataSmResp)
        assert answer.command_status == OK
        await one.upstream.wait_for(1)
        assert one.upstream.works[0].message.id == answer.message_id


# --- times, query_sm, cancel_sm, replace_sm -----------------------------------------------------------------


async def test_validity_and_schedule_reach_the_message(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        _, message_id = await client.send(
            schedule_delivery_time="000001000000000R", validity_period="000000020000000R"
        )
        row = await one.row(message_id)
        day_ms, now_ms = 86_400_000, one.rig.clock.now_ms()
        assert row["send_at_ms"] == now_ms + day_ms
        assert row["expires_ms"] == now_ms + day_ms + 2 * 3_600_000
        assert json.loads(row["envelope"])["validity_s"] == 7200


async def test_query_sm_tells_the_state_of_the_accounts_own_messages(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        scheduled = submit_sm(schedule_delivery_time="000001000000000R")
        queued = await client.ask(numbered_as(scheduled, 2))
        assert isinstance(queued, SubmitSmResp)
        answer = await client.ask(QuerySm(3, queued.message_id))
        assert answer == QuerySmResp(3, OK, queued.message_id, "", MessageState.ENROUTE)
        sent = await client.ask(numbered_as(submit_sm(registered_delivery=0), 4))
        assert isinstance(sent, SubmitSmResp)
        async with asyncio.timeout(5):
            while (await one.rig.view(sent.message_id, one.login.account_id)).status != "delivered":
                await asyncio.sleep(0.005)
        answer = await client.ask(QuerySm(5, sent.message_id))
        assert answer == QuerySmResp(5, OK, sent.message_id, "260921141320000+", MessageState.DELIVERED)


async def test_cancel_sm_cancels_what_still_waits_and_gives_the_credit_back(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        pdu = submit_sm(schedule_delivery_time="000001000000000R", registered_delivery=0)
        sent = await client.ask(numbered_as(pdu, 2))
        assert isinstance(sent, SubmitSmResp)
        assert await client.ask(CancelSm(3, message_id=sent.message_id)) == CancelSmResp(3, OK)
        again = await client.ask(CancelSm(4, message_id=sent.message_id))
        assert again == CancelSmResp(4, CommandStatus.ESME_RCANCELFAIL)
        answer = await client.ask(QuerySm(5, sent.message_id))
        assert isinstance(answer, QuerySmResp)
        assert answer.message_state == MessageState.DELETED
        assert await one.rig.balance("sms", one.login.account_id) == 100


async def test_another_accounts_message_is_not_found(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        _, message_id = await client.send(schedule_delivery_time="000001000000000R")
        other = await one.new_login("other")
        async with bare_client(one.ingress.port) as stranger:
            await bind(stranger, other)
            invalid = CommandStatus.ESME_RINVMSGID
            assert await stranger.ask(QuerySm(2, message_id)) == QuerySmResp(2, invalid)
            assert await stranger.ask(CancelSm(3, message_id=message_id)) == CancelSmResp(3, invalid)
            assert await stranger.ask(QuerySm(4, "x" * 64)) == QuerySmResp(4, invalid)
        assert (await one.rig.view(message_id, one.login.account_id)).status == "scheduled"


async def test_replace_sm_is_refused_and_the_bind_stays(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        answer = await client.ask(ReplaceSm(2, message_id="x", short_message=b"new"))
        assert answer == ReplaceSmResp(2, CommandStatus.ESME_RREPLACEFAIL)
        assert await client.ask(EnquireLink(3)) == EnquireLinkResp(3)
