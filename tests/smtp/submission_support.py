"""Shared by the tests of the submission server: a fake application, a running server, a raw client."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smtp.address import Mailbox
from smtp.codes import Reply
from smtp.server import Envelope, Identity, MailParameters, ServerConfig, Session, SmtpServer
from tests.doors.support import make_door

PATIENCE_S = 5.0  # how long a test waits for what must come
PLAIN = base64.b64encode(b"\0user\0secret").decode()


@dataclass
class FakeApplication:
    """Accepts user/secret and every message, unless told otherwise; remembers all it was asked."""

    messages: list[Envelope] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    senders: list[tuple[Mailbox | None, int | None, MailParameters]] = field(default_factory=list)
    on_authenticate: Callable[[str, str], Identity | Reply] | None = None
    on_sender: Callable[[Mailbox | None], Reply | None] | None = None
    on_recipient: Callable[[Mailbox, int], Reply | None] | None = None
    on_submit: Callable[[Envelope], Awaitable[Reply]] | None = None

    async def authenticate(self, session: Session, username: str, password: str) -> Identity | Reply:
        self.sessions.append(session)
        self.logins.append((username, password))
        if self.on_authenticate is not None:
            return self.on_authenticate(username, password)
        if (username, password) == ("user", "secret"):
            return Identity(name=username)
        return Reply(535, "5.7.8", "Wrong user or password")

    async def check_sender(
        self,
        session: Session,
        identity: Identity | None,
        sender: Mailbox | None,
        size: int | None,
        params: MailParameters,
    ) -> Reply | None:
        self.senders.append((sender, size, params))
        return self.on_sender(sender) if self.on_sender is not None else None

    async def check_recipient(
        self,
        session: Session,
        identity: Identity | None,
        sender: Mailbox | None,
        recipient: Mailbox,
        count_so_far: int,
    ) -> Reply | None:
        return self.on_recipient(recipient, count_so_far) if self.on_recipient is not None else None

    async def submit(self, session: Session, identity: Identity | None, envelope: Envelope) -> Reply:
        if self.on_submit is not None:
            return await self.on_submit(envelope)
        self.sessions.append(session)
        self.messages.append(envelope)
        return Reply(250, "2.0.0", "Queued")


class Delays:
    """A sleep that only writes down how long it was asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


@dataclass
class Running:
    """A server on its ports, with what was injected into it."""

    server: SmtpServer
    application: FakeApplication
    delays: Delays
    port: int
    tls_port: int

    @asynccontextmanager
    async def client(self, *, implicit_tls: bool = False) -> AsyncIterator[Wire]:
        """A connection that has not read the greeting yet."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                self.tls_port if implicit_tls else self.port,
                ssl=trusting_context() if implicit_tls else None,
                limit=1_000_000,
            )
        try:
            yield Wire(reader, writer)
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[Wire]:
        """A connection after EHLO and AUTH."""
        async with self.client() as wire:
            assert (await wire.reply())[0] == 220
            assert await wire.codes(b"EHLO client.example\r\nAUTH PLAIN " + PLAIN.encode() + b"\r\n", 2) == [
                250,
                235,
            ]
            yield wire


class Wire:
    """A client that sends the octets it is given and reads whole replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            return (await self.reader.readline()).decode("ascii")

    async def reply(self) -> tuple[int, str]:
        """Code and text of the next reply; its lines are joined by LF."""
        lines = []
        while True:
            line = await self.line()
            assert line.endswith("\r\n"), f"connection ended within a reply: {line!r}"
            lines.append(line[4:-2])
            if line[3] == " ":
                return int(line[:3]), "\n".join(lines)

    async def ask(self, octets: bytes) -> tuple[int, str]:
        self.send(octets)
        return await self.reply()

    async def codes(self, octets: bytes, count: int) -> list[int]:
        self.send(octets)
        return [(await self.reply())[0] for _ in range(count)]

    async def open_data(self) -> None:
        """MAIL, RCPT and DATA, up to the 354."""
        commands = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n"
        assert await self.codes(commands, 3) == [250, 250, 354]

    async def closed(self) -> bool:
        """True once the server has closed; whatever it still says fails the test."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                rest = await self.reader.read()
            except ConnectionError:
                rest = b""
        assert rest == b""
        return True

    async def start_tls(self) -> None:
        """The handshake after a 220 to STARTTLS."""
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.start_tls(trusting_context())


def make_config(**changes: Any) -> ServerConfig:
    """What most tests use: a short size limit, plain AUTH on loopback, TLS offered."""
    settings: dict[str, Any] = {
        "hostname": "mx.example",
        "size_limit_octets": 100_000,
        "allow_plain_auth_on_loopback": True,
        "tls_context": server_context(),
    }
    return ServerConfig(**(settings | changes))


@asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Running]:
    """A server with the changed settings and a fresh fake application."""
    application, delays = FakeApplication(), Delays()
    door = changes.pop("door", None) or make_door()
    server = SmtpServer(make_config(**changes), application, door, sleep=delays)
    port = await server.start("127.0.0.1", 0)
    tls_port = 0
    if changes.get("tls_context", True) is not None:
        tls_port = await server.start("127.0.0.1", 0, implicit_tls=True)
    try:
        yield Running(server, application, delays, port, tls_port)
    finally:
        await server.stop(0)
        assert server.connection_count == 0
        assert server.inflight_octets == 0


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds; fail when it does not come true in time."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


@cache
def server_context() -> ssl.SSLContext:
    """A server's TLS context with a self-signed certificate for localhost, shared by all tests."""
    return new_server_context("localhost")


def new_server_context(name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context


def trusting_context() -> ssl.SSLContext:
    """A client's TLS context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
