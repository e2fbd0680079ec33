"""The parts of a mail (RFC 2045, RFC 2046 section 5.1), found in one pass over its octets. Sans-IO.

`Scanner` looks for the delimiter lines of the multiparts that are open, and at the header of each part for
the next multipart. It goes in steps of bounded work, so that whoever drives it can let others have their turn
in between, and it stops at the limits. Nothing is decoded or copied but the header of a part.

A message/rfc822 is a leaf: it is a mail of its own. So is a multipart without a boundary that can be found
(RFC 2231 continuations of it are not read), or with that of a multipart around it.

`structure` judges a mail at its acceptance; raises `StructureError`.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from os.path import commonprefix

from msgspec import Struct

from smtp.header_error import StructureError
from smtp.headers import Field
from smtp.limits import MailLimits

PART_HEADER_OCTETS = 16_384  # of a part's header; what comes after is taken for its body
_STEP_OCTETS = 262_144  # searched in one step, about half a millisecond
_STEP_LINES = 256  # that begin like a delimiter, looked at in one step
_BOUNDARY_OCTETS = 200  # RFC 2046 section 5.1.1 allows 70
_AT_ONCE_OCTETS = 16_384  # of a body that is walked without a break: 2 ms at most

_TYPE = re.compile(rb"(?:\A|\n)content-type[ \t]*+:([^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+)", re.IGNORECASE)
_MEDIA = re.compile(rb"\s*+([!#$%&'*+.0-9A-Z^_`a-z{|}~-]++/[!#$%&'*+.0-9A-Z^_`a-z{|}~-]++)")
_BOUNDARY = re.compile(rb';\s*+boundary\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]++))', re.IGNORECASE)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)

Steps = Generator[None, None, None]


class Part(Struct, frozen=True, gc=False):
    """A leaf: where its header begins, and where its body begins and ends."""

    header_start: int
    body_start: int
    body_end: int


class Scanner:
    """Reads the structure of the entity `octets`, whose body starts at `body_start`."""

    def __init__(
        self, octets: bytes, *, body_start: int, content_type: bytes, limits: MailLimits, start: int = 0
    ) -> None:
        self.parts: list[Part] = []
        """The leaves that have ended, in order."""
        self.opened = 0
        """Body parts begun."""
        self.over = False
        """Whether the end is reached, or the number of parts that is allowed."""
        self.too_many = False
        self.too_deep = False
        self._octets = octets
        self._limits = limits
        self._stack: list[bytes] = []
        self._levels: dict[bytes, int] = {}
        self._needle = b"\n--"
        self._leaf: tuple[int, int] | None = (start, body_start)
        self._at = max(0, body_start - 1)  # a delimiter may stand right at the start
        self._enter(content_type)
        if not self._stack:
            self._end_leaf(len(octets))
            self.over = True

    def step(self) -> None:
        """Goes on for a bounded while."""
        octets, needle = self._octets, self._needle
        stop = min(len(octets), self._at + _STEP_OCTETS)
        for _ in range(_STEP_LINES):
            found = octets.find(needle, self._at, stop)
            if found < 0:
                self._at = max(self._at, stop - len(needle) + 1)
                if stop == len(octets):
                    self._end_leaf(stop)
                    self.over = True
                return
            self._at = found + len(needle)
            line_end = octets.find(b"\n", self._at, self._at + _BOUNDARY_OCTETS + 4)
            if line_end < 0:
                line_end = min(len(octets), self._at + _BOUNDARY_OCTETS + 4)
            line = octets[found + 3 : line_end].rstrip()
            level = self._levels.get(line)
            if level is None:
                level = self._levels.get(line[:-2]) if line.endswith(b"--") else None
                if level is not None:
                    self._close(level, found)
                    return
            else:
                self._close(level + 1, found)
                self._open(line_end + 1)
                return

    def _close(self, level: int, at: int) -> None:
        """Ends the leaf that is open, and the multiparts from `level` on."""
        self._end_leaf(at - 1 if self._octets[at - 1 : at] == b"\r" else at)
        for boundary in self._stack[level:]:
            del self._levels[boundary]
        del self._stack[level:]
        if self._stack:
            self._look_for()
        else:
            self.over = True  # what follows is the epilogue

    def _open(self, start: int) -> None:
        """Begins the part whose header starts there."""
        self.opened += 1
        if self.opened > self._limits.mime_parts:
            self.too_many = self.over = True
            return
        header_end = part_header_end(self._octets, start)
        self._leaf = (start, header_end)
        self._at = max(start - 1, 0)  # a delimiter may stand in what looks like a header
        found = _TYPE.search(self._octets[start:header_end])
        if found is not None:
            self._enter(found[1])

    def _enter(self, content_type: bytes) -> None:
        """Goes into a multipart, if it is one."""
        boundary = boundary_of(content_type)
        if not boundary or boundary in self._levels:
            return
        if len(self._stack) >= self._limits.mime_depth:
            self.too_deep = True
            return
        self._leaf = None
        self._levels[boundary] = len(self._stack)
        self._stack.append(boundary)
        self._look_for()

    def _look_for(self) -> None:
        """Every line that may end or begin a part starts with what the open boundaries have in common."""
        self._needle = b"\n--" + (commonprefix(self._stack) or b"")  # noqa: RUF071 - octets, not paths

    def _end_leaf(self, end: int) -> None:
        if self._leaf is not None:
            start, body_start = self._leaf
            self.parts.append(Part(start, min(body_start, max(end, start)), max(end, body_start)))
            self._leaf = None


def part_header_end(octets: bytes, start: int) -> int:
    """Where the body of a part begins whose header starts at `start`."""
    if octets.startswith(b"\r\n", start):
        return start + 2
    end = octets.find(b"\r\n\r\n", start, start + PART_HEADER_OCTETS)
    return start if end < 0 else end + 4


def media_type(content_type: bytes) -> str:
    """`type/subtype` of a Content-Type, in lower case; "text/plain" where it has none (RFC 2045 5.2)."""
    found = _MEDIA.match(content_type)
    return found[1].decode("ascii").lower() if found else "text/plain"


def boundary_of(content_type: bytes) -> bytes:
    """The boundary of a multipart's Content-Type, b"" for anything else (RFC 2046 section 5.1.1)."""
    if not media_type(content_type).startswith("multipart/"):
        return b""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return b""
    boundary = found[2] or _QUOTED_PAIR.sub(rb"\1", found[1] or b"")
    return boundary.rstrip() if len(boundary) <= _BOUNDARY_OCTETS else b""


def structure(
    content: bytes, body_start: int, content_type: Field | None, limits: MailLimits
) -> Steps | None:
    """None for a mail whose structure is within the limits at a glance; else the steps that will tell.

    Every part, and every multipart, has a line that begins with two hyphens; nearly all mails have fewer of
    those than the limits allow, and are not walked. Raises `StructureError` at once for a small mail, the
    steps raise it for a large one.
    """
    if content_type is None or b"multipart" not in content_type.raw.lower():
        return None
    size = len(content) - body_start
    if size <= _STEP_OCTETS and _few_delimiters(content.count(b"\n--", body_start - 1), limits):
        return None
    steps = _walk(content, body_start, content_type.raw.partition(b":")[2], limits)
    if size > _AT_ONCE_OCTETS:
        return steps
    for _ in steps:
        pass
    return None


def _few_delimiters(lines: int, limits: MailLimits) -> bool:
    return lines <= min(limits.mime_depth, limits.mime_parts)


def _walk(content: bytes, body_start: int, content_type: bytes, limits: MailLimits) -> Steps:
    lines = 0
    for at in range(body_start - 1, len(content), _STEP_OCTETS):
        lines += content.count(b"\n--", at, at + _STEP_OCTETS + 2)
        yield
        if not _few_delimiters(lines, limits):
            break
    else:
        return
    scanner = Scanner(content, body_start=body_start, content_type=content_type, limits=limits)
    while not scanner.over and not scanner.too_deep:
        scanner.step()
        yield
    if scanner.too_many:
        raise StructureError(f"the mail has more than {limits.mime_parts} parts")
    if scanner.too_deep:
        raise StructureError(f"the mail has multiparts nested more than {limits.mime_depth} deep")
