"""Both sides over real loopback sockets: an application behind our SMSC, our ESME, and a bare client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from smpp.constants import CommandStatus
from smpp.door import Door
from smpp.esme import Esme, EsmeConfig, OnDeliver, RequestOutcome
from smpp.link import MaySend, always
from smpp.pdu import Pdu, Splitter, SubmitSm, decode, encode
from smpp.smsc import Application, BindRequest, Bound, SmscConfig, SmscServer

Verdict = Callable[[SubmitSm], Awaitable[tuple[int, str]]]
BOUND_S = 5.0


async def accept(submit_sm: SubmitSm) -> tuple[int, str]:
    """Take everything; the id tells the destination."""
    return CommandStatus.ESME_ROK, f"id-{submit_sm.destination_addr}"


class FakeApplication(Application):
    """Lets the password `secret` in; what happens is put on queues for the test to wait on."""

    def __init__(self, verdict: Verdict = accept) -> None:
        self.verdict = verdict
        self.submits: asyncio.Queue[SubmitSm] = asyncio.Queue()
        self.binds: asyncio.Queue[Bound] = asyncio.Queue()
        self.ends: asyncio.Queue[tuple[Bound, str]] = asyncio.Queue()
        self.refuse_with: CommandStatus | None = None

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        if self.refuse_with is not None:
            return self.refuse_with
        if request.password != "secret":
            return CommandStatus.ESME_RINVPASWD
        return request.accept(context=request.system_id)

    def ready(self, bound: Bound) -> None:
        self.binds.put_nowait(bound)

    async def submit(self, bound: Bound, submit_sm: SubmitSm) -> tuple[int, str]:
        self.submits.put_nowait(submit_sm)
        return await self.verdict(submit_sm)

    def unbound(self, bound: Bound, reason: str) -> None:
        self.ends.put_nowait((bound, reason))


@contextlib.asynccontextmanager
async def serving(
    application: Application, door: Door | None = None, **config: object
) -> AsyncIterator[SmscServer]:
    """A started server on a free port."""
    server = SmscServer(application, SmscConfig(port=0, **config), door)  # type: ignore[arg-type]  # the tests name the fields
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


async def deliver_ok(_pdu: Pdu) -> CommandStatus:
    """An application that takes every deliver_sm."""
    return CommandStatus.ESME_ROK


class States:
    """The on_state calls of an Esme, to wait for."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, str]] = []
        self._queue: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()

    def __call__(self, bound: bool, reason: str) -> None:
        self.seen.append((bound, reason))
        self._queue.put_nowait((bound, reason))

    async def wait_for(self, *, bound: bool) -> str:
        """The reason of the next such state."""
        async with asyncio.timeout(BOUND_S):
            while True:
                is_bound, reason = await self._queue.get()
                if is_bound is bound:
                    return reason


@contextlib.asynccontextmanager
async def connected(
    port: int,
    on_deliver: OnDeliver = deliver_ok,
    *,
    states: States | None = None,
    wait: bool = True,
    on_late: Callable[..., None] | None = None,
    may_send: MaySend = always,
    **config: object,
) -> AsyncIterator[Esme]:
    """A running Esme, bound unless `wait` is false."""
    states = states or States()
    settings = {"system_id": "esme", "password": "secret", "reconnect_initial_s": 0.01, **config}
    esme = Esme(
        EsmeConfig(host="127.0.0.1", port=port, **settings),  # type: ignore[arg-type]  # the tests name the fields
        on_deliver,
        on_state=states,
        on_late=on_late,
        may_send=may_send,
    )
    task = asyncio.create_task(esme.run())
    try:
        if wait:
            await states.wait_for(bound=True)
        yield esme
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class BareClient:
    """A client without a session: writes what it is told and decodes what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._splitter = Splitter()
        self._frames: list[bytes] = []

    def send(self, *pdus: Pdu | bytes) -> None:
        """Write PDUs or raw octets."""
        self.writer.write(b"".join(pdu if isinstance(pdu, bytes) else encode(pdu) for pdu in pdus))

    async def receive(self) -> Pdu | None:
        """The next PDU, or None at the end."""
        async with asyncio.timeout(BOUND_S):
            while not self._frames:
                try:
                    data = await self.reader.read(65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._frames += self._splitter.feed(data)
        return decode(self._frames.pop(0))

    async def ask(self, pdu: Pdu | bytes) -> Pdu | None:
        """Send and receive one."""
        self.send(pdu)
        return await self.receive()


@contextlib.asynccontextmanager
async def bare_client(port: int) -> AsyncIterator[BareClient]:
    """A connected BareClient."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield BareClient(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


__all__ = [
    "BOUND_S",
    "BareClient",
    "FakeApplication",
    "RequestOutcome",
    "States",
    "bare_client",
    "connected",
    "serving",
    "soon",
]

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """The result, or a failing test after a bound."""
    async with asyncio.timeout(BOUND_S):
        return await awaitable
