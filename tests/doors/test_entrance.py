"""Before a connection's first octet: TLS handshakes and PROXY headers on real sockets, with both loops."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import cast

import pytest

from gateway.doors.door import Door, handshake_room
from gateway.peers import Networks
from tests.doors.support import Refusals, make_door
from tests.doors.test_proxy_header import IPV4, addresses, header
from tests.smtp.submission_support import server_context, trusting_context, until

LOOPBACK = Networks(["127.0.0.0/8"])
BOUND_S = 5.0


class Echo(asyncio.Protocol):
    """Says who it thinks has come, then what it hears; a guest of the door."""

    def __init__(self, door: Door, peer: tuple[str, int] | None) -> None:
        self.door, self.peer = door, peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        host, port = self.peer or transport.get_extra_info("peername")[:2]
        if self.door.enter(self, host):
            self.transport.write(f"{host} {port}\n".encode())
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.leave(self)

    def dismiss(self) -> None:
        self.transport.abort()


@contextlib.asynccontextmanager
async def listening(door: Door, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a door with echoes behind it."""
    one = await door.listen(lambda peer: Echo(door, peer), "127.0.0.1", 0, tls=tls)
    try:
        yield one.port
    finally:
        one.close()
        await until(lambda: not one.openings)


@contextlib.asynccontextmanager
async def client(
    port: int, first: bytes = b"", *, source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(first)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def line(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readline(), BOUND_S)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), BOUND_S)
    return b""


# --- the TLS handshake --------------------------------------------------------------------------------------


async def test_what_is_sent_with_the_end_of_a_handshake_is_heard() -> None:
    door = make_door()
    async with listening(door, tls=server_context()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting_context())
        writer.write(b"hello\n")
        assert (await line(reader)).startswith(b"127.0.0.1 ")
        assert await line(reader) == b"hello\n"
        assert len(door._room) == 1  # the opening has given its place away
        assert len(door._handshakes) == 0
        writer.transport.abort()
        await until(lambda: not len(door._room))


async def test_half_open_handshakes_count_and_the_oldest_of_the_crowd_is_cut_off() -> None:
    refusals = Refusals()
    door = make_door("http", handshakes=handshake_room(20), observer=refusals)
    async with listening(door, tls=server_context()) as port, contextlib.AsyncExitStack() as stack:
        good = await stack.enter_async_context(client(port, source="127.0.0.2"))
        await until(lambda: len(door._handshakes) == 1)
        held = [await stack.enter_async_context(client(port, b"\x16\x03\x01\x02")) for _ in range(50)]
        for reader, _ in held[:31]:
            assert await rest(reader) == b""
        assert refusals.seen == [("http", "tls_handshakes")] * 31
        assert len(door._handshakes) == len(door._room) == 20
        await good[1].start_tls(trusting_context())  # the oldest of all, but the only one of its address
        assert (await line(good[0])).startswith(b"127.0.0.2 ")


async def test_handshakes_of_all_doors_count_together_and_each_for_its_own() -> None:
    refusals = Refusals()
    room = handshake_room(2)
    one = make_door("http", handshakes=room, observer=refusals)
    two = make_door("smpp", handshakes=room, observer=refusals)
    async with (
        listening(one, tls=server_context()) as first_port,
        listening(two, tls=server_context()) as second_port,
        client(first_port) as (oldest, _),
    ):
        await until(lambda: len(room) == 1)
        async with client(second_port), client(second_port):
            assert await rest(oldest) == b""
            assert refusals.seen == [("http", "tls_handshakes")]


async def test_a_handshake_has_a_place_at_its_door_and_a_limit_of_time() -> None:
    refusals = Refusals()
    door = make_door(per_peer=2, observer=refusals, handshake_s=0.2)
    async with listening(door, tls=server_context()) as port, client(port) as one, client(port), client(port):
        assert await rest(one[0]) == b""
        assert refusals.reasons == ["peer_limit"]
        await until(lambda: not len(door._room))
    assert len(door._handshakes) == 0


async def test_closing_the_listener_ends_what_has_not_begun() -> None:
    door = make_door()
    async with listening(door, tls=server_context()) as port, client(port) as (reader, _):
        await until(lambda: len(door._handshakes) == 1)
    assert len(door._room) == len(door._handshakes) == 0
    assert await rest(reader) == b""


# --- the PROXY header ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [False, True])
async def test_a_proxy_names_its_client_octet_by_octet(secret: bool) -> None:
    door = make_door(proxies=LOOPBACK, proxy_protocol=True)
    async with (
        listening(door, tls=server_context() if secret else None) as port,
        client(port) as (reader, writer),
    ):
        for octet in IPV4:
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0)
        if secret:
            await writer.start_tls(trusting_context())
        writer.write(b"hello\n")
        assert await line(reader) == b"198.51.100.7 4711\n"
        assert await line(reader) == b"hello\n"


async def test_the_limits_are_those_of_the_client_behind_the_proxy() -> None:
    refusals = Refusals()
    door = make_door(proxies=LOOPBACK, proxy_protocol=True, per_peer=1, observer=refusals)
    other = header(rest=addresses("203.0.113.9", 1))
    async with listening(door) as port, client(port, IPV4) as first, client(port, other) as second:
        assert await line(first[0]) == b"198.51.100.7 4711\n"
        assert await line(second[0]) == b"203.0.113.9 1\n"
        async with client(port, IPV4 + b"more\n") as third:
            assert await line(third[0]) == b"198.51.100.7 4711\n"
            assert await line(third[0]) == b"more\n"
            assert await rest(first[0]) == b""
            second[1].write(b"still here\n")
            assert await line(second[0]) == b"still here\n"
        assert refusals.reasons == ["peer_limit"]


async def test_a_proxy_that_speaks_for_itself_is_the_peer() -> None:
    door = make_door(proxies=LOOPBACK, proxy_protocol=True)
    async with listening(door) as port, client(port, header(command=0x20, family=0)) as (reader, _):
        assert (await line(reader)).startswith(b"127.0.0.1 ")


@pytest.mark.parametrize("first", [b"EHLO client.example\r\n", IPV4[:12] + b"\x11" * 8, header(length=4000)])
async def test_a_broken_header_closes(first: bytes) -> None:
    refusals = Refusals()
    door = make_door(proxies=LOOPBACK, proxy_protocol=True, observer=refusals)
    async with listening(door) as port, client(port, first) as (reader, _):
        assert await rest(reader) == b""
        assert refusals.reasons == ["proxy_header"]
        await until(lambda: not len(door._room))


async def test_who_is_no_proxy_sends_no_header_and_who_sends_one_is_not_believed() -> None:
    door = make_door(proxies=Networks(["127.0.0.2/32"]), proxy_protocol=True)
    async with listening(door) as port, client(port, IPV4) as (reader, _):
        assert (await line(reader)).startswith(b"127.0.0.1 ")
        assert await line(reader) == b"\r\n"  # the header is what the client says, like anything else


async def test_a_header_that_does_not_come_to_its_end_has_a_limit_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.doors.entrance._PROXY_HEADER_S", 0.05)
    door = make_door(proxies=LOOPBACK, proxy_protocol=True)
    async with listening(door) as port, client(port, IPV4[:20]) as (reader, _):
        assert await rest(reader) == b""
    assert len(door._room) == 0


async def test_one_port_for_all_addresses_of_a_name_and_none_where_it_is_taken() -> None:
    door = make_door()
    async with listening(door) as port:
        with pytest.raises(OSError, match="in use"):
            await door.listen(lambda peer: Echo(door, peer), "127.0.0.1", port)
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))  # a failed attempt has left nothing listening
