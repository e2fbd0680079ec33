"""The HTTP listener on raw sockets: TLS, draining, slow and hostile clients, and many of them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from gateway import tls
from gateway.http.wire import connection as connection_module
from gateway.http.wire import server as server_module
from tests.doors.support import make_door
from tests.http.world import SMS, World, make_settings, world
from tests.smpp.certificate import self_signed


async def talk(api: World, *pieces: bytes, wait: bool = True) -> bytes:
    """Sends the pieces and reads until the server closes, within five seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    try:
        async with asyncio.timeout(5):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read() if wait else b""
    finally:
        writer.close()


def head(answer: bytes) -> str:
    """The status line."""
    return answer.partition(b"\r\n")[0].decode()


async def test_what_is_no_http_is_400_as_a_problem(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for octets in (
            b"nonsense\r\n\r\n",
            b"GET \xff HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"\0" * 100,
        ):
            answer = await talk(api, octets)
            assert head(answer).startswith("HTTP/1.1 400"), octets
            assert b"application/problem+json" in answer
            assert b'"reason":"bad_request"' in answer
        assert (await api.client.get("/healthz")).status_code == 200


async def test_a_header_without_end_is_431(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for endless in (b"X: " + b"a" * 100_000, b"X: a\r\n" * 20_000):
            answer = await talk(api, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", endless)
            assert head(answer).startswith("HTTP/1.1 431")
            assert b'"reason":"header_too_large"' in answer


async def test_a_request_that_does_not_come_to_its_end_is_408(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_TICK_S", 0.02)
    monkeypatch.setattr(connection_module, "_LINGER_S", 0.1)
    async with world(tmp_path, settings=make_settings(http={"request_timeout_s": 0.1})) as api:
        assert head(await talk(api, b"GET /healthz HT")).startswith("HTTP/1.1 408")
        assert head(await talk(api)).startswith("HTTP/1.1 408")
        answer = await talk(
            api,
            b"POST /v1/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
            b"Authorization: Bearer " + api.key.encode() + b"\r\n\r\n{",
        )
        assert head(answer).startswith("HTTP/1.1 408")
        assert b'"reason":"request_timeout"' in answer


async def test_too_large_is_told_without_reading_the_body(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(http={"max_body_octets": 1000})) as api:
        request = (
            b"POST /v1/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
            b"Authorization: Bearer " + api.key.encode() + b"\r\n"
        )
        waiting = await talk(api, request + b"Expect: 100-continue\r\n\r\n")
        assert head(waiting).startswith("HTTP/1.1 413")
        sending = await talk(api, request + b"\r\n", b"x" * 5000)
        assert head(sending).startswith("HTTP/1.1 413")


async def test_a_door_full_of_connections_with_a_good_key_answers_503(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(http={"max_connections": 2})) as api:
        held = []
        for key in (api.key, api.other_key):
            reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
            writer.write(b"GET /v1/account HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n\r\n" % key.encode())
            assert head(await reader.readuntil(b"\r\n\r\n")).startswith("HTTP/1.1 200")
            held.append((reader, writer))
        answer = await talk(api, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head(answer).startswith("HTTP/1.1 503")
        assert b"retry-after: 1" in answer
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(5):
            while (await api.client.get("/healthz")).status_code != 200:
                await asyncio.sleep(0.01)  # the server sees the two go, within the limit above


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await talk(
            api,
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        assert answer.index(b"HTTP/1.1 404") < answer.index(b"HTTP/1.1 200")
        assert b"\r\ndate: " in answer


async def test_a_client_that_leaves_takes_nothing_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        await talk(
            api,
            b"POST /v1/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
            b"Authorization: Bearer " + api.key.encode() + b'\r\n\r\n{"from":',
            wait=False,
        )
        assert (await api.client.post("/v1/sms", json=SMS)).status_code == 202
        assert await api.count("message") == 1


async def test_stopping_answers_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as api:
        reached, go = asyncio.Event(), asyncio.Event()
        accept = api.road.acceptor.accept

        async def slow(*args: object, **kwargs: object) -> object:
            reached.set()
            await go.wait()
            return await accept(*args, **kwargs)  # type: ignore[arg-type]  # passed through

        monkeypatch.setattr(api.road.acceptor, "accept", slow)
        url, port = api.url, api.server.port
        request = asyncio.create_task(api.client.post(f"{url}/v1/sms", json=SMS))
        await reached.wait()
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        stopping = asyncio.create_task(api.server.stop(5.0))
        async with asyncio.timeout(5):
            assert await idle_reader.read() == b""  # an idle connection closes at once
        idle_writer.close()
        with pytest.raises(OSError):  # noqa: PT011 - whatever the system says to a closed port
            await asyncio.open_connection("127.0.0.1", port)
        assert not stopping.done()
        go.set()
        answer = await request
        assert (answer.status_code, answer.headers["connection"]) == (202, "close")
        await stopping


async def test_stopping_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as api:
        reached = asyncio.Event()

        async def never(*_args: object, **_kwargs: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(api.road.acceptor, "accept", never)
        request = asyncio.create_task(api.client.post("/v1/sms", json=SMS))
        await reached.wait()
        async with asyncio.timeout(5):
            await api.server.stop(0.05)
        with pytest.raises(httpx.TransportError):
            await request


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        taken = make_settings(http={"port": api.server.port}).http
        second = server_module.HttpServer(api.server.app, taken, make_door())
        with pytest.raises(OSError, match="in use"):
            await second.start()


async def test_tls_serves_the_certificate_and_reloads_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (_, trusts_one), (_, trusts_two) = self_signed(tmp_path / "one"), self_signed(tmp_path / "two")
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "one" / "localhost.pem").read_bytes())
    settings = make_settings(http={"tls": True}, tls={"certificate": both, "key": both})
    async with world(tmp_path, settings=settings, verify=trusts_one) as api:
        assert (await api.client.get("/healthz")).status_code == 200
        both.write_bytes((tmp_path / "two" / "localhost.pem").read_bytes())
        assert api.server._tls_context is not None
        tls.load(api.server._tls_context, settings.tls, now=datetime.now(UTC))
        async with api.client_with(api.key, verify=trusts_two) as client:
            assert (await client.get("/healthz")).status_code == 200
        async with api.client_with(api.key, verify=trusts_one) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("/healthz")


async def test_behind_a_trusted_proxy_the_last_forwarded_address_counts(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(http={"trusted_proxies": ("127.0.0.0/8",)})) as api:
        body = {"from": "shop@example.org", "to": "ada@example.net", "text": "Hi"}
        answer = await api.client.post(
            "/v1/mail", json=body, headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        )
        assert answer.status_code == 202
        await api.mail.wait_for(1)
        assert b"([198.51.100.7])" in api.mail.works[0].message.content
