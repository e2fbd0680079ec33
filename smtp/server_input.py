"""The octets a client has sent and nobody has read yet: lines one by one, or everything at once.

Half of asyncio's StreamReader and the part we need: a line is taken without an await while one is there, so
pipelined commands cost no task switch, and a message is taken in whole reads. Reading from the socket pauses
beyond `HIGH_WATER_OCTETS` (A6). A line that outgrows its limit is dropped as it comes and shows as
`OVERLONG`.
"""

from __future__ import annotations

import asyncio

HIGH_WATER_OCTETS = 65_536
OVERLONG = b""  # no line is empty: a line has at least its line feed


class InputBuffer:
    """One connection's unread input."""

    __slots__ = ("_buffer", "_dropping", "_ended", "_loop", "_paused", "_scanned", "_transport", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = bytearray()
        self._scanned = 0  # no line feed before this place
        self._dropping = False
        self._ended = False
        self._paused = False
        self._transport: asyncio.ReadTransport | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._buffer)

    def attach(self, transport: asyncio.ReadTransport) -> None:
        """Read from this transport from now on."""
        self._resume()
        self._transport = transport

    def feed(self, data: bytes) -> None:
        """Octets have arrived."""
        self._buffer += data
        if len(self._buffer) > HIGH_WATER_OCTETS and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True
        self._wake()

    def end(self) -> None:
        """No more will come. What is there can still be read."""
        self._ended = True
        self._wake()

    async def wait(self) -> bool:
        """Return True once more has arrived or the end was reached, False if it was reached before."""
        if self._ended:
            return False
        self._resume()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return True

    def take_line(self, limit_octets: int) -> bytes | None:
        """The next line with its line end, `OVERLONG` for one beyond the limit, None while incomplete."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            if len(buffer) > limit_octets:
                self._dropping = True
            if self._dropping:
                buffer.clear()
            self._scanned = len(buffer)
            return None
        line = OVERLONG if self._dropping or end >= limit_octets else bytes(buffer[: end + 1])
        del buffer[: end + 1]
        self._dropping = False
        self._scanned = 0
        return line

    def take(self, limit_octets: int | None = None) -> bytes:
        """Everything there is, or as much of it as the limit allows."""
        if limit_octets is None or limit_octets >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            data = bytes(self._buffer[:limit_octets])
            del self._buffer[:limit_octets]
        self._scanned = 0
        return data

    def give_back(self, data: bytes) -> None:
        """Put octets that were taken too many before the rest."""
        if data:
            self._buffer[:0] = data
            self._scanned = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
