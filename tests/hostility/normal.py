"""Normal clients: they go on sending over every door while somebody else attacks, and time each answer."""

import asyncio
import base64
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import httpx

from smpp.constants import CommandStatus
from smpp.esme import Esme, EsmeConfig
from smpp.esme import RequestOutcome as SmppOutcome
from smpp.pdu import SubmitSm
from tests.hostility.world import World

PAUSE_S = 0.02
MAIL = (
    b"From: a@demo.example\r\nTo: b@example.net\r\nSubject: As always\r\n\r\n"
    b"Nothing special in here.\r\n.\r\n"
)


@dataclass
class Experience:
    """What the normal clients saw: the seconds that each message took, by door."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def check(self, *, slowest_s: float) -> None:
        """Every door took messages, and none waited long."""
        assert set(self.seconds) == {"smtp", "http", "smpp"}, self.seconds.keys()
        for door, taken in self.seconds.items():
            assert len(taken) >= 2, (door, len(taken))
            assert max(taken) < slowest_s, (door, max(taken))


class Smtp:
    """A client of submission that keeps its connection."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self, *, source: str = "127.0.0.1") -> None:
        """Connects, greets and logs in."""
        self._streams = await asyncio.open_connection(
            "127.0.0.1", self._world.smtp, local_addr=(source, 0), limit=1 << 20
        )
        secrets = self._world.account.secrets
        plain = base64.b64encode(f"\0{secrets.smtp_user}\0{secrets.smtp_password}".encode())
        await self.ask(b"", b"220")
        await self.ask(b"EHLO normal.example\r\n", b"250")
        await self.ask(b"AUTH PLAIN " + plain + b"\r\n", b"235")

    async def ask(self, octets: bytes, expect: bytes) -> bytes:
        """Sends, and reads the reply, which must begin with `expect`."""
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(octets)
        await writer.drain()
        line = b"-" * 4
        while line[3:4] == b"-":
            line = await reader.readline()
        assert line.startswith(expect), line
        return line

    async def send(self) -> None:
        """One message, accepted."""
        await self.ask(b"MAIL FROM:<a@demo.example>\r\n", b"250")
        await self.ask(b"RCPT TO:<b@example.net>\r\n", b"250")
        await self.ask(b"DATA\r\n", b"354")
        await self.ask(MAIL, b"250")

    def detach(self) -> socket.socket:
        """The bare connection, for whoever goes on in a way of their own."""
        assert self._streams is not None
        own = self._streams[1].get_extra_info("socket").dup()
        self._streams[1].transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport can
        return cast(socket.socket, own)

    def close(self) -> None:
        """Hangs up."""
        if self._streams is not None:
            self._streams[1].close()


@asynccontextmanager
async def normal_clients(world: World) -> AsyncIterator[Experience]:
    """Clients at every door, from the first message taken until the block is left."""
    experience = Experience()
    smtp = Smtp(world)
    await smtp.open()
    http = httpx.AsyncClient(trust_env=False, timeout=60)
    esme = _esme(world)
    bound = asyncio.create_task(esme.run())
    stop = asyncio.Event()

    async def post() -> None:
        body = {"from": "a@demo.example", "to": ["b@example.net"], "subject": "Hi", "text": "Hello"}
        headers = {"Authorization": f"Bearer {world.account.secrets.api_key}"}
        answer = await http.post(f"http://127.0.0.1:{world.http}/v1/mail", json=body, headers=headers)
        assert answer.status_code == 202, answer.text

    async def submit() -> None:
        sms = SubmitSm(
            source_addr_ton=5,
            source_addr="DemoCo",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr="41791234567",
            short_message=b"Hello",
        )
        result = await esme.submit(sms)
        assert result.outcome is SmppOutcome.OK, result

    async def go_on(door: str, send: Callable[[], Awaitable[None]], first: asyncio.Event) -> None:
        taken = experience.seconds.setdefault(door, [])
        while not stop.is_set():
            started = time.monotonic()
            await send()
            taken.append(time.monotonic() - started)
            first.set()
            await asyncio.sleep(PAUSE_S)

    doors = {"smtp": smtp.send, "http": post, "smpp": submit}
    begun = {door: asyncio.Event() for door in doors}
    try:
        async with asyncio.timeout(20):
            while not esme.bound:
                await asyncio.sleep(0.02)
        async with asyncio.TaskGroup() as group:
            for door, send in doors.items():
                group.create_task(go_on(door, send, begun[door]))
            await asyncio.gather(*(one.wait() for one in begun.values()))
            for taken in experience.seconds.values():
                taken.clear()  # what came before the attack does not count
            try:
                yield experience
            finally:
                stop.set()
    finally:
        smtp.close()
        await http.aclose()
        await esme.unbind_and_close(2)
        bound.cancel()
        await asyncio.gather(bound, return_exceptions=True)


def _esme(world: World) -> Esme:
    async def take(_pdu: object) -> CommandStatus:
        return CommandStatus.ESME_ROK

    secrets = world.account.secrets
    return Esme(
        EsmeConfig(
            host="127.0.0.1",
            port=world.smpp,
            system_id=secrets.smpp_system_id,
            password=secrets.smpp_password,
            response_timeout_s=60,
        ),
        take,
    )
