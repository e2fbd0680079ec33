"""Operators' SMSCs that misbehave, beside one that does not: outcomes as documented, the good one unhurt."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest

from config.kinds import Secret
from config.sections.limits import Limits
from config.sections.messages import Retry
from config.sections.upstreams import SmppUpstream
from gateway.upstreams.smpp_operator import UNKNOWN_MAX
from smpp.pdu import BindTransceiverResp, DeliverSm, EnquireLink, encode
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.faults.world import settings_for, world

GOOD = "+41791234567"
MUTE, LATE, CUTTING = "+882990000020", "+882990000021", "+882990000030"
_PATIENCE_S = 0.4
_HEADER = struct.Struct("!IIII")  # SMPP v3.4 section 3.2


def operator(port: int, *, response_s: float = _PATIENCE_S, window: int = 4) -> SmppUpstream:
    """The upstream for an SMSC on this port."""
    return SmppUpstream(
        host="127.0.0.1",
        port=port,
        system_id="sandbox",
        password=Secret("sandbox"),
        window=window,
        response_timeout_s=response_s,
        reconnect_min_s=0.05,
        reconnect_max_s=0.2,
    )


@asynccontextmanager
async def simulator(*, late_s: float = 60.0) -> AsyncIterator[Simulator]:
    """An SMSC that goes by magic numbers."""
    config = SimulatorConfig(
        smsc=SmscConfig(port=0, system_id="sandbox"), receipt_delay_s=0.02, late_response_s=late_s
    )
    one = Simulator(config)
    await one.start()
    try:
        yield one
    finally:
        await one.stop(0.1)


async def test_an_smsc_that_never_answers_leaves_the_outcome_unknown_and_the_others_their_pace(
    tmp_path: Path,
) -> None:
    async with simulator() as good, simulator() as mute:
        settings = settings_for(
            sms={"+882990*": operator(mute.port, response_s=60), "*": operator(good.port, response_s=60)},
            limits=Limits(queue_memory_messages=40),
        )
        async with world(tmp_path, settings) as here:
            stuck = await here.sms(MUTE, count=100)
            started_s = time.monotonic()
            passed = await here.sms(GOOD, count=100)
            assert {view.status for view in await here.settled(passed)} == {"delivered"}
            assert time.monotonic() - started_s < 10  # and not 60 s for each that hangs
            assert here.most_in_memory <= 40
            assert {(await here.view(one)).status for one in stuck} == {"queued"}


async def test_a_submit_sm_without_answer_is_unknown_and_tried_again(tmp_path: Path) -> None:
    async with simulator() as mute, world(tmp_path, settings_for(sms={"*": operator(mute.port)})) as here:
        (message_id,) = await here.sms(MUTE)
        await here.until_event(message_id, "message.unknown", times=2)
        kinds = await here.events(message_id)
        assert len(mute.messages()) in {kinds.count("message.unknown"), kinds.count("message.unknown") + 1}
        assert (await here.view(message_id)).status == "queued"
        # The link itself is in order.
        assert {one.status for one in await here.settled(await here.sms(GOOD, count=5))} == {"delivered"}


async def test_an_answer_that_comes_too_late_settles_what_was_unknown_before_the_next_try(
    tmp_path: Path,
) -> None:
    async with simulator(late_s=2 * _PATIENCE_S) as late:
        settings = settings_for(sms={"*": operator(late.port)})
        settings = replace(settings, sms=replace(settings.sms, retry=Retry(first_s=30, max_s=60)))
        async with world(tmp_path, settings) as here:
            (message_id,) = await here.sms(LATE)
            passed = await here.settled(await here.sms(GOOD, count=10))
            (view,) = await here.settled([message_id])
            assert {one.status for one in [view, *passed]} == {"delivered"}
            kinds = await here.events(message_id)
            assert kinds == ["message.unknown", "message.submitted", "message.delivered"]
            assert len(late.messages()) == 11, "each was submitted once"


async def test_an_sms_that_is_never_answered_fails_after_a_few_tries(tmp_path: Path) -> None:
    """Each of them may be a duplicate on the handset."""
    async with simulator() as mute, world(tmp_path, settings_for(sms={"*": operator(mute.port)})) as here:
        (message_id,) = await here.sms(MUTE)
        (view,) = await here.settled([message_id])
        assert view.status == "failed"
        assert len(mute.messages()) == UNKNOWN_MAX
        assert view.events[-1].detail == {
            "reason": "unknown",
            "reply": "no submit_sm_resp: no answer in time",
            "attempt": UNKNOWN_MAX,
        }


async def test_a_connection_cut_in_the_middle_of_a_pdu_is_unknown_and_bound_again(tmp_path: Path) -> None:
    """The message that makes the SMSC fall over steps back further with every time; the others pass."""
    async with simulator() as cutting:
        settings = settings_for(sms={"*": operator(cutting.port)})
        settings = replace(settings, sms=replace(settings.sms, retry=Retry(first_s=0.2, factor=8, max_s=60)))
        async with world(tmp_path, settings) as here:
            (message_id,) = await here.sms(CUTTING)
            await here.until_event(message_id, "message.unknown")
            passed = await here.sms(GOOD, count=10)
            await here.until_event(message_id, "message.unknown", times=2)
            assert {view.status for view in await here.settled(passed)} == {"delivered"}
            assert (await here.view(message_id)).status == "queued"


async def test_an_operator_that_accepts_and_never_answers_the_bind_costs_the_message_nothing(
    tmp_path: Path,
) -> None:
    silent = await asyncio.start_server(_swallow, "127.0.0.1", 0)
    async with silent, simulator() as good:
        port = silent.sockets[0].getsockname()[1]
        settings = settings_for(sms={"+882990*": operator(port), "*": operator(good.port)})
        async with world(tmp_path, settings) as here:
            (waiting,) = await here.sms(MUTE)
            passed = await here.settled(await here.sms(GOOD, count=50))
            assert {view.status for view in passed} == {"delivered"}
            view = await here.view(waiting)
            assert view.status == "queued"
            assert await here.events(waiting) == [], "no attempt was made"


async def _swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    writer.close()


class Flood:
    """An SMSC that lets an ESME bind and then writes requests without end, and reads nothing (or all)."""

    def __init__(self, *, reads: bool) -> None:
        self.reads = reads
        self.sent = 0
        self.answered = 0
        self.stalled = asyncio.Event()
        """Set when the other side takes nothing more."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            length, _, _, sequence = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            await reader.readexactly(length - _HEADER.size)
            writer.write(encode(BindTransceiverResp(sequence, 0, "flood")))
            swallowing = asyncio.create_task(self._read(reader)) if self.reads else None
            try:
                await self._flood(writer)
            finally:
                if swallowing is not None:
                    swallowing.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while octets := await reader.read(65536):
            self.answered += len(octets)

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        for octets in cycle(_requests()):
            writer.write(octets)
            try:
                async with asyncio.timeout(1.0):
                    await writer.drain()
            except TimeoutError:
                self.stalled.set()
                await writer.drain()
            self.sent += len(octets)


@cache
def _requests() -> Sequence[bytes]:
    """Octets to write, one after the other; made once, since the other side shall be the one that is slow."""
    return [
        b"".join(
            encode(EnquireLink(sequence_number=one)) + encode(_mobile_originated(one + 1))
            for one in range(number, number + 200, 2)
        )
        for number in range(1, 10_000, 200)
    ]


def _mobile_originated(number: int) -> DeliverSm:
    return DeliverSm(sequence_number=number, source_addr="1", destination_addr="2", short_message=b"MO")


async def test_an_smsc_that_floods_and_is_answered_leaves_the_others_their_pace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flood = Flood(reads=True)
    server = await asyncio.start_server(flood.serve, "127.0.0.1", 0)
    async with server, simulator() as good:
        settings = settings_for(
            sms={"+882990*": operator(server.sockets[0].getsockname()[1]), "*": operator(good.port)}
        )
        async with world(tmp_path, settings) as here:
            await here.until(lambda: flood.answered > 10_000)
            passed = await here.settled(await here.sms(GOOD, count=50), within_s=20)
            assert {view.status for view in passed} == {"delivered"}
            assert flood.sent > 100_000, "it did flood"
    assert capsys.readouterr().out.count("mobile_originated_refused") == 1, "the log is not flooded"


async def test_an_smsc_that_floods_and_reads_nothing_is_not_read_any_more(tmp_path: Path) -> None:
    flood = Flood(reads=False)
    listening = socket.create_server(("127.0.0.1", 0))
    # The less it takes in, the less of its answers our own side's buffer is allowed to grow to.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 13)
    server = await asyncio.start_server(flood.serve, sock=listening)
    async with server, simulator() as good:
        settings = settings_for(
            sms={"+882990*": operator(server.sockets[0].getsockname()[1]), "*": operator(good.port)}
        )
        async with world(tmp_path, settings) as here:
            async with asyncio.timeout(60):
                await flood.stalled.wait()
            passed = await here.settled(await here.sms(GOOD, count=50))
            assert {view.status for view in passed} == {"delivered"}
            # What fits into the two sockets' buffers, and no more.
            assert flood.sent < 50_000_000
