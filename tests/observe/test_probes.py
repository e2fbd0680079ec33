"""The probes against real doors, silent ones, and doors that answer nonsense."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from config.schema import Settings
from config.sections.observe import Probe
from gateway.accounts.probe_key import ProbeKey
from gateway.clock import SystemClock
from gateway.listeners import Ports
from gateway.observe import dialogues
from gateway.observe.dialogues import ProbeFailed
from gateway.observe.metrics import Metrics
from gateway.observe.probed import Probed
from gateway.observe.probes import Probes
from smpp.constants import CommandStatus
from smpp.smsc import BindRequest, Bound
from smtp.server import ServerConfig, SmtpServer
from tests.doors.support import make_door
from tests.smpp import servers as smpp_servers
from tests.smtp.submission_support import FakeApplication as SmtpApplication

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def door(talk: Talk) -> AsyncIterator[int]:
    """A listener that behaves as told; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answering(octets: bytes) -> Talk:
    """Says this to whoever comes, then hangs up."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        await writer.drain()

    return talk


def answering_http(octets: bytes) -> Talk:
    """Reads a request and says this."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(octets)
        await writer.drain()

    return talk


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Never says a word, until the other side has gone."""
    await reader.read()


@asynccontextmanager
async def smtp_server(**limits: Any) -> AsyncIterator[tuple[SmtpServer, int]]:
    server = SmtpServer(ServerConfig(hostname="gateway.example"), SmtpApplication(), make_door(**limits))
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop(0.0)


class KeyedApplication(smpp_servers.FakeApplication):
    """Lets the probe in, as the daemon's ingress does."""

    def __init__(self, key: ProbeKey) -> None:
        super().__init__()
        self.key = key
        self.asked: list[str] = []

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        self.asked.append(request.system_id)
        if self.key.matches(request.system_id, request.password):
            return request.accept()
        return CommandStatus.ESME_RINVPASWD


# --- each dialogue -----------------------------------------------------------------------------------------


async def test_smtp_door_that_works() -> None:
    async with smtp_server() as (_server, port), asyncio.timeout(5):
        await dialogues.smtp("127.0.0.1", port)


async def test_smtp_door_that_is_full_counts_as_down() -> None:
    async with smtp_server(most=1, known=lambda _peer: "shop") as (_server, port), asyncio.timeout(5):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _reader.readline()
        with pytest.raises(ProbeFailed, match="greeting: 421 instead of 220"):
            await dialogues.smtp("127.0.0.1", port)
        writer.close()


@pytest.mark.parametrize(
    "octets", [b"", b"554 no\r\n", b"220-hello\r\n" * 200, b"SSH-2.0\r\n", b"220 hi\r\n\xff\xff\r\n"]
)
async def test_smtp_door_that_answers_nonsense(octets: bytes) -> None:
    async with door(answering(octets)) as port, asyncio.timeout(5):
        with pytest.raises((ProbeFailed, OSError)):
            await dialogues.smtp("127.0.0.1", port)


async def test_api_door_that_is_ready() -> None:
    async with (
        door(answering_http(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")) as port,
        asyncio.timeout(5),
    ):
        await dialogues.api("127.0.0.1", port)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"), (b"", "no HTTP"), (b"220 hi\r\n", "no HTTP")],
)
async def test_api_door_that_is_not_ready(octets: bytes, reason: str) -> None:
    async with door(answering_http(octets)) as port, asyncio.timeout(5):
        with pytest.raises(ProbeFailed, match=reason):
            await dialogues.api("127.0.0.1", port)


async def test_sms_door_lets_the_probe_bind_and_unbind() -> None:
    key = ProbeKey.make()
    application = KeyedApplication(key)
    async with smpp_servers.serving(application) as server, asyncio.timeout(5):
        await dialogues.sms("127.0.0.1", server.port, key, 3.0)
        _bound, _reason = await application.ends.get()
        assert application.asked == [key.system_id]


async def test_sms_door_that_refuses_the_bind_counts_as_down() -> None:
    async with smpp_servers.serving(KeyedApplication(ProbeKey.make())) as server, asyncio.timeout(5):
        with pytest.raises(ProbeFailed, match="Invalid Password"):
            await dialogues.sms("127.0.0.1", server.port, ProbeKey.make(), 3.0)


async def test_without_a_key_the_sms_door_is_tried_and_no_bind_is_attempted() -> None:
    application = KeyedApplication(ProbeKey.make())
    async with smpp_servers.serving(application) as server, asyncio.timeout(5):
        await dialogues.sms("127.0.0.1", server.port, None, 3.0)
        assert application.asked == []


@pytest.mark.parametrize("octets", [b"", b"220 hello\r\n", b"\0\0\0\x10\x80\0\0\0\0\0\0\x58\0\0\0\0" * 20])
@pytest.mark.parametrize("key", [ProbeKey.make(), None], ids=["key", "no key"])
async def test_sms_door_that_answers_nonsense(octets: bytes, key: ProbeKey | None) -> None:
    async with door(answering(octets)) as port, asyncio.timeout(5):
        with pytest.raises(Exception, match=r".*"):  # what it is called is the round's business
            await dialogues.sms("127.0.0.1", port, key, 1.0)


async def test_a_silent_sms_door_lets_go_of_the_probe_when_it_gives_up() -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent(reader, writer)
        gone.set()

    async with door(talk) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await dialogues.sms("127.0.0.1", port, ProbeKey.make(), 60.0)
        async with asyncio.timeout(5):
            await gone.wait()


async def test_the_probes_password_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    key = ProbeKey.make()
    with caplog.at_level(logging.DEBUG):
        async with smpp_servers.serving(KeyedApplication(key)) as server, asyncio.timeout(5):
            await dialogues.sms("127.0.0.1", server.port, key, 3.0)
    assert key.password not in caplog.text
    assert key.password.encode().hex() not in caplog.text
    assert key.password not in repr(key)


def test_a_probe_key_fits_the_fields_of_a_bind_and_matches_only_itself() -> None:
    key = ProbeKey.make()
    assert len(key.system_id) <= 15
    assert len(key.password) <= 8
    assert key.matches(key.system_id, key.password)
    assert not key.matches(key.system_id, "")
    assert not key.matches("", key.password)
    assert not key.matches("\ud800", "é")


# --- rounds ------------------------------------------------------------------------------------------------


def make_probes(
    told: Callable[[Probed], None] = lambda _result: None, **fields: Any
) -> tuple[Probes, CollectorRegistry]:
    registry = CollectorRegistry()
    settings = replace(Settings(), probe=Probe(timeout_s=0.3))
    return Probes(settings, Metrics(registry), SystemClock(), told=told, **fields), registry


async def test_a_round_tells_what_is_up_and_what_is_not() -> None:  # R56
    told: list[Probed] = []
    probes, registry = make_probes(told.append)
    async with (
        smtp_server() as (_server, smtp_port),
        door(silent) as smpp_port,
        door(answering_http(b"HTTP/1.1 503 No\r\n\r\n")) as http_port,
        asyncio.timeout(5),
    ):
        ports = Ports(smtp=smtp_port, http=http_port, smpp=smpp_port)
        found = await probes.round(probes.probes(ports))
    assert {name: result.success for name, result in found.items()} == {
        "smtp": True,
        "api": False,
        "sms": False,
    }
    assert found["api"].reason == "/readyz: 503"
    assert found["sms"].reason == "no answer in time"
    assert len(told) == 3
    for service, success in (("smtp", 1.0), ("api", 0.0), ("sms", 0.0)):
        labels = {"service": service}
        assert registry.get_sample_value("gateway_probe_success", labels) == success
        assert (
            registry.get_sample_value("gateway_probe_last_timestamp_seconds", labels)
            == found[service].at_ms / 1000
        )
        assert (registry.get_sample_value("gateway_probe_duration_seconds", labels) or 0) > 0


async def test_a_door_that_is_shut_is_down_and_one_that_comes_back_is_up() -> None:
    probes, registry = make_probes()
    async with smtp_server() as (_server, port):
        pass
    found = await probes.round(probes.probes(Ports(smtp=port)))
    assert not found["smtp"].success
    assert registry.get_sample_value("gateway_probe_success", {"service": "smtp"}) == 0.0
    async with smtp_server() as (_server, port):
        found = await probes.round(probes.probes(Ports(smtp=port)))
    assert found["smtp"].success


def test_a_door_that_is_not_open_is_not_probed_and_before_the_first_round_nothing_is_claimed() -> None:
    probes, registry = make_probes()
    assert list(probes.probes(Ports(http=1))) == ["api"]
    assert registry.get_sample_value("gateway_probe_success", {"service": "api"}) is None


def test_a_listener_on_every_address_is_probed_on_loopback() -> None:
    assert dialogues.reachable("0.0.0.0") == "127.0.0.1"
    assert dialogues.reachable("::") == "::1"
    assert dialogues.reachable("192.0.2.1") == "192.0.2.1"
