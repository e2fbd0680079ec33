"""What targets need of asyncio: one loop, a transport in memory, and a log that must hold no fault."""

import asyncio
from collections.abc import Awaitable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import structlog

T = TypeVar("T")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The loop of all targets; what its exception handler hears is kept in `escaped`."""
    made = asyncio.new_event_loop()
    made.set_exception_handler(lambda _loop, context: escaped.append(context))
    return made


escaped: list[MutableMapping[str, Any]] = []
"""What reached the loop's exception handler since `run` began."""


def run(awaitable: Awaitable[T]) -> T:
    """The result; an exception in any callback of the loop fails the run too."""
    escaped.clear()
    result: T = loop().run_until_complete(awaitable)
    assert not escaped, f"an exception escaped into the loop: {escaped[0]}"
    return result


@contextmanager
def no_faults_logged() -> Iterator[None]:
    """Fails when anything is logged as an error: that is where A7 puts our own faults."""
    with structlog.testing.capture_logs() as entries:
        yield
    faults = [entry for entry in entries if entry["log_level"] in {"error", "critical"}]
    assert not faults, f"a fault of ours was logged: {faults[0]}"


class MemoryTransport(asyncio.Transport):
    """Both directions in memory. The reader's pauses are kept, as a socket would."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4321), "sockname": ("192.0.2.2", 25)})
        self.written = bytearray()
        self.paused = False
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Peer:
    """Feeds pieces to a server's protocol over a `MemoryTransport`, as fast as it reads."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.transport = MemoryTransport()
        protocol.connection_made(self.transport)

    async def send(self, pieces: list[bytes]) -> None:
        """All pieces; what a server does not want to read any more once it has closed is not sent."""
        for piece in pieces:
            await self.rest()
            if self.transport.closed:
                return
            self.protocol.data_received(piece)
        await self.rest()

    async def rest(self, turns: int = 10_000) -> None:
        """Lets the server work until it reads again, and a few turns more."""
        for turn in range(turns):
            await asyncio.sleep(0)
            if turn >= 3 and (not self.transport.paused or self.transport.closed):
                return
        raise AssertionError("the server neither reads nor closes")

    async def hang_up(self) -> None:
        """The client leaves."""
        self.protocol.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
