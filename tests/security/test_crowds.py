"""One address with very many connections: every door still serves the others, and who logs in stays."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

from smpp.constants import CommandStatus
from smpp.pdu import GenericNack, decode
from tests.hostility.world import is_closed, raise_descriptor_limit
from tests.http.world import World, make_settings, world
from tests.ingress.smpp_rig import bind, door
from tests.smpp.servers import BareClient, bare_client
from tests.smtp.submission_support import until

UNFINISHED = b"GET / HTTP/1.1\r\nHost: x\r\nX"
OTHER = "127.0.0.2"


@contextlib.contextmanager
def crowd(
    port: int, count: int, first: bytes = b"", *, source: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    """So many connections from one address, each with its first words."""
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(count):
            at = ("127.0.0.1", port)
            one = stack.enter_context(socket.create_connection(at, source_address=(source, 0)))
            one.setblocking(False)
            one.sendall(first)
            held.append(one)
        yield held


@contextlib.asynccontextmanager
async def from_elsewhere(api: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client with another address."""
    transport = httpx.AsyncHTTPTransport(local_address=OTHER)
    async with api.client_with(api.key, transport=transport) as client:
        yield client


async def test_1010_unfinished_requests_of_one_address_are_in_nobodys_way(tmp_path: Path) -> None:
    raise_descriptor_limit()
    async with world(tmp_path) as api, from_elsewhere(api) as good:
        assert (await api.client.get("/v1/account")).status_code == 200  # the crowd's own address, before it
        with crowd(api.server.port, 1010, UNFINISHED) as held:
            await until(lambda: api.refusals.reasons == ["peer_limit"] * 810)
            await until(lambda: api.server.connection_count == 200 + 1)
            for _ in range(5):
                assert (await good.get("/healthz")).status_code == 200
            assert (await api.client.get("/v1/account")).status_code == 200  # over the connection it had
            assert (await api.client.get("/v1/account", headers={"Connection": "close"})).status_code == 200
            assert held[0].recv(4096).startswith(b"HTTP/1.1 503 ")
            await until(lambda: all(map(is_closed, held[:810])))
            held[-1].sendall(b": y\r\n\r\n")  # the newest are still there
            await until(lambda: _heard(held[-1]).startswith(b"HTTP/1.1 "))


def _heard(one: socket.socket) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return one.recv(4096)
    return b""


async def test_a_full_api_takes_from_the_crowd_and_not_from_the_few(tmp_path: Path) -> None:
    limits = {"max_connections": 20, "max_connections_per_peer": 15}
    async with world(tmp_path, settings=make_settings(http=limits)) as api:
        with (
            crowd(api.server.port, 1, UNFINISHED, source=OTHER) as few,
            crowd(api.server.port, 15, UNFINISHED),
            crowd(api.server.port, 10, UNFINISHED, source="127.0.0.3"),
        ):
            await until(lambda: api.refusals.reasons == ["door_limit"] * 6)
            few[0].sendall(b": y\r\n\r\n")
            await until(lambda: _heard(few[0]).startswith(b"HTTP/1.1 "))


async def test_an_accounts_connections_take_half_of_the_api_for_sure_and_no_more(tmp_path: Path) -> None:
    request = b"GET /v1/account HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n\r\n"
    async with world(tmp_path, settings=make_settings(http={"max_connections": 10})) as api:
        first, held = request % api.key.encode(), []
        with contextlib.ExitStack() as stack:
            for _ in range(10):  # one after the other, so that the first five are the ones that are safe
                held += stack.enter_context(crowd(api.server.port, 1, first))
                await until(lambda: _heard(held[-1]).startswith(b"HTTP/1.1 200 "))  # noqa: B023 - awaited
            async with from_elsewhere(api) as good:
                assert (await good.get("/healthz")).status_code == 200
            assert api.refusals.reasons == ["door_limit"]
            await until(lambda: [is_closed(one) for one in held] == [False] * 5 + [True] + [False] * 4)


async def test_205_connections_without_a_bind_leave_the_smpp_door_open(tmp_path: Path) -> None:
    async with door(tmp_path) as one, one.client() as bound:
        with crowd(one.ingress.port, 205) as held:
            await until(lambda: len(one.observer.seen) == 185)
            assert set(one.observer.seen) == {("smpp", "peer_limit")}
            async with bare_client(one.ingress.port) as second:  # from the crowd's own address
                await bind(second, one.login)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", one.ingress.port, local_addr=(OTHER, 0)
            )
            other = BareClient(reader, writer)
            await bind(other, one.login)
            writer.close()
            nack = decode(held[0].recv(4096))
            assert isinstance(nack, GenericNack)
            assert nack.command_status == CommandStatus.ESME_RTHROTTLED
            assert (await bound.send())[0] == CommandStatus.ESME_ROK
