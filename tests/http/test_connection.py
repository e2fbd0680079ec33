"""One connection: order, cuts, bodies, what closes it and what keeps it open; by octets, RFC 9112 beside."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.http.wire import connection as connection_module
from gateway.http.wire import server as server_module
from gateway.http.wire.answer import Beginnings, octets
from gateway.http.wire.call import Call, Reply
from gateway.http.wire.connection import Connection
from tests.fuzz.loop import MemoryTransport
from tests.http.world import SMS, World, make_settings, world

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
JSON = b"Content-Type: application/json"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
NOWHERE = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(api: World, body: bytes | None = None, *fields: bytes, path: bytes = b"/v1/sms") -> bytes:
    """A submission with its length; with None only its header, without one."""
    head = [
        b"POST %b HTTP/1.1" % path,
        b"Host: x",
        b"Authorization: Bearer " + api.key.encode(),
        JSON,
        *fields,
    ]
    if body is not None:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", b""]) + (body or b"")


def statuses(answer: bytes) -> list[int]:
    """Of all answers, in order."""
    return [int(status) for status in _STATUS.findall(answer)]


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: status and whole text, by its Content-Length."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            body = await self.reader.readexactly(int(length[1])) if length else b""
        return statuses(head)[0], head + body

    async def drip(self) -> None:
        """Sends octet after octet, until that raises."""
        async with asyncio.timeout(5):
            while True:
                await self.send(b"x")
                await asyncio.sleep(0.01)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(5):
            return await self.reader.read()


@asynccontextmanager
async def client(api: World) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time that a test can wait for."""
    monkeypatch.setattr(server_module, "_TICK_S", 0.02)
    monkeypatch.setattr(connection_module, "_LINGER_S", 0.1)
    monkeypatch.setattr(connection_module, "_KEEP_ALIVE_S", 0.1)


class Gate:
    """Acceptance that waits until a test lets it go on."""

    def __init__(self, api: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        accept = api.road.acceptor.accept

        async def slow(*args: Any, **kwargs: Any) -> Any:
            self.reached.set()
            await self.go.wait()
            return await accept(*args, **kwargs)

        monkeypatch.setattr(api.road.acceptor, "accept", slow)


# --- order -------------------------------------------------------------------------------------------------


async def test_answers_keep_the_order_of_requests_whose_first_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        gate = Gate(api, monkeypatch)
        await one.send(post(api, msgspec.json.encode(SMS)) + HEALTH + NOWHERE + LAST)
        await gate.reached.wait()
        gate.go.set()
        assert statuses(await one.rest()) == [202, 200, 404, 200]


async def test_what_is_no_request_is_refused_after_the_answers_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        gate = Gate(api, monkeypatch)
        await one.send(post(api, msgspec.json.encode(SMS)) + HEALTH + b"nonsense\r\n\r\n" + HEALTH)
        await gate.reached.wait()
        gate.go.set()
        assert statuses(await one.rest()) == [202, 200, 400]


async def test_a_header_too_large_is_refused_after_the_answers_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        gate = Gate(api, monkeypatch)
        await one.send(post(api, msgspec.json.encode(SMS)))
        await gate.reached.wait()
        await one.send(b"GET /healthz HTTP/1.1\r\nX: ", b"x" * 300_000)
        gate.go.set()
        assert statuses(await one.rest()) == [202, 431]


async def test_more_than_a_hundred_sent_ahead_are_refused_behind_the_hundred(tmp_path: Path) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(HEALTH * 150)
        answer = await one.rest()
        assert statuses(answer) == [200] * 100 + [400]
        assert b"sent ahead of their answers" in answer


async def test_what_is_sent_behind_the_last_request_is_not_looked_at(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for behind in (HEALTH, b"nonsense\r\n\r\n", post(api, msgspec.json.encode(SMS))):
            async with client(api) as one:
                await one.send(LAST + behind)
                assert statuses(await one.rest()) == [200], behind
        assert await api.count("message") == 0


async def test_stopping_answers_all_that_was_sent_ahead_and_closes_with_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        gate = Gate(api, monkeypatch)
        await one.send(post(api, msgspec.json.encode(SMS)) + HEALTH + NOWHERE)
        await gate.reached.wait()
        stopping = asyncio.create_task(api.server.stop(5.0))
        await asyncio.sleep(0)
        gate.go.set()
        answer = await one.rest()
        await stopping
        assert statuses(answer) == [202, 200, 404]
        assert answer.count(b"connection: close") == 1


# --- octets ------------------------------------------------------------------------------------------------


async def test_an_answer_is_one_write(tmp_path: Path) -> None:
    class Counting(MemoryTransport):
        writes = 0

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.writes += 1
            super().write(data)

    async with world(tmp_path) as api:
        one, transport = Connection(api.server.shared), Counting()
        one.connection_made(transport)
        for number in range(1, 4):
            one.data_received(post(api, msgspec.json.encode(SMS)))
            await asyncio.wait(set(api.server.shared.tasks))
            assert transport.writes == number
        assert statuses(bytes(transport.written)) == [202] * 3
        one.connection_lost(None)


async def test_a_request_may_be_cut_anywhere(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        request = post(api, msgspec.json.encode(SMS)) + HEALTH
        for cut in range(1, len(request), 7):
            one, transport = Connection(api.server.shared), MemoryTransport()
            one.connection_made(transport)
            one.data_received(request[:cut])
            await asyncio.sleep(0)
            one.data_received(request[cut:])
            while api.server.shared.tasks:
                await asyncio.wait(set(api.server.shared.tasks))
            assert statuses(bytes(transport.written)) == [202, 200], cut
            one.connection_lost(None)


async def test_a_body_in_chunks_is_taken_together_and_its_trailers_are_no_header(tmp_path: Path) -> None:
    async with world(tmp_path) as api, client(api) as one:
        body = msgspec.json.encode(SMS)
        pieces = [b"%x;extension=1\r\n%b\r\n" % (len(body[at : at + 9]), body[at : at + 9]) for at in
                  range(0, len(body), 9)]  # fmt: skip
        head = post(api, None, b"Transfer-Encoding: chunked")
        await one.send(head, *pieces, b"0\r\nAuthorization: x\r\n\r\n", HEALTH)
        assert (await one.answer())[0] == 202
        assert (await one.answer())[0] == 200


@pytest.mark.parametrize("endless", [b"X: ", b"X: y\r\n", b"5;extension="])
async def test_what_stands_behind_a_body_or_between_its_chunks_has_an_end(
    tmp_path: Path, endless: bytes
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(post(api, None, b"Transfer-Encoding: chunked"), b"5\r\nhello\r\n")
        await one.send(b"" if b";" in endless else b"0\r\n", endless * (1 + 300_000 // len(endless)))
        assert statuses(await one.rest()) in ([431], [400])


async def test_an_answers_header_cannot_be_broken_out_of() -> None:
    call = Call(None, None, "GET", b"/", {})  # type: ignore[arg-type]  # nothing of them is looked at
    beginnings = Beginnings(0.0)
    for name, value in ((b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb"), (b"x\r\ny", b"a"), (b"x", b"\0")):
        with pytest.raises(ValueError, match="break"):
            octets(beginnings, call, Reply(headers=[(name, value)]))


async def test_the_date_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(HEALTH)
        _, first = await one.answer()
        api.server.app.set_date(0.0)
        await one.send(HEALTH)
        _, second = await one.answer()
        assert b"\r\ndate: " in first
        assert b"\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in second


# --- what keeps it open and what closes it -----------------------------------------------------------------


async def test_a_connection_is_kept_and_then_closed_when_nothing_more_comes(
    tmp_path: Path, quick: None
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(HEALTH)
        assert (await one.answer())[0] == 200
        await one.send(HEALTH)
        assert (await one.answer())[0] == 200
        assert await one.rest() == b""


@pytest.mark.parametrize("field", [b"", b"Connection: keep-alive\r\n"])
async def test_http_1_0_is_answered_and_closed(tmp_path: Path, field: bytes) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(b"GET /healthz HTTP/1.0\r\n" + field + b"\r\n")
        answer = await one.rest()
        assert statuses(answer) == [200]
        assert b"connection: close" in answer


async def test_who_waits_to_be_asked_is_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as api, client(api) as one:
        body = msgspec.json.encode(SMS)
        head = post(api, None, b"Expect: 100-continue", b"Content-Length: %d" % len(body))
        await one.send(head)
        async with asyncio.timeout(5):
            assert await one.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await one.send(body)
        assert (await one.answer())[0] == 202
        await one.send(HEALTH)
        assert (await one.answer())[0] == 200


async def test_who_waits_to_be_asked_and_is_refused_is_not_waited_for(tmp_path: Path) -> None:
    # RFC 9110 section 10.1.1: it may send its body or not, so nothing behind it can be read.
    async with world(tmp_path) as api, client(api) as one:
        await one.send(post(api, None, b"Expect: 100-continue", b"Content-Length: 5", path=b"/nowhere"))
        answer = await one.rest()
        assert statuses(answer) == [404]
        assert b"connection: close" in answer


async def test_an_early_answer_leaves_the_connection_open_and_the_body_is_skipped(tmp_path: Path) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(post(api, None, b"Content-Length: 200000", path=b"/nowhere"), HEALTH)
        assert (await one.answer())[0] == 404
        await one.send(HEALTH * 10, b"x" * (200_000 - 11 * len(HEALTH)), HEALTH)
        assert (await one.answer())[0] == 200
        await one.send(LAST)
        assert statuses(await one.rest()) == [200]


async def test_an_early_answer_whose_body_never_ends_closes_in_time(tmp_path: Path, quick: None) -> None:
    settings = make_settings(http={"request_timeout_s": 0.1})
    async with world(tmp_path, settings=settings) as api, client(api) as one:
        await one.send(post(api, None, b"Content-Length: 9", path=b"/nowhere"), b"x")
        assert (await one.answer())[0] == 404
        assert await one.rest() == b""


async def test_who_goes_on_sending_after_the_last_answer_is_listened_to_for_a_moment_only(
    tmp_path: Path, quick: None
) -> None:
    async with world(tmp_path, settings=make_settings(http={"max_body_octets": 1000})) as api:
        for request in (post(api, None, b"Content-Length: 1000000"), b"nonsense\r\n\r\n"):
            async with client(api) as one:
                await one.send(request)
                status, answer = await one.answer()
                assert status in {413, 400}
                assert b"connection: close" in answer
                with pytest.raises(ConnectionError):
                    await one.drip()


@pytest.mark.parametrize("ahead", [b"", HEALTH])
async def test_a_client_that_sends_no_more_still_gets_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bytes
) -> None:
    async with world(tmp_path) as api, client(api) as one:
        gate = Gate(api, monkeypatch)
        await one.send(post(api, msgspec.json.encode(SMS)) + ahead)
        one.writer.write_eof()
        await gate.reached.wait()
        gate.go.set()
        assert statuses(await one.rest()) == ([202, 200] if ahead else [202])


async def test_a_header_that_comes_slowly_behind_a_request_waits_for_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    async with world(tmp_path, settings=make_settings(http={"request_timeout_s": 0.1})) as api:
        gate = Gate(api, monkeypatch)
        async with client(api) as one:
            await one.send(post(api, msgspec.json.encode(SMS)) + HEALTH[:20])
            await gate.reached.wait()
            ticked = asyncio.Event()
            asyncio.get_running_loop().call_later(0.3, ticked.set)
            await ticked.wait()  # longer than a header may take
            gate.go.set()
            assert statuses(await one.rest()) == [202, 408]


async def test_an_upgrade_is_not_taken_up(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x")
        async with client(api) as one:
            await one.send(
                b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + HEALTH
            )
            assert statuses(await one.rest()) == [200]
        async with client(api) as one:  # its body would be taken for the other protocol's octets
            await one.send(post(api, msgspec.json.encode(SMS), *fields))
            answer = await one.rest()
            assert statuses(answer) == [400]
            assert b"HTTP/1.1 alone" in answer
        assert await api.count("message") == 0


async def test_a_request_without_a_path_is_400_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path) as api, client(api) as one:
        await one.send(b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", LAST)
        assert statuses(await one.rest()) == [400, 200]


async def test_a_fault_of_ours_outside_of_handlers_closes_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as api, client(api) as one:

        async def broken(_call: Call) -> bytes:
            raise RuntimeError

        monkeypatch.setattr(api.server.app, "answer", broken)
        await one.send(HEALTH)
        assert await one.rest() == b""
        assert not api.server.shared.tasks


async def test_answers_that_are_not_read_hold_up_the_next_and_then_go_on(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        one, transport = Connection(api.server.shared), MemoryTransport()
        one.connection_made(transport)
        one.pause_writing()
        one.data_received(HEALTH * 3 + b"nonsense\r\n\r\n")
        assert transport.paused
        assert not api.server.shared.tasks
        one.resume_writing()
        while api.server.shared.tasks:
            await asyncio.wait(set(api.server.shared.tasks))
        assert statuses(bytes(transport.written)) == [200, 200, 200, 400]
        one.pause_writing()
        one.resume_writing()
        assert statuses(bytes(transport.written)) == [200, 200, 200, 400]
        one.connection_lost(None)


async def test_who_does_not_read_a_refusal_is_cut_off_all_the_same(tmp_path: Path) -> None:
    class HalfOpen(MemoryTransport):
        ended = False

        def can_write_eof(self) -> bool:
            return True

        def write_eof(self) -> None:
            self.ended = True

        def write(self, data: bytes | bytearray | memoryview) -> None:
            super().write(data)
            one.pause_writing()

    async with world(tmp_path) as api:
        one, transport = Connection(api.server.shared), HalfOpen()
        one.connection_made(transport)
        one.data_received(b"nonsense\r\n\r\n")
        one.resume_writing()
        now_s = asyncio.get_running_loop().time()
        one.close_if_slow(now_s + 1.0)
        assert (transport.ended, transport.closed) == (True, False)
        one.close_if_slow(now_s + 3.0)
        assert transport.closed
        assert statuses(bytes(transport.written)) == [400]
        one.connection_lost(None)
