"""A mail server on loopback that does as it is told: the other side of the delivery tests.

`Script` says what it answers to each verb; the actions DROP and HANG close or fall silent instead. What
arrived is kept in `transactions`, `commands` and `connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DROP = "DROP"  # close the connection
RESET = "RESET"  # close it the hard way
HANG = "HANG"  # answer nothing more


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for localhost: the server's context, and its PEM to trust it by."""

    context: ssl.SSLContext
    pem: str


@lru_cache(maxsize=1)
def self_signed() -> Certificate:
    """Made once per run."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    with TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
    return Certificate(context, pem.decode())


@dataclass(slots=True)
class Script:
    """What the server answers. Keys of `replies` are verbs, GREETING, CONTENT, or `RCPT:address`."""

    replies: Mapping[str, str] = field(default_factory=dict)
    extensions: tuple[str, ...] = (
        "PIPELINING",
        "SIZE 100000000",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
    )
    tls: ssl.SSLContext | None = None
    tls_breaks: bool = False  # offers STARTTLS and answers the handshake with nonsense
    implicit_tls: bool = False
    greets_when_released: bool = False
    reads_content: bool = True  # else falls silent at DATA without reading on
    messages_per_connection: int = 10_000  # then 421

    def reply(self, key: str, default: str) -> str:
        return self.replies.get(key, default)


@dataclass(slots=True)
class Transaction:
    mail: str
    rcpts: list[str]
    content: bytes


class FakeMx:
    """One listening server. Use `running`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.transactions: list[Transaction] = []
        self.commands: list[str] = []
        self.connections = 0
        self.open_connections = 0
        self.most_open = 0
        self.peers: list[str] = []
        self.port = 0
        self.silence = asyncio.Event()  # set at the end: hanging handlers wake and leave
        self.release = asyncio.Event()  # set by a test, for greets_when_released
        self.content_read = asyncio.Event()
        self.changed = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def running(cls, script: Script | None = None) -> AsyncIterator[FakeMx]:
        mx = cls(script or Script())
        tasks: set[asyncio.Task[None]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError
            ):
                await mx._serve(reader, writer)
            await mx._left()
            writer.close()

        context = mx.script.tls if mx.script.implicit_tls else None
        server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 24, ssl=context)
        mx.port = server.sockets[0].getsockname()[1]
        try:
            yield mx
        finally:
            mx.silence.set()
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, condition: Callable[[FakeMx], bool]) -> None:
        """Wait until this holds, five seconds at most."""
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(lambda: condition(self))

    async def _left(self) -> None:
        async with self.changed:
            self.open_connections -= 1
            self.changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self.most_open = max(self.most_open, self.open_connections)
        self.peers.append(writer.get_extra_info("peername")[0])
        async with self.changed:
            self.changed.notify_all()
        if self.script.greets_when_released:
            await self.release.wait()
        session = _Session(self, reader, writer)
        if await session.say(self.script.reply("GREETING", "220 fake.example ESMTP")):
            await session.run()


class _Session:
    def __init__(self, mx: FakeMx, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.mx, self.script, self.reader, self.writer = mx, mx.script, reader, writer
        self.mail = ""
        self.rcpts: list[str] = []
        self.messages = 0

    async def say(self, reply: str) -> bool:
        """Answer, or do what the reply names; False when the connection is over."""
        if reply == HANG:
            await self.mx.silence.wait()
            return False
        if reply in (DROP, RESET):
            if reply == RESET:
                self.writer.transport.abort()
            return False
        self.writer.write(reply.encode("latin-1") + b"\r\n")
        await self.writer.drain()
        return not reply.startswith("421")

    async def run(self) -> None:
        while line := await self.reader.readline():
            command = line.decode().rstrip("\r\n")
            self.mx.commands.append(command)
            verb = command.split(" ", maxsplit=1)[0].upper()
            if not await self.answer(verb, command):
                return

    async def answer(self, verb: str, command: str) -> bool:
        match verb:
            case "EHLO":
                default = "250-fake.example\r\n" + "\r\n".join(
                    f"250{'-' if number < len(self.extensions) else ' '}{extension}"
                    for number, extension in enumerate(self.extensions, 1)
                )
                return await self.say(
                    self.script.reply("EHLO", default if self.extensions else "250 fake.example")
                )
            case "STARTTLS":
                return await self.start_tls()
            case "MAIL":
                self.mail, self.rcpts = command, []
                return await self.say(self.script.reply("MAIL", "250 2.1.0 ok"))
            case "RCPT":
                address = command.partition("<")[2].partition(">")[0]
                reply = self.script.reply(f"RCPT:{address}", self.script.reply("RCPT", "250 2.1.5 ok"))
                if reply.startswith("2"):
                    self.rcpts.append(address)
                return await self.say(reply)
            case "DATA":
                return await self.data()
            case "QUIT":
                await self.say(self.script.reply("QUIT", "221 bye"))
                return False
            case _:
                return await self.say(self.script.reply(verb, "250 ok"))

    @property
    def extensions(self) -> tuple[str, ...]:
        secured = self.writer.get_extra_info("sslcontext") is not None
        offers = (self.script.tls is not None or self.script.tls_breaks) and not secured
        return (*self.script.extensions, "STARTTLS") if offers else self.script.extensions

    async def start_tls(self) -> bool:
        reply = self.script.reply("STARTTLS", "220 go")
        if not await self.say(reply) or not reply.startswith("220"):
            return not reply.startswith("421")
        if self.script.tls_breaks:
            await self.reader.read(100)
            return await self.say("This is not TLS")
        assert self.script.tls is not None
        await self.writer.start_tls(self.script.tls)
        return True

    async def data(self) -> bool:
        reply = self.script.reply("DATA", "354 go" if self.rcpts else "554 5.5.1 no valid recipients")
        if not await self.say(reply):
            return False
        if not reply.startswith("354"):
            return True
        if not self.script.reads_content:
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport can
            return await self.say(HANG)
        if "MIDWAY" in self.script.replies:
            await self.reader.read(10)
            return await self.say(self.script.replies["MIDWAY"])
        content = await self.reader.readuntil(b".\r\n")
        while content != b".\r\n" and not content.endswith(b"\r\n.\r\n"):
            content += await self.reader.readuntil(b".\r\n")
        self.mx.content_read.set()
        lines = content[:-3].split(b"\r\n")
        text = b"\r\n".join(line.removeprefix(b".") for line in lines)
        self.mx.transactions.append(Transaction(self.mail, self.rcpts, text))
        self.messages += 1
        if not await self.say(self.script.reply("CONTENT", "250 2.0.0 queued")):
            return False
        if self.messages >= self.script.messages_per_connection:
            await self.say("421 4.4.2 enough")
            return False
        return True
