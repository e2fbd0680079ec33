"""Cut what a server sends into replies (RFC 5321 section 4.2).

Tolerant where servers are sloppy (bare LF, a code without text, long lines, octets that are no UTF-8), strict
where sloppiness could make two programs see two conversations (codes that change within a reply, no code at
all), and bounded everywhere. Raises `ProtocolError`, after which the connection is of no more use.
"""

from __future__ import annotations

import re
from functools import lru_cache

from smtp.codes import Reply, Temporary, parse_reply

MAX_LINE_OCTETS = 4096  # RFC 5321 section 4.5.3.1.5 says 512; some servers write essays
MAX_REPLY_OCTETS = 65_536
MAX_LINES = 256

_CACHED_LINE_OCTETS = 200
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class ProtocolError(Temporary):
    """The other side does not speak SMTP, or speaks out of turn."""

    default = Reply(451, "4.5.0", "The remote server broke the protocol")


class ReplyParser:
    """Octets in, whole replies out."""

    __slots__ = ("_code", "_lines", "_octets", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._code = b""
        self._lines: list[str] = []
        self._octets = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing of a further reply has arrived."""
        return not self._rest and not self._lines

    def feed(self, octets: bytes) -> list[Reply]:
        """The replies completed by these octets, in order."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        if len(self._rest) > MAX_LINE_OCTETS:
            raise ProtocolError(f"a reply line is longer than {MAX_LINE_OCTETS} octets")
        replies = []
        for line in lines:
            if not self._lines and line[3:4] == b" " and len(line) <= _CACHED_LINE_OCTETS:
                replies.append(_whole(line))
                continue
            reply = self._line(line)
            if reply is not None:
                replies.append(reply)
        return replies

    def _line(self, line: bytes) -> Reply | None:
        line = line.removesuffix(b"\r")
        if len(line) > MAX_LINE_OCTETS:
            raise ProtocolError(f"a reply line is longer than {MAX_LINE_OCTETS} octets")
        code, separator, text = _parts(line)
        if self._lines and code != self._code:
            raise ProtocolError(f"the code changes within a reply, {self._code.decode()} to {code.decode()}")
        self._code = code
        self._octets += len(line)
        self._lines.append(text)
        if separator == b"-":
            if len(self._lines) >= MAX_LINES or self._octets > MAX_REPLY_OCTETS:
                raise ProtocolError("a reply does not end")
            return None
        lines, self._lines, self._octets = self._lines, [], 0
        return parse_reply(int(code), lines)


def _parts(line: bytes) -> tuple[bytes, bytes, str]:
    """Code, separator and text of a line without its line end."""
    code, separator = line[:3], line[3:4]
    if not (code.isdigit() and b"200" <= code < b"600") or separator not in (b"-", b" ", b""):
        shown = line[:60].decode("ascii", "backslashreplace")
        raise ProtocolError(f"not a reply: {shown}")
    return code, separator, _CONTROL.sub("?", line[4:].decode("utf-8", "replace"))


@lru_cache(maxsize=1024)  # servers say the same few things over and over
def _whole(line: bytes) -> Reply:
    """The reply of a single line."""
    code, _, text = _parts(line.removesuffix(b"\r"))
    return parse_reply(int(code), [text])
