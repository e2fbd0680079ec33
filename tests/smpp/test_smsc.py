"""Our SMSC over real sockets: smpplib as an independent client, and bare clients that misbehave."""

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import smpplib.client
import smpplib.consts

from gateway.peers import Networks
from smpp.constants import CommandStatus, MessageState
from smpp.door import PlainDoor
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Pdu,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    Response,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
)
from smpp.receipt import Receipt, deliver_sm, parse
from smpp.smsc import Bound, SmscConfig, SmscServer
from tests.doors.support import make_door
from tests.doors.test_proxy_header import IPV4
from tests.smpp.servers import (
    BareClient,
    FakeApplication,
    RequestOutcome,
    bare_client,
    connected,
    serving,
    soon,
)

BIND = BindTransceiver(1, "esme", "secret")


async def bind(client: BareClient) -> None:
    answer = await client.ask(BIND)
    assert isinstance(answer, BindTransceiverResp)
    assert (answer.command_status, answer.system_id) == (0, "gateway")


@contextmanager
def smpplib_client(port: int) -> Iterator[smpplib.client.Client]:
    client = smpplib.client.Client("127.0.0.1", port, timeout=5, allow_unknown_opt_params=True)
    client.connect()
    try:
        yield client
    finally:
        client.disconnect()


def smpplib_dialogue(port: int) -> tuple[bytes, int, bytes]:
    """(message_id, status of an enquire_link, short_message of the receipt), as smpplib sees them."""
    ids: list[bytes] = []
    texts: list[bytes] = []

    def on_receipt(pdu: object) -> int:
        texts.append(pdu.short_message)  # type: ignore[attr-defined]  # a deliver_sm
        return 0

    with smpplib_client(port) as client:
        client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id))
        client.set_message_received_handler(on_receipt)
        client.bind_transceiver(system_id="esme", password="secret")
        client.send_message(
            source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
            source_addr="Gateway",
            dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
            destination_addr="351912345678",
            short_message=b"hello",
            registered_delivery=True,
        )
        while not (ids and texts):
            client.read_once()
        client.unbind()
    return ids[0], 0, texts[0]


async def test_smpplib_binds_submits_and_gets_its_receipt() -> None:
    application = FakeApplication()
    async with serving(application) as server:
        dialogue = asyncio.create_task(asyncio.to_thread(smpplib_dialogue, server.port))
        bound = await soon(application.binds.get())
        submit = await soon(application.submits.get())
        assert (submit.source_addr, submit.destination_addr) == ("Gateway", "351912345678")
        assert (submit.payload, submit.registered_delivery) == (b"hello", 1)
        receipt = Receipt(message_id="id-351912345678", state=MessageState.DELIVERED)
        assert (await soon(bound.deliver(deliver_sm(receipt, submit)))).outcome is RequestOutcome.OK
        message_id, _, text = await soon(dialogue)
        assert message_id == b"id-351912345678"
        assert text.startswith(b"id:id-351912345678 sub:001 dlvrd:001")


@pytest.mark.parametrize(("system_id", "password"), [("esme", "wrong"), ("esme", "")])
async def test_wrong_password_is_refused(system_id: str, password: str) -> None:
    async with serving(FakeApplication()) as server, bare_client(server.port) as client:
        answer = await client.ask(BindTransceiver(1, system_id, password))
        assert answer == BindTransceiverResp(1, CommandStatus.ESME_RINVPASWD)
        await bind(client)


async def test_bind_guessing_ends_after_three_tries() -> None:
    async with serving(FakeApplication()) as server, bare_client(server.port) as client:
        for _ in range(3):
            await client.ask(BindTransceiver(1, "esme", "guess"))
        assert await client.receive() is None


async def test_client_that_never_binds_is_dropped() -> None:
    async with serving(FakeApplication(), session_init_s=0.05) as server, bare_client(server.port) as client:
        assert await client.receive() is None


async def test_answers_of_one_client_may_come_in_any_order() -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def verdict(submit_sm: SubmitSm) -> tuple[int, str]:
        await (first if submit_sm.destination_addr == "1" else second).wait()
        return 0, f"id-{submit_sm.destination_addr}"

    async with serving(FakeApplication(verdict)) as server, bare_client(server.port) as client:
        await bind(client)
        client.send(SubmitSm(2, destination_addr="1"), SubmitSm(3, destination_addr="2"))
        second.set()
        assert await client.receive() == SubmitSmResp(3, 0, "id-2")
        first.set()
        assert await client.receive() == SubmitSmResp(2, 0, "id-1")


async def test_submits_over_the_window_are_throttled_and_enquire_link_is_still_answered() -> None:
    gate = asyncio.Event()

    async def verdict(submit_sm: SubmitSm) -> tuple[int, str]:
        await gate.wait()
        return 0, "id"

    async with (
        serving(FakeApplication(verdict), submit_window=2) as server,
        bare_client(server.port) as client,
    ):
        await bind(client)
        client.send(SubmitSm(2), SubmitSm(3), SubmitSm(4), EnquireLink(5))
        answers = [await client.receive(), await client.receive()]
        assert EnquireLinkResp(5) in answers
        assert SubmitSmResp(4, CommandStatus.ESME_RTHROTTLED) in answers
        gate.set()
        assert {pdu.sequence_number for pdu in [await client.receive(), await client.receive()] if pdu} == {
            2,
            3,
        }


async def test_application_that_fails_is_a_system_error_and_is_told_to_the_loop() -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    async def verdict(submit_sm: SubmitSm) -> tuple[int, str]:
        raise RuntimeError("no store")

    async with serving(FakeApplication(verdict)) as server, bare_client(server.port) as client:
        await bind(client)
        assert await client.ask(SubmitSm(2)) == SubmitSmResp(2, CommandStatus.ESME_RSYSERR)
        assert await client.ask(EnquireLink(3)) == EnquireLinkResp(3)
    assert [str(context["exception"]) for context in told] == ["no store"]


async def test_id_that_does_not_fit_is_a_system_error_and_not_a_crash() -> None:
    async def verdict(submit_sm: SubmitSm) -> tuple[int, str]:
        return 0, "x" * 65

    async with serving(FakeApplication(verdict)) as server, bare_client(server.port) as client:
        await bind(client)
        assert await client.ask(SubmitSm(2)) == SubmitSmResp(2, CommandStatus.ESME_RSYSERR)


@pytest.mark.parametrize(
    ("request_pdu", "answer"),
    [
        (QuerySm(2, "x"), QuerySmResp(2, CommandStatus.ESME_RQUERYFAIL)),
        (CancelSm(2), CancelSmResp(2, CommandStatus.ESME_RCANCELFAIL)),
        (ReplaceSm(2), ReplaceSmResp(2, CommandStatus.ESME_RREPLACEFAIL)),
        (SubmitMulti(2, b"\0"), SubmitMultiResp(2, CommandStatus.ESME_RINVCMDID)),
        (DataSm(2, destination_addr="7", tlvs=((0x424, b"hi"),)), DataSmResp(2, 0, "id-7")),
        (DeliverSm(2), DeliverSmResp(2, CommandStatus.ESME_RINVCMDID)),
        (struct.pack(">IIII", 16, 0x111, 0, 2), GenericNack(2, CommandStatus.ESME_RINVCMDID)),
        (struct.pack(">IIII", 18, 4, 0, 2) + b"ab", SubmitSmResp(2, CommandStatus.ESME_RINVCMDLEN)),
    ],
)
async def test_whatever_is_asked_is_answered_and_the_link_lives(
    request_pdu: Pdu | bytes, answer: Response
) -> None:
    async with serving(FakeApplication()) as server, bare_client(server.port) as client:
        await bind(client)
        assert await client.ask(request_pdu) == answer
        assert await client.ask(EnquireLink(9)) == EnquireLinkResp(9)


async def test_data_sm_reaches_the_application_as_a_submit_sm() -> None:
    application = FakeApplication()
    async with serving(application) as server, bare_client(server.port) as client:
        await bind(client)
        await client.ask(
            DataSm(2, source_addr="a", destination_addr="7", data_coding=8, tlvs=((0x424, b"hi"),))
        )
        submit = await soon(application.submits.get())
        assert (submit.source_addr, submit.data_coding, submit.payload) == ("a", 8, b"hi")


async def test_wrong_command_length_is_nacked_and_ends_only_this_link() -> None:
    async with (
        serving(FakeApplication()) as server,
        bare_client(server.port) as bad,
        bare_client(server.port) as good,
    ):
        await bind(bad)
        await bind(good)
        assert await bad.ask(struct.pack(">IIII", 0x7FFFFFFF, 4, 0, 2)) == GenericNack(
            2, CommandStatus.ESME_RINVCMDLEN
        )
        assert await bad.receive() is None
        assert await good.ask(EnquireLink(9)) == EnquireLinkResp(9)


async def test_client_that_sends_nothing_but_broken_pdus_is_ended_and_a_good_one_forgives_them() -> None:
    broken = struct.pack(">IIII", 16, 0xFF, 0, 7)
    async with serving(FakeApplication(), max_faults=5) as server, bare_client(server.port) as client:
        await bind(client)
        for _ in range(3):
            client.send(broken * 4)
            for _ in range(4):
                assert isinstance(await client.receive(), GenericNack)
            assert isinstance(await client.ask(QuerySm(9)), QuerySmResp)
        client.send(broken * 5)
        for _ in range(5):
            assert isinstance(await client.receive(), GenericNack)
        assert isinstance(await client.receive(), Unbind)


async def test_flood_of_one_client_leaves_turns_to_the_others_and_is_answered_in_order() -> None:
    async with (
        serving(FakeApplication()) as server,
        bare_client(server.port) as flood,
        bare_client(server.port) as other,
    ):
        flood.send(*(EnquireLink(number) for number in range(1, 50_001)))
        assert await other.ask(EnquireLink(9)) == EnquireLinkResp(9)
        for number in range(1, 50_001):
            assert await flood.receive() == EnquireLinkResp(number)


async def test_client_unbinds_and_the_application_is_told_once() -> None:
    application = FakeApplication()
    async with serving(application) as server, bare_client(server.port) as client:
        await bind(client)
        assert await client.ask(Unbind(2)) == UnbindResp(2)
        assert await client.receive() is None
        bound, reason = await soon(application.ends.get())
        assert (bound.context, reason) == ("esme", "unbound by the peer")
        assert not bound.can_receive
        assert (await soon(bound.deliver(DeliverSm()))).outcome is RequestOutcome.NOT_SENT
    assert application.ends.empty()


async def test_client_that_vanishes_in_the_middle_of_a_submit_is_unbound_once() -> None:
    gate = asyncio.Event()

    async def verdict(submit_sm: SubmitSm) -> tuple[int, str]:
        await gate.wait()
        return 0, "id"

    application = FakeApplication(verdict)
    async with serving(application) as server:
        async with bare_client(server.port) as client:
            await bind(client)
            client.send(SubmitSm(2))
            await soon(application.submits.get())
        await soon(application.ends.get())
        gate.set()
    assert application.ends.empty()
    assert server.connections == 0


async def test_deliver_goes_only_to_a_bind_that_receives() -> None:
    application = FakeApplication()
    async with serving(application) as server, bare_client(server.port) as client:
        client.send(BindReceiver(1, "esme", "secret"))
        await client.receive()
        bound = await soon(application.binds.get())
        answer = bound.deliver(DeliverSm(short_message=b"MO"))
        request = await client.receive()
        assert isinstance(request, DeliverSm)
        assert not answer.done()
        client.send(DeliverSmResp(request.sequence_number, CommandStatus.ESME_RX_P_APPN))
        result = await soon(answer)
        assert result.outcome is RequestOutcome.REFUSED
        assert result.command_status == CommandStatus.ESME_RX_P_APPN
        assert await client.ask(SubmitSm(2)) == SubmitSmResp(2, CommandStatus.ESME_RINVBNDSTS)


async def test_receipts_wait_for_the_deliver_window_of_the_client() -> None:
    application = FakeApplication()
    async with (
        serving(application, deliver_window=2, deliver_queue=1) as server,
        bare_client(server.port) as client,
    ):
        await bind(client)
        bound = await soon(application.binds.get())
        answers = [bound.deliver(DeliverSm()) for _ in range(4)]
        assert (await soon(answers[3])).outcome is RequestOutcome.NOT_SENT
        for _ in range(3):
            request = await client.receive()
            assert isinstance(request, DeliverSm)
            client.send(DeliverSmResp(request.sequence_number))
        assert [(await soon(answer)).outcome for answer in answers[:3]] == [RequestOutcome.OK] * 3


async def test_too_many_connections_are_told_and_closed() -> None:
    async with (
        serving(FakeApplication(), PlainDoor(most=1)) as server,
        bare_client(server.port) as first,
    ):
        await bind(first)
        async with bare_client(server.port) as second:
            assert await second.receive() == GenericNack(0, CommandStatus.ESME_RTHROTTLED)
            assert await second.receive() is None
        assert server.connections == 1
        assert await first.ask(EnquireLink(2)) == EnquireLinkResp(2)


async def test_the_peer_of_a_bind_is_whom_the_proxy_names() -> None:
    application = FakeApplication()
    door = make_door("smpp", proxies=Networks(["127.0.0.0/8"]), proxy_protocol=True)
    async with serving(application, door) as server, bare_client(server.port) as client:
        client.send(IPV4)
        await bind(client)
        assert (await soon(application.binds.get())).peer == "198.51.100.7"


async def test_client_that_does_not_read_is_not_read_either() -> None:
    application = FakeApplication()
    async with serving(application) as server, bare_client(server.port) as client:
        await bind(client)
        bound = await soon(application.binds.get())
        transport = bound._link.transport
        assert transport is not None
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport has it
        flood = b"".join([b"\0\0\0\x10\0\0\0\x15\0\0\0\0\0\0\0\x07"] * 4096)
        async with asyncio.timeout(20):
            while transport.is_reading():
                client.writer.write(flood)
                await asyncio.sleep(0)
        assert transport.get_write_buffer_size() < 1 << 20
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # a socket transport has it
        async with asyncio.timeout(20):
            while not transport.is_reading():
                assert await client.receive() == EnquireLinkResp(7)


async def test_stop_answers_what_is_in_flight_then_unbinds() -> None:
    gate = asyncio.Event()

    async def verdict(submit_sm: SubmitSm) -> tuple[int, str]:
        await gate.wait()
        return 0, "id"

    application = FakeApplication(verdict)
    server = SmscServer(application, SmscConfig(port=0))
    await server.start()
    async with bare_client(server.port) as client:
        await bind(client)
        client.send(SubmitSm(2))
        await soon(application.submits.get())
        stopping = asyncio.create_task(server.stop(5))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", server.port)
        gate.set()
        assert await client.receive() == SubmitSmResp(2, 0, "id")
        unbind = await client.receive()
        assert isinstance(unbind, Unbind)
        client.send(UnbindResp(unbind.sequence_number))
        await soon(stopping)
    assert server.connections == 0


async def test_stop_drops_a_client_that_does_not_unbind() -> None:
    application = FakeApplication()
    async with serving(application) as server, bare_client(server.port) as client:
        await bind(client)
        await soon(server.stop(0.05))
        assert server.connections == 0


async def test_port_that_is_taken_raises_os_error() -> None:
    async with serving(FakeApplication()) as server:
        with pytest.raises(OSError, match="in use"):
            await SmscServer(FakeApplication(), SmscConfig(port=server.port)).start()


async def test_application_can_take_a_bind_back() -> None:
    application = FakeApplication()
    async with serving(application) as server, connected(server.port) as esme:
        bound: Bound = await soon(application.binds.get())
        assert bound.in_flight == 0
        bound.close()
        await soon(application.ends.get())
        assert esme.reason in {"unbound by the peer", "bound"}


async def test_receipt_reaches_our_own_esme() -> None:
    received: asyncio.Queue[Receipt | None] = asyncio.Queue()

    async def on_deliver(pdu: DeliverSm | DataSm) -> CommandStatus:
        received.put_nowait(parse(pdu))
        return CommandStatus.ESME_ROK

    application = FakeApplication()
    async with serving(application) as server, connected(server.port, on_deliver) as esme:
        result = await soon(esme.submit(SubmitSm(destination_addr="7", source_addr="a")))
        bound, submit = await soon(application.binds.get()), await soon(application.submits.get())
        await soon(bound.deliver(deliver_sm(Receipt(message_id=result.message_id), submit)))
        receipt = await soon(received.get())
        assert receipt is not None
        assert receipt.message_id == "id-7"
