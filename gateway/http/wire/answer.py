"""An answer's octets (RFC 9112 section 4). Pure; whoever serves gives the time."""

import re
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from gateway.http.wire.call import NO_CONTENT, Call, Reply
from gateway.http.wire.problem import CLOSE, CONTENT_TYPE, Problem

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search  # RFC 9110 section 5.5


class Beginnings(dict[tuple[int, bool], bytes]):
    """How answers begin, up to the request's id: by status, and whether it is of a client's own things."""

    def __init__(self, now_s: float) -> None:
        super().__init__()
        self._date = b""
        self.set_date(now_s)

    def set_date(self, now_s: float) -> None:
        """What the field Date says from now on (RFC 9110 section 6.6.1)."""
        self._date = formatdate(now_s, usegmt=True).encode()
        self.clear()

    def __missing__(self, key: tuple[int, bool]) -> bytes:
        status, private = key
        made = self[key] = (
            b"HTTP/1.1 %d %b\r\ndate: %b\r\nx-content-type-options: nosniff\r\n%bx-request-id: "
            % (
                status,
                HTTPStatus(status).phrase.encode(),
                self._date,
                b"cache-control: no-store\r\n" if private else b"",
            )
        )
        return made


def octets(beginnings: Beginnings, call: Call, reply: Reply) -> bytes:
    """The whole answer. Raises ValueError for a header field that would be more than one."""
    status, body = reply.status, reply.body
    fields = b""
    for field in reply.headers:
        if _UNSAFE(field[0]) or _UNSAFE(field[1]):
            raise ValueError("a header field would break its line")
        if field == CLOSE:
            call.closes = True
        else:
            fields += b"%b: %b\r\n" % field
    if status != NO_CONTENT:  # RFC 9110 section 8.6: no Content-Length with 204
        fields += b"content-length: %d\r\ncontent-type: %b\r\n" % (len(body), reply.content_type)
    if call.expects_continue and not call.complete:  # RFC 9110 section 10.1.1: what follows is not known
        call.closes = True
    return b"%b%b\r\n%b%b%b\r\n%b" % (
        beginnings[status, call.principal is not None or status >= 400],
        call.request_id.encode(),
        call.rate_fields,
        fields,
        b"connection: close\r\n" if call.closes else b"",
        b"" if call.method == "HEAD" else body,
    )


def alone(problem: Problem) -> bytes:
    """The answer to no request, or to one that is not looked at; the connection closes with it."""
    body = msgspec.json.encode(problem.details)
    fields = [(b"content-type", CONTENT_TYPE), *problem.headers]
    return b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        problem.kind.status,
        problem.kind.title.encode(),
        b"".join(b"%b: %b\r\n" % one for one in fields),
        len(body),
        body,
    )
