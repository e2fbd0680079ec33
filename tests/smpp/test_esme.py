"""Our ESME over real sockets, against our SMSC and against peers that misbehave."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from smpp.constants import CommandStatus
from smpp.esme import BindMode, RequestOutcome, SubmitResult
from smpp.pdu import BindTransceiverResp, DataSm, DeliverSm, Pdu, Response, SubmitSm, encode
from tests.smpp.certificate import self_signed
from tests.smpp.servers import FakeApplication, States, connected, serving, soon


def to(destination: str, **fields: object) -> SubmitSm:
    return SubmitSm(destination_addr=destination, short_message=b"hello", **fields)  # type: ignore[arg-type]  # keywords of the test's own choice


class Gate:
    """A verdict that waits until the test opens it."""

    def __init__(self, status: int = 0) -> None:
        self.open = asyncio.Event()
        self.status = status

    async def __call__(self, submit_sm: SubmitSm) -> tuple[int, str]:
        await self.open.wait()
        return self.status, f"id-{submit_sm.destination_addr}"


class Verdicts:
    """Answers with these statuses in turn, then ESME_ROK."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

    async def __call__(self, submit_sm: SubmitSm) -> tuple[int, str]:
        return (self.statuses.pop(0) if self.statuses else 0), "id"


@pytest.mark.parametrize("mode", BindMode)
async def test_each_bind_mode_binds(mode: BindMode) -> None:
    application = FakeApplication()
    async with serving(application) as server, connected(server.port, bind_mode=mode) as esme:
        bound = await soon(application.binds.get())
        assert (bound.mode, bound.system_id, bound.peer) == (mode, "esme", "127.0.0.1")
        assert esme.bound


async def test_submit_gives_the_message_id() -> None:
    async with serving(FakeApplication()) as server, connected(server.port) as esme:
        assert await soon(esme.submit(to("351"))) == SubmitResult(RequestOutcome.OK, 0, "id-351")


async def test_many_submits_are_in_flight_at_once_but_never_over_the_window() -> None:
    gate = Gate()
    application = FakeApplication(gate)
    async with serving(application) as server, connected(server.port, window=8) as esme:
        results = [esme.submit_nowait(to(str(i))) for i in range(20)]
        for _ in range(8):
            await soon(application.submits.get())
        assert (esme.outstanding, esme.waiting) == (8, 12)
        assert application.submits.empty()
        gate.open.set()
        assert [(await soon(r)).message_id for r in results] == [f"id-{i}" for i in range(20)]


class CountingTransport:
    """Passes everything on and counts the writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self.transport, name)


async def test_submits_of_one_tick_leave_in_one_write() -> None:
    async with serving(FakeApplication()) as server, connected(server.port) as esme:
        assert esme._link is not None
        assert esme._link.transport is not None
        transport = CountingTransport(esme._link.transport)
        esme._link._transport = transport  # type: ignore[assignment]  # stands in for the real one
        results = [esme.submit_nowait(to(str(i))) for i in range(50)]
        for result in results:
            assert (await soon(result)).outcome is RequestOutcome.OK
        assert transport.writes == 1


async def test_refusal_carries_its_command_status() -> None:
    application = FakeApplication(Verdicts(CommandStatus.ESME_RINVDSTADR))
    async with serving(application) as server, connected(server.port) as esme:
        result = await soon(esme.submit(to("1")))
        assert result.outcome is RequestOutcome.REFUSED
        assert result.command_status == CommandStatus.ESME_RINVDSTADR
        assert result.detail == "ESME_RINVDSTADR"


async def test_pdu_that_does_not_encode_is_refused_and_the_link_lives() -> None:
    async with serving(FakeApplication()) as server, connected(server.port) as esme:
        result = await soon(esme.submit(to("1" * 30)))
        assert result.outcome is RequestOutcome.REFUSED
        assert result.command_status == CommandStatus.ESME_RINVDSTADR
        assert (await soon(esme.submit(to("1")))).outcome is RequestOutcome.OK


@pytest.mark.parametrize(
    "status",
    [
        CommandStatus.ESME_RTHROTTLED,
        CommandStatus.ESME_RMSGQFUL,
        CommandStatus.ESME_RSYSERR,
        CommandStatus.ESME_RX_T_APPN,
    ],
)
async def test_throttling_of_two_in_a_row_rests_the_whole_link(status: CommandStatus) -> None:
    application = FakeApplication(Verdicts(status, status))
    async with serving(application) as server, connected(server.port, throttle_initial_s=600.0) as esme:
        for number in range(2):
            result = await soon(esme.submit(to(str(number))))
            assert (result.outcome, result.command_status) == (RequestOutcome.THROTTLED, status)
        assert esme.throttled == 2
        assert esme.probing
        esme.submit_nowait(to("2"))
        for _ in range(20):  # turns of the loop; without the pause, the submit leaves in the first
            await asyncio.sleep(0)
        assert (esme.outstanding, esme.waiting) == (0, 1)


async def test_the_rest_of_throttling_ends() -> None:
    application = FakeApplication(Verdicts(*[CommandStatus.ESME_RTHROTTLED] * 2))
    async with serving(application) as server, connected(server.port, throttle_initial_s=0.02) as esme:
        assert (await soon(esme.submit(to("0")))).outcome is RequestOutcome.THROTTLED
        assert (await soon(esme.submit(to("1")))).outcome is RequestOutcome.THROTTLED
        assert (await soon(esme.submit(to("2")))).outcome is RequestOutcome.OK


async def test_rate_is_kept() -> None:
    loop = asyncio.get_running_loop()
    async with serving(FakeApplication()) as server, connected(server.port, rate_per_s=100) as esme:
        start = loop.time()
        await soon(asyncio.gather(*(esme.submit(to(str(i))) for i in range(20))))
        assert loop.time() - start >= 0.08


async def test_no_answer_in_time_is_unknown_and_a_late_one_is_told() -> None:
    gate = Gate()
    late: asyncio.Queue[tuple[Pdu, Response]] = asyncio.Queue()

    def on_late(request: Pdu, response: Response, _told: object) -> None:
        late.put_nowait((request, response))

    async with (
        serving(FakeApplication(gate)) as server,
        connected(server.port, response_timeout_s=0.05, on_late=on_late) as esme,
    ):
        assert (await soon(esme.submit(to("1")))).outcome is RequestOutcome.UNKNOWN
        assert esme.bound
        gate.open.set()
        request, response = await soon(late.get())
        assert request == to("1")
        assert response.message_id == "id-1"  # type: ignore[attr-defined]  # a submit_sm_resp


async def test_lost_link_makes_what_was_written_unknown_and_the_rest_not_sent() -> None:
    application = FakeApplication(Gate())
    async with serving(application) as server, connected(server.port, window=1) as esme:
        written, queued = esme.submit_nowait(to("1")), esme.submit_nowait(to("2"))
        await soon(application.submits.get())
        (await soon(application.binds.get())).abort()
        assert (await soon(written)).outcome is RequestOutcome.UNKNOWN
        assert (await soon(queued)).outcome is RequestOutcome.NOT_SENT


async def test_what_is_no_longer_ours_is_not_submitted_not_even_from_the_link_s_queue() -> None:
    """`may_send` is asked right before each submit: after a pause the rest of the queue stays here."""
    gate, ours = Gate(), [True]
    application = FakeApplication(gate)
    async with (
        serving(application) as server,
        connected(server.port, window=2, may_send=lambda: ours[0]) as esme,
    ):
        results = [esme.submit_nowait(to(str(i))) for i in range(5)]
        for _ in range(2):
            await soon(application.submits.get())
        ours[0] = False
        gate.open.set()
        outcomes = [(await soon(result)).outcome for result in results]
        assert outcomes == [RequestOutcome.OK] * 2 + [RequestOutcome.NOT_SENT] * 3
        assert application.submits.empty()
        ours[0] = True
        assert (await soon(esme.submit(to("6")))).outcome is RequestOutcome.OK


async def test_without_a_link_nothing_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    states = States()
    async with connected(port, states=states, wait=False) as esme:
        assert "cannot connect" in await states.wait_for(bound=False)
        result = await soon(esme.submit(to("1")))
        assert result.outcome is RequestOutcome.NOT_SENT
        assert "cannot connect" in result.detail


async def test_lost_link_is_bound_again() -> None:
    application, states = FakeApplication(), States()
    async with serving(application) as server, connected(server.port, states=states) as esme:
        for _ in range(3):
            (await soon(application.binds.get())).abort()
            await states.wait_for(bound=False)
            await states.wait_for(bound=True)
        assert (await soon(esme.submit(to("1")))).outcome is RequestOutcome.OK


async def test_upstream_unbind_is_answered_and_the_link_bound_again() -> None:
    application, states = FakeApplication(), States()
    async with serving(application) as server, connected(server.port, states=states):
        (await soon(application.binds.get())).close()
        assert await states.wait_for(bound=False) == "unbound by the peer"
        await states.wait_for(bound=True)
        assert (await soon(application.ends.get()))[1] == "unbound"


async def test_refused_bind_is_told_and_tried_again() -> None:
    application, states = FakeApplication(), States()
    application.refuse_with = CommandStatus.ESME_RINVPASWD
    async with serving(application) as server, connected(server.port, states=states, wait=False) as esme:
        for _ in range(2):
            assert await states.wait_for(bound=False) == "bind refused: ESME_RINVPASWD"
        application.refuse_with = None
        await states.wait_for(bound=True)
        assert esme.bound


async def test_bind_that_does_not_encode_is_told() -> None:
    states = States()
    async with (
        serving(FakeApplication()) as server,
        connected(server.port, states=states, wait=False, password="far too long"),
    ):
        assert "password takes at most 8 octets" in await states.wait_for(bound=False)


async def test_deliver_sm_is_answered_only_when_the_application_has_it() -> None:
    application, gate = FakeApplication(), asyncio.Event()
    got: asyncio.Queue[DeliverSm | DataSm] = asyncio.Queue()

    async def on_deliver(pdu: DeliverSm | DataSm) -> CommandStatus:
        got.put_nowait(pdu)
        await gate.wait()
        return CommandStatus.ESME_ROK

    async with serving(application) as server, connected(server.port, on_deliver):
        bound = await soon(application.binds.get())
        answers = [bound.deliver(DeliverSm(short_message=b"%d" % i)) for i in range(5)]
        answers.append(bound.deliver(DataSm(tlvs=((0x424, b"x"),))))
        for _ in answers:
            await soon(got.get())
        assert bound.outstanding == 6
        assert not any(answer.done() for answer in answers)
        gate.set()
        for answer in answers:
            assert (await soon(answer)).outcome is RequestOutcome.OK


async def test_application_that_fails_or_is_full_asks_the_smsc_to_try_again() -> None:
    application, gate = FakeApplication(), asyncio.Event()

    async def on_deliver(pdu: DeliverSm | DataSm) -> CommandStatus:
        await gate.wait()
        raise RuntimeError("the store is away")

    async with serving(application) as server, connected(server.port, on_deliver, deliver_window=1):
        bound = await soon(application.binds.get())
        first, second = bound.deliver(DeliverSm()), bound.deliver(DeliverSm())
        assert (await soon(second)).command_status == CommandStatus.ESME_RX_T_APPN
        gate.set()
        assert (await soon(first)).command_status == CommandStatus.ESME_RX_T_APPN


async def test_unbind_and_close_waits_for_what_is_in_flight() -> None:
    gate = Gate()
    application = FakeApplication(gate)
    async with serving(application) as server, connected(server.port, window=1) as esme:
        written, queued = esme.submit_nowait(to("1")), esme.submit_nowait(to("2"))
        await soon(application.submits.get())
        closing = asyncio.create_task(esme.unbind_and_close(5))
        assert (await soon(queued)).outcome is RequestOutcome.NOT_SENT
        gate.open.set()
        assert (await soon(written)).outcome is RequestOutcome.OK
        await soon(closing)
        assert not esme.bound
        assert (await soon(application.ends.get()))[1] == "unbound by the peer"


async def test_unbind_and_close_gives_up_at_its_limit() -> None:
    application = FakeApplication(Gate())
    async with (
        serving(application, drain_s=0.05) as server,
        connected(server.port, response_timeout_s=1) as esme,
    ):
        written = esme.submit_nowait(to("1"))
        await soon(application.submits.get())
        await soon(esme.unbind_and_close(0.05))
        assert (await soon(written)).outcome is RequestOutcome.UNKNOWN


async def test_full_queue_and_long_wait_are_not_sent() -> None:
    application = FakeApplication(Gate())
    async with (
        serving(application) as server,
        connected(server.port, window=1, queue_limit=1, wait_s=0.05) as esme,
    ):
        esme.submit_nowait(to("1"))
        patient, over = esme.submit_nowait(to("2")), esme.submit_nowait(to("3"))
        assert (await soon(over)).detail == "too many requests are waiting"
        result = await soon(patient)
        assert (result.outcome, result.detail) == (RequestOutcome.NOT_SENT, "waited too long for its turn")


async def test_cancelled_submit_that_waits_is_never_sent() -> None:
    gate = Gate()
    application = FakeApplication(gate)
    async with serving(application) as server, connected(server.port, window=1) as esme:
        first, waiting, last = (esme.submit_nowait(to(number)) for number in "123")
        await soon(application.submits.get())
        waiting.cancel()
        gate.open.set()
        await soon(asyncio.gather(first, last))
        assert (await soon(application.submits.get())).destination_addr == "3"


async def test_nothing_is_written_while_the_transport_is_full() -> None:
    application = FakeApplication()
    async with serving(application) as server, connected(server.port) as esme:
        assert esme._link is not None
        esme._link.pause_writing()
        result = esme.submit_nowait(to("1"))
        assert (esme.waiting, esme.outstanding) == (1, 0)
        esme._link.resume_writing()
        assert (await soon(result)).outcome is RequestOutcome.OK


async def test_bind_over_tls(tmp_path: Path) -> None:
    server_context, client_context = self_signed(tmp_path)
    application = FakeApplication()
    async with (
        serving(application, tls=server_context) as server,
        connected(server.port, tls=client_context) as esme,
    ):
        assert (await soon(esme.submit(to("1")))).outcome is RequestOutcome.OK


async def test_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    server_context, _ = self_signed(tmp_path)
    states = States()
    async with (
        serving(FakeApplication(), tls=server_context) as server,
        connected(server.port, states=states, wait=False, tls=ssl.create_default_context()),
    ):
        assert "certificate verify failed" in await states.wait_for(bound=False)


@pytest.mark.parametrize("octets", [b"\0\0\0\x01garbage-and-more", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_peer_that_speaks_something_else_is_left_and_tried_again(octets: bytes) -> None:
    tries: asyncio.Queue[None] = asyncio.Queue()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.put_nowait(None)
        writer.write(octets)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    states = States()
    async with server, connected(server.sockets[0].getsockname()[1], states=states, wait=False):
        assert "command_length" in await states.wait_for(bound=False)
        for _ in range(2):
            await soon(tries.get())


async def test_peer_that_never_answers_the_bind_is_left() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    states = States()
    port = server.sockets[0].getsockname()[1]
    async with server, connected(port, states=states, wait=False, bind_timeout_s=0.05):
        assert await states.wait_for(bound=False) == "no bind in time"


async def test_dead_link_is_found_by_enquire_link() -> None:
    """The peer binds, then says nothing more."""

    async def bind_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(16)
        writer.write(encode(BindTransceiverResp(1, 0, "smsc")))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(bind_only, "127.0.0.1", 0)
    states = States()
    port = server.sockets[0].getsockname()[1]
    async with server, connected(port, states=states, enquire_link_s=0.05, response_timeout_s=0.05):
        assert await states.wait_for(bound=False) == "enquire_link was not answered in time"
