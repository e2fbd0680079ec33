"""The octets a client has sent and nobody has read yet: lines one by one, or everything at once.

Only what cannot be used at once comes here (`server_connection`): half a line, commands behind the one under
way, the piece of a message that came with a command. Reading from the socket pauses beyond
`HIGH_WATER_OCTETS` (A6). A line that outgrows its limit is dropped as it comes and shows as `OVERLONG`.
"""

from __future__ import annotations

import asyncio

LONGEST_LINE_OCTETS = 12_288  # RFC 4954 section 4, which outdoes every other command
HIGH_WATER_OCTETS = 65_536
OVERLONG = b""  # no line is empty: a line has at least its line feed


class InputBuffer:
    """One connection's unread input."""

    __slots__ = ("_buffer", "_dropping", "_paused", "_scanned", "_transport")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # no line feed before this place
        self._dropping = False
        self._paused = False
        self._transport: asyncio.ReadTransport | None = None

    def __len__(self) -> int:
        return len(self._buffer)

    def attach(self, transport: asyncio.ReadTransport) -> None:
        """Read from this transport from now on."""
        self.resume()
        self._transport = transport

    def stop(self) -> None:
        """What comes next is for somebody else: nothing more arrives here from this transport."""
        if self._transport is not None:
            self._transport.pause_reading()

    def feed(self, data: bytes) -> None:
        """Octets have arrived."""
        self._buffer += data
        if len(self._buffer) > HIGH_WATER_OCTETS and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def resume(self) -> bool:
        """More is wanted. True where it begins a line: nothing is held, no overlong line is being dropped."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return not self._buffer and not self._dropping

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

    def take(self) -> bytes:
        """Everything there is."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return data

    def give_back(self, data: bytes) -> None:
        """Put octets that were taken too many before the rest."""
        if data:
            self._buffer[:0] = data
            self._scanned = 0
