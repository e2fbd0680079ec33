"""Receiving a message: the end of DATA found by one scan, dots taken off, line ends cleaned. Sans-IO.

Only <CRLF>.<CRLF> ends DATA (RFC 5321 section 4.1.1.4), whatever pieces it arrives in; a dot between other
line ends is content. `DataReceiver` serves DATA, `ChunkReceiver` BDAT (RFC 3030). Both stop holding octets as
soon as a message is too big or memory is short, and go on reading to its end, so that the refusal comes where
the client looks for it. A refused message shows as `fault`, the reply to give.

Neither looks into header or body, nor re-encodes anything.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Literal

from smtp.codes import Code, Permanent, Reply, Status, Temporary

LineEndings = Literal["normalise", "refuse"]

_END = b"\r\n.\r\n"
_LF = 0x0A
_DOT_AT_START = re.compile(rb"\n\.")
SLICE_OCTETS = 262_144
"""So much is cleaned at once: some 2 ms where every octet of it is a bare line end."""

TOO_BIG = Reply(Code.TOO_BIG, Status.SYSTEM_TOO_BIG, "Message exceeds the size limit")
NO_ROOM = Reply(Code.INSUFFICIENT_STORAGE, Status.SYSTEM_FULL, "Too many messages at once, try again later")
BARE_LINE_END = Reply(Code.REFUSED, Status.CONTENT, "Bare CR or LF in the message, lines must end with CRLF")
HOLDS_NUL = Reply(Code.REFUSED, Status.CONTENT, "NUL octet in the message")


class Budget:
    """Octets that may be held at once by all who share it (A6)."""

    __slots__ = ("limit_octets", "used_octets")

    def __init__(self, limit_octets: int) -> None:
        self.limit_octets = limit_octets
        self.used_octets = 0

    def take(self, octets: int) -> bool:
        """Reserve, or change nothing and say no."""
        if self.used_octets + octets > self.limit_octets:
            return False
        self.used_octets += octets
        return True

    def give(self, octets: int) -> None:
        """Return what was taken."""
        self.used_octets -= octets


def clean(text: bytes, line_endings: LineEndings, *, stuffed: bool, line_start: bool = True) -> bytes:
    """The message with CRLF line ends only, without dot-stuffing if it was `stuffed`.

    Line ends come first: a dot after a bare LF was stuffed by a sender who took that for a line end. Raises
    `Permanent` for NUL (RFC 2045 section 2.8), and for a bare CR or LF under "refuse". `line_start`: the text
    does not begin inside a line.
    """
    if b"\0" in text:
        raise Permanent(HOLDS_NUL)
    line_ends = text.count(b"\r\n")
    if text.count(b"\n") != line_ends or text.count(b"\r") != line_ends:
        if line_endings == "refuse":
            raise Permanent(BARE_LINE_END)
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    if not stuffed:
        return text
    if line_start and text.startswith(b"."):
        text = text[1:]
    return text.replace(b"\r\n.", b"\r\n") if b"\r\n." in text else text  # RFC 5321 section 4.5.2


def cleaning(
    text: bytes, line_endings: LineEndings, *, stuffed: bool, slice_octets: int = SLICE_OCTETS
) -> Generator[None, None, bytes]:
    """`clean` in steps, one for each slice: whoever runs it lets others have their turn in between.

    What is clean already is not copied.
    """
    pieces: list[bytes] = []
    taken = start = 0
    line_start = True
    while start < len(text):
        end = _cut(text, start, start + slice_octets)
        piece = text[start:end]
        cleaned = clean(piece, line_endings, stuffed=stuffed, line_start=line_start)
        if cleaned is not piece:
            pieces += (text[taken:start], cleaned)
            taken = end
        start, line_start = end, text[end - 1] == _LF
        yield
    return b"".join((*pieces, text[taken:])) if pieces else text


def _cut(text: bytes, start: int, end: int) -> int:
    """The end of a slice: after its last line, or else anywhere but between CR and LF."""
    if end >= len(text):
        return len(text)
    line_end = text.rfind(b"\n", start, end)
    if line_end >= 0:
        return line_end + 1
    return end + 1 if text[end] == _LF else end


class _Receiver:
    """Octets held for one message, within its size limit and the shared budget."""

    _stuffed: bool

    def __init__(self, size_limit_octets: int, budget: Budget, line_endings: LineEndings) -> None:
        self.received_octets = 0
        self.fault: Reply | None = None
        self._limit = size_limit_octets
        self._budget = budget
        self._line_endings: LineEndings = line_endings
        self._reserved = 0
        self._buffer = bytearray()

    def _reserve(self, octets: int, limit: int, held: int) -> None:
        """Count `octets` more, or note the fault and give back what was reserved."""
        if self.fault is not None:
            return
        if held > limit:
            self.fault = TOO_BIG
        elif self._budget.take(octets):
            self._reserved += octets
            return
        else:
            self.fault = NO_ROOM
        self.release()

    def release(self) -> None:
        """Give the reserved octets back; to be called once the message is done with."""
        self._budget.give(self._reserved)
        self._reserved = 0

    def content(self) -> bytes:
        """The whole message, cleaned. Raises `Permanent` or `Temporary` where it is refused."""
        self._check()
        return self._checked(clean(self._take(), self._line_endings, stuffed=self._stuffed))

    def cleaning(self) -> Generator[None, None, bytes]:
        """`content` in steps, for a large one."""
        self._check()
        return self._checked((yield from cleaning(self._take(), self._line_endings, stuffed=self._stuffed)))

    def _check(self) -> None:
        if self.fault is not None:
            raise (Temporary if self.fault.is_temporary else Permanent)(self.fault)

    def _checked(self, content: bytes) -> bytes:
        if len(content) > self._limit:
            self.fault = TOO_BIG
        self._check()
        return content

    def _take(self) -> bytes:
        text = bytes(self._buffer)
        self._buffer = bytearray()
        return text


class DataReceiver(_Receiver):
    """The octets after 354. Feed what arrives until `feed` returns what follows the final dot."""

    _stuffed = True

    def __init__(self, size_limit_octets: int, budget: Budget, line_endings: LineEndings) -> None:
        super().__init__(size_limit_octets, budget, line_endings)
        self._buffer += b"\r\n"  # the end of the DATA line: a dot may stand right at the start
        self._whole: bytes | None = None
        # Doubled dots do not count (RFC 1870 section 5); how many there are is known only at the end.
        self._raw_limit = size_limit_octets + size_limit_octets // 8 + 1024

    def feed(self, data: bytes) -> bytes | None:
        """None while the message goes on; at its end, the octets that follow it (often b"")."""
        if not self.received_octets and self._take_whole(data):
            return b""
        buffer = self._buffer
        start = max(0, len(buffer) - len(_END) + 1)
        buffer += data
        self.received_octets += len(data)
        end = buffer.find(_END, start)
        rest = None
        if end >= 0:
            rest = bytes(memoryview(buffer)[end + len(_END) :])
            del buffer[end + 2 :]
        self._reserve(len(data), self._raw_limit, len(buffer))
        if self.fault is not None:
            del buffer[: 1 - len(_END)]  # enough to recognise the end in two pieces
        return rest

    def _take_whole(self, data: bytes) -> bool:
        """The usual mail: one piece, of which one look tells that no line but the last begins with a dot.

        A bare line feed counts, since it may yet become a line end (`clean`).
        """
        last = len(data) - len(_END)
        if not data.endswith(_END) or data.startswith(b"."):
            return False
        dot = _DOT_AT_START.search(data)  # half the time of find() with two octets
        if dot is None or dot.start() != last + 1:
            return False
        self.received_octets = len(data)
        self._reserve(len(data), self._raw_limit, last)
        self._whole = data[: last + 2]
        self._stuffed = False
        return True

    def _take(self) -> bytes:
        if self._whole is not None:
            return self._whole
        with memoryview(self._buffer) as view:
            text = bytes(view[2:])
        self._buffer = bytearray()
        return text


class ChunkReceiver(_Receiver):
    """The chunks of BDAT, which are counted, not ended by a dot (RFC 3030 section 3)."""

    _stuffed = False

    def feed(self, data: bytes) -> None:
        """Take a piece of a chunk."""
        self.received_octets += len(data)
        self._reserve(len(data), self._limit, len(self._buffer) + len(data))
        if self.fault is None:
            self._buffer += data
        else:
            self._buffer.clear()

    def _take(self) -> bytes:
        text = super()._take()
        return text if text.endswith(b"\r\n") or not text else text.removesuffix(b"\r") + b"\r\n"
