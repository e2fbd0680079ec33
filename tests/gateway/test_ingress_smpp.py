"""Clients bind and submit over real sockets: our own ESME, smpplib, and bare clients that misbehave."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import smpplib.client
import smpplib.consts
import smpplib.gsm

from config.schema import Settings
from gateway.ingress.smpp_submit import ESME_RINVDCS, INSUFFICIENT_CREDITS
from smpp.constants import CommandStatus, MessageState, Tag
from smpp.esme import Outcome, SubmitResult
from smpp.pdu import (
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Pdu,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
)
from smpp.states import BindMode
from tests.gateway.fakes import FakeClock
from tests.gateway.smpp_rig import Login, door, submit_sm
from tests.smpp.certificate import self_signed
from tests.smpp.servers import BareClient, bare_client, soon

OK = int(CommandStatus.ESME_ROK)


async def bind(client: BareClient, login: Login) -> None:
    answer = await client.ask(BindTransceiver(1, login.system_id, login.password))
    assert isinstance(answer, BindTransceiverResp)
    assert answer.command_status == OK


def numbered_as(pdu: SubmitSm, number: int) -> SubmitSm:
    return msgspec.structs.replace(pdu, sequence_number=number)


async def numbered(client: BareClient, count: int) -> dict[int, Pdu]:
    """The next `count` PDUs by sequence_number."""
    return {pdu.sequence_number: pdu for pdu in [await client.receive() for _ in range(count)] if pdu}


# --- binds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_class", "response_class"),
    [
        (BindTransmitter, BindTransmitterResp),
        (BindReceiver, BindReceiverResp),
        (BindTransceiver, BindTransceiverResp),
    ],
)
async def test_a_client_binds_in_every_mode(tmp_path: Path, request_class: Any, response_class: Any) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        answer = await client.ask(request_class(1, one.login.system_id, one.login.password))
        assert isinstance(answer, response_class)
        assert (answer.command_status, answer.system_id) == (OK, "gateway")
        assert one.ingress.binds == 1


async def test_a_wrong_password_and_an_unknown_system_id_look_the_same(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        for system_id in (one.login.system_id, "nobody"):
            answer = await client.ask(BindTransceiver(1, system_id, "wrong"))
            assert answer == BindTransceiverResp(1, CommandStatus.ESME_RINVPASWD)
        answer = await client.ask(BindTransceiver(1, "", "wrong"))
        assert answer == BindTransceiverResp(1, CommandStatus.ESME_RINVSYSID)
        assert one.observer.logins == ["credentials", "credentials", "malformed"]


async def test_guessing_is_slowed_even_for_the_right_password(tmp_path: Path) -> None:
    def impatient(settings: Settings) -> Settings:
        return replace(settings, limits=replace(settings.limits, auth_free_failures=1, auth_delay_first_s=5))

    async with door(tmp_path, change=impatient) as one:
        async with bare_client(one.ingress.port) as client:
            for _ in range(2):
                await client.ask(BindTransceiver(1, one.login.system_id, "guess"))
            answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
            assert answer == BindTransceiverResp(1, CommandStatus.ESME_RBINDFAIL)
        assert isinstance(one.rig.clock, FakeClock)
        one.rig.clock.advance(6)
        async with bare_client(one.ingress.port) as client:
            await bind(client, one.login)


async def test_a_suspended_account_cannot_bind(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await one.accounts.suspend(one.login.account_id, "unpaid")
        answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
        assert answer == BindTransceiverResp(1, CommandStatus.ESME_RBINDFAIL)


async def test_a_suspension_ends_open_binds_and_refuses_what_they_submit(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        await one.accounts.suspend(one.login.account_id, "unpaid")
        status, _ = await client.send()
        assert status == CommandStatus.ESME_RSUBMITFAIL
        async with asyncio.timeout(5):
            while one.ingress.binds:
                await asyncio.sleep(0.005)
        assert one.upstream.works == []


async def test_a_revoked_credential_ends_a_bind_that_only_listens(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client(mode=BindMode.RX, reconnect_initial_s=60):
        await one.credentials.revoke(one.login.account_id, one.login.credential_id)
        async with asyncio.timeout(5):
            while one.ingress.binds:
                await asyncio.sleep(0.005)


async def test_one_account_cannot_take_all_connections(tmp_path: Path) -> None:
    async with door(tmp_path, max_connections=4) as one, one.client(), one.client():
        async with bare_client(one.ingress.port) as client:
            answer = await client.ask(BindTransceiver(1, one.login.system_id, one.login.password))
            assert answer == BindTransceiverResp(1, CommandStatus.ESME_RBINDFAIL)
        async with one.client(await one.new_login("other")):
            assert one.ingress.binds == 3


async def test_a_place_is_free_again_after_the_bind(tmp_path: Path) -> None:
    async with door(tmp_path, max_connections=2) as one:
        for _ in range(3):
            async with bare_client(one.ingress.port) as client:
                await bind(client, one.login)
                await client.ask(Unbind(2))
                assert await client.receive() is None
        assert one.ingress.binds == 0


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens on while this is open; SO_REUSEADDR lets a server have it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        yield int(probe.getsockname()[1])


async def test_clients_bind_over_tls_on_a_port_of_its_own(tmp_path: Path) -> None:
    server_tls, client_tls = self_signed(tmp_path)
    with free_port() as port:
        pass
    async with (
        door(tmp_path, tls_port=port, tls_context=server_tls) as one,
        one.client(port=port, tls=client_tls) as client,
        one.client() as plain,
    ):
        assert one.ingress.tls_port == port
        _, message_id = await client.send()
        got = await asyncio.wait(
            [asyncio.create_task(each.receipt()) for each in (client, plain)],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=5,
        )
        assert [task.result().message_id for task in got[0]] == [message_id]
        for task in got[1]:
            task.cancel()


async def test_a_taken_tls_port_leaves_nothing_open(tmp_path: Path) -> None:
    server_tls, _ = self_signed(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken, free_port() as port:
        smpp = {"port": port, "tls_port": taken.getsockname()[1]}
        with pytest.raises(OSError, match="address already in use"):
            async with door(tmp_path, tls_context=server_tls, **smpp):
                pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


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


async def test_the_answer_waits_for_the_commit(tmp_path: Path) -> None:
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


async def test_a_text_that_policy_forbids_is_refused(tmp_path: Path) -> None:
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
        assert {result.outcome for result in results} == {Outcome.OK}


async def test_submits_over_the_window_are_throttled(tmp_path: Path) -> None:
    async with door(tmp_path, window=2) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        client.send(*(numbered_as(submit_sm(), n) for n in range(2, 7)))
        answers = await numbered(client, 5)
        statuses = [answers[n].status for n in range(2, 7)]
        assert statuses == [OK, OK, *[int(CommandStatus.ESME_RTHROTTLED)] * 3]


async def test_submits_over_the_accounts_own_rate_are_throttled(tmp_path: Path) -> None:
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


# --- garbage, and a client that is not ours -----------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x04" * 8, b"\xff" * 64])
async def test_garbage_harms_nobody_else(tmp_path: Path, garbage: bytes) -> None:
    async with door(tmp_path) as one, one.client() as client:
        async with bare_client(one.ingress.port) as broken:
            broken.send(garbage)
            assert isinstance(await broken.receive(), GenericNack)
            assert await broken.receive() is None
        assert (await client.send())[0] == OK


async def test_a_broken_submit_sm_is_answered_and_the_bind_stays(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        await bind(client, one.login)
        client.send(b"\x00\x00\x00\x14\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x02abcd")
        answer = await client.receive()
        assert isinstance(answer, SubmitSmResp)
        assert answer.command_status != OK
        answer = await client.ask(numbered_as(submit_sm(), 3))
        assert isinstance(answer, SubmitSmResp)
        assert answer.command_status == OK


async def test_nothing_can_be_submitted_before_a_bind(tmp_path: Path) -> None:
    async with door(tmp_path) as one, bare_client(one.ingress.port) as client:
        answer = await client.ask(numbered_as(submit_sm(), 2))
        assert answer == SubmitSmResp(2, CommandStatus.ESME_RINVBNDSTS)


async def test_a_stop_answers_what_is_under_way_and_unbinds(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as client:
        submits = [client.esme.submit_nowait(submit_sm()) for _ in range(20)]
        await soon(submits[0])
        await one.ingress.stop(5)
        results = await soon(asyncio.gather(*submits))
        answered = [result for result in results if result.outcome is Outcome.OK]
        stored = await one.rig.store.read(lambda tx: tx.rows("SELECT count(*) FROM message"))
        assert stored == [(len(answered),)]
        assert {result.outcome for result in results} <= {Outcome.OK, Outcome.NOT_SENT, Outcome.UNKNOWN}


def smpplib_dialogue(port: int, login: Login) -> tuple[list[str], list[bytes]]:
    """(message ids, texts of receipts) as smpplib sees them, for one UCS-2 text that smpplib itself cuts."""
    ids: list[str] = []
    texts: list[bytes] = []
    client = smpplib.client.Client("127.0.0.1", port, timeout=5, allow_unknown_opt_params=True)
    client.connect()
    try:
        client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id.decode()))
        client.set_message_received_handler(lambda pdu: texts.append(pdu.short_message))
        client.bind_transceiver(system_id=login.system_id, password=login.password)
        parts, data_coding, esm_class = smpplib.gsm.make_parts("Grüße aus Łódź! " * 10)
        for part in parts:
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
                source_addr="Acme",
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                destination_addr="41791234567",
                short_message=part,
                data_coding=data_coding,
                esm_class=esm_class,
                registered_delivery=True,
            )
        while len(ids) < len(parts) or len(texts) < len(parts):
            client.read_once()
        client.unbind()
    finally:
        client.disconnect()
    return ids, texts


async def test_smpplib_sends_a_long_text_in_parts_and_gets_its_receipts(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        ids, texts = await soon(asyncio.to_thread(smpplib_dialogue, one.ingress.port, one.login))
        assert len(ids) == 3
        assert sorted(text.decode().partition(" ")[0] for text in texts) == sorted(f"id:{i}" for i in ids)
        assert all(b"stat:DELIVRD" in text for text in texts)
        assert await one.rig.balance("sms", one.login.account_id) == 97
        await one.until_kept(0)


def test_smpplib_is_told_why_it_cannot_bind(tmp_path: Path) -> None:
    async def run() -> None:
        async with door(tmp_path) as one:
            wrong = replace(one.login, password="wrong")
            with pytest.raises(smpplib.exceptions.PDUError) as raised:
                await asyncio.to_thread(smpplib_dialogue, one.ingress.port, wrong)
            assert raised.value.args[1] == CommandStatus.ESME_RINVPASWD

    asyncio.run(run())
