"""One try over real sockets: pinned to judged addresses, bounded in time and octets, following nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.dns import DnsUnavailableError
from gateway.webhooks.post import Poster
from tests.support.receiver import OK, Receiver, Request, answer, certificate, receiver
from tests.support.services import FakeDns

HOST = "hooks.example.com"


@asynccontextmanager
async def poster(
    dns: FakeDns | None = None, *, timeout_s: float = 5.0, allow_private: bool = True, **kwargs: object
) -> AsyncIterator[Poster]:
    made = Poster(
        (dns or FakeDns()).addresses,
        timeout_s=timeout_s,
        allow_private=allow_private,
        **kwargs,  # type: ignore[arg-type]  # tls and transport
    )
    try:
        yield made
    finally:
        await made.close()


class FakeTransport(httpx.AsyncBaseTransport):
    """HTTP that stays here and remembers where it would have gone."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200)


async def test_a_post_arrives_whole(tmp_path: Path) -> None:
    async with receiver() as target, poster() as sender:
        got = await sender.post(f"{target.url}?a=b%20c", {"webhook-id": "1"}, b'{"a":1}')
    assert (got.good, got.status, got.reply) == (True, 200, "200")
    (request,) = target.requests
    assert request.line == "POST /hook?a=b%20c HTTP/1.1"
    assert request.body == b'{"a":1}'
    assert request.headers["host"] == f"127.0.0.1:{target.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "1"


async def test_tls_goes_to_the_judged_address_with_the_hosts_name(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, HOST)
    dns = FakeDns()
    dns.found[HOST] = [["127.0.0.1"]]
    async with receiver(server) as target, poster(dns, tls=client) as sender:
        got = await sender.post(f"https://{HOST}:{target.port}/in", {}, b"{}")
        assert (got.reply, target.server_names) == ("200", [HOST])
        assert target.requests[0].headers["host"] == f"{HOST}:{target.port}"
        dns.found["other.example.com"] = [["127.0.0.1"]]
        other = await sender.post(f"https://other.example.com:{target.port}/in", {}, b"{}")
        assert other.reply == "the TLS certificate is not valid for the host"
        assert len(target.requests) == 1


async def test_the_host_is_resolved_anew_and_judged_at_each_try() -> None:
    """DNS rebinding: first a public address, then ours."""
    transport, dns = FakeTransport(), FakeDns()
    dns.found[HOST] = [["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:169.254.169.254"], []]
    async with poster(dns, allow_private=False, transport=transport) as sender:
        answers = [await sender.post(f"https://{HOST}/in", {}, b"{}") for _ in range(5)]
    assert [got.status for got in answers] == [200, None, None, None, None]
    assert answers[1].reply == "not sent: the host is not on the public internet"
    assert answers[4].reply == "not sent: the host has no address"
    (request,) = transport.requests
    assert str(request.url) == "https://8.8.8.8/in"  # the judged address itself: no look-up in between
    assert request.headers["host"] == HOST
    assert request.extensions["sni_hostname"] == HOST


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "https://[::1]:{port}/"]
)
async def test_a_private_target_is_never_connected_to(url: str) -> None:
    async with receiver() as target, poster(allow_private=False) as sender:
        got = await sender.post(url.format(port=target.port), {}, b"{}")
    assert got.status is None
    assert got.reply.startswith("not sent: ")
    assert target.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with receiver() as elsewhere, receiver() as target, poster() as sender:
        target.answers(answer(status, f"Location: {elsewhere.url}"))
        got = await sender.post(target.url, {}, b"{}")
    assert not got.good
    assert "redirects are not followed" in got.reply
    assert elsewhere.connections == 0


async def test_cookies_and_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with receiver() as target, poster() as sender:
        target.answers(answer(200, "Set-Cookie: session=1; Path=/"))
        for _ in range(2):
            assert (await sender.post(target.url, {}, b"{}")).good
    assert all("cookie" not in request.headers for request in target.requests)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_good(status: int) -> None:
    async with receiver() as target, poster() as sender:
        target.answers(answer(status))
        assert (await sender.post(target.url, {}, b"{}")).good


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
async def test_other_answers_are_not(status: int) -> None:
    async with receiver() as target, poster() as sender:
        target.answers(answer(status, "Retry-After: 120"))
        got = await sender.post(target.url, {}, b"{}")
        assert (got.good, got.status, got.retry_after_s) == (False, status, 120.0)


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "²"])
async def test_an_odd_retry_after_is_bounded_or_ignored(value: str) -> None:
    async with receiver() as target, poster() as sender:
        target.answers(answer(503, f"Retry-After: {value}"))
        got = await sender.post(target.url, {}, b"{}")
        assert got.status == 503
        assert 0 <= got.retry_after_s <= 86_400


# --- the other side misbehaves -------------------------------------------------------------------------


async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(1000):
        writer.write(bytes(1_000_000))
        await writer.drain()


async def endless_header(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        writer.write(b"X-A: " + b"a" * 10_000 + b"\r\n")
        await writer.drain()


async def bomb(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, "Content-Encoding: gzip", body=b"this is no gzip at all"))


async def garbage(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n")


async def hang_up(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize(
    ("handler", "reply"),
    [
        (hang, "no answer within 0.2 s"),
        (drip, "no answer within 0.2 s"),
        (flood, "200"),
        (bomb, "200"),
        (endless_header, "the connection ended without an HTTP answer"),
        (garbage, "the connection ended without an HTTP answer"),
        (hang_up, "the connection ended without an HTTP answer"),
    ],
)
async def test_whatever_the_other_side_does_there_is_an_answer_in_time(
    handler: Callable[[Request, asyncio.StreamWriter], Awaitable[None]], reply: str
) -> None:
    async with receiver() as target, poster(timeout_s=0.2) as sender, asyncio.timeout(3):
        target.handler = handler
        got = await sender.post(target.url, {}, b"{}")
    assert got.reply == reply
    assert got.reply.isprintable()


async def test_a_host_that_cannot_be_looked_up_is_tried_later() -> None:
    dns = FakeDns()
    dns.silent = {HOST}
    async with poster(dns) as sender:
        got = await sender.post(f"https://{HOST}/", {}, b"{}")
    assert (got.status, got.reply) == (None, "the host's address could not be looked up")
    with pytest.raises(DnsUnavailableError):
        await dns.addresses(HOST)


async def test_the_next_address_is_tried_when_one_does_not_connect() -> None:
    dns = FakeDns()
    async with receiver() as target, poster(dns) as sender:
        dns.found[HOST] = [["::1", "127.0.0.1"]]  # nobody listens on ::1
        assert (await sender.post(f"http://{HOST}:{target.port}/", {}, b"{}")).good


async def test_a_closed_port_could_not_be_connected_to() -> None:
    async with receiver() as target:
        port = target.port
    async with poster() as sender:
        got = await sender.post(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert (got.status, got.reply) == (None, "could not connect")


async def test_connections_are_not_kept(tmp_path: Path) -> None:
    target: Receiver
    async with receiver() as target, poster() as sender:
        target.answers(OK)
        for _ in range(3):
            await sender.post(target.url, {}, b"{}")
    assert target.connections == 3
