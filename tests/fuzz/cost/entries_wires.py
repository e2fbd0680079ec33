"""Entry points that are whole conversations: requests through the application, octets on each protocol."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path

from gateway.http.wire.connection import Connection, Shared
from tests.fuzz import http, mail
from tests.fuzz.cost.entry import KIB, Entry
from tests.fuzz.loop import Peer, run
from tests.http.world import DOMAIN, World, make_settings, world
from tests.smtp.submission_support import PLAIN

_CREDITS = 1_000_000_000
_MAIL = f'{{"from":"a@{DOMAIN}","to":"b@b.example","text":"x"'
_SMS = '{"from":"ACME","to":"+41791234567","text":"x"'
_VALUES = (
    b"1,", b'"",', b"[],", b"{},", b"null,", b'"a@b.example",', b'"+41791234567",', b'{"a":1},', b'"a":1,',
    b'"a":',
    b"[", b"{", b'{"a":', b'"', b" ", b"9", b"1e", b'"\\u0000",', b"\\", b"\xff", b'"type":"sms",',
    b'"x":"y",',
    b'{"type":"sms","from":"ACME","to":"+41791234567","text":"x"},',
    b'{"filename":"","content":""},', b'"X-A":"b",',
)  # fmt: skip
_VALUES_NESTED = ((b"[", b"]"), (b'{"a":', b"}"), (b"[{", b"}]"))
_CHARACTERS = (
    b"a", b" ", b"@", b".", b",", b";", b"<", b">", b"(", b")", b'\\"', b'\\"\\"', b"\\\\", b"\\u0000",
    b"\\n", b":",
    "é".encode(), "✓".encode(), "😀".encode(), b"=?utf-8?q?a?=", b"-", b"4", b"AA99", b"A=", b"\\u0301", b"=",
    b"a@b.example, ", b"\\r\\n",
)  # fmt: skip


_stack = AsyncExitStack()


@cache
def _api() -> World:
    """The API with its usual limits, started once in a process; it ends with the process."""
    folder = tempfile.mkdtemp(prefix="fuzz-cost-")
    settings = make_settings(
        http={"rate_per_s": 0}, limits={"auth_free_failures": 1_000_000_000}, log={"level": "error"}
    )
    return run(_stack.enter_async_context(world(Path(folder), settings=settings, credits=_CREDITS)))


def _posted(path: str, octets: bytes) -> None:
    """One request with this body: 2xx or 4xx."""
    pieces = [octets[at : at + 64 * KIB] for at in range(0, len(octets), 64 * KIB)]
    status, answer = run(http.call(_api(), "POST", path, b"", [], pieces))
    assert 200 <= status < 500, (status, answer[:500])


def _values(path: str, name: str, before: str, after: str = "}", **limits: float) -> Entry:
    return Entry(
        name=f"POST {path}, {name}",
        run=lambda octets: _posted(path, octets),
        tokens=_VALUES,
        nested=_VALUES_NESTED,
        before=before.encode(),
        after=after.encode(),
        reach_octets=1024 * KIB,
        call_ms=limits.get("call_ms", 20),
        memory_multiple=limits.get("memory_multiple", 16),
        in_tests=name in {"metadata", "items"},
    )


def _text(path: str, name: str, before: str, after: str = '"}', reach_kib: int = 64) -> Entry:
    return Entry(
        name=f"POST {path}, text of {name}",
        run=lambda octets: _posted(path, octets),
        tokens=_CHARACTERS,
        before=before.encode() + b'"',
        after=after.encode(),
        reach_octets=reach_kib * KIB,
        call_ms=20,
        in_tests=name in {"to", "text"},
    )


def _wire(octets: bytes) -> None:
    """Octets on the API's port, in pieces of 64 KiB."""
    run(_converse(_api().server.shared, octets))


async def _converse(shared: Shared, octets: bytes) -> None:
    peer = Peer(Connection(shared))
    await peer.send([octets[at : at + 64 * KIB] for at in range(0, len(octets), 64 * KIB)])
    await peer.hang_up()
    while shared.tasks:
        await asyncio.wait(set(shared.tasks))


def _submitted(octets: bytes) -> None:
    pieces = [octets[at : at + 64 * KIB] for at in range(0, len(octets), 64 * KIB)]
    run(mail.submit(pieces, 1, limit_octets=1024 * KIB))


_LOGIN = b"EHLO c.example\r\n" + f"AUTH PLAIN {PLAIN}\r\n".encode()
_ENVELOPE = _LOGIN + b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"

ENTRIES = (
    *(_values("/v1/mail", name, f'{_MAIL},"{name}":') for name in
      ("to", "cc", "headers", "attachments", "tags", "metadata", "unsubscribe", "send_at", "subject", "odd")),
    *(_values("/v1/sms", name, f'{_SMS},"{name}":') for name in ("to", "metadata", "tags", "validity_s")),
    _values("/v1/batch", "items", '{"items":[', "]}"),
    _values("/v1/webhooks", "events", '{"url":"https://a.example/","events":['),
    *(_text("/v1/mail", name, f'{_MAIL},"{name}":') for name in
      ("from", "to", "cc", "reply_to", "subject", "send_at")),
    *(_text("/v1/mail", name, f'{_MAIL},"{name}":', reach_kib=1024) for name in ("text", "html", "raw")),
    _text("/v1/mail", "a header", f'{_MAIL},"headers":{{"X-A":', '"}}'),
    _text("/v1/mail", "a header's name", f'{_MAIL},"headers":{{', '":"x"}}'),
    _text("/v1/mail", "a filename", f'{_MAIL},"attachments":[{{"content":"aGk=","filename":', '"}]}'),
    _text("/v1/mail", "a content_type",
          f'{_MAIL},"attachments":[{{"content":"aGk=","filename":"a","content_type":', '"}]}'),
    _text("/v1/mail", "unsubscribe", f'{_MAIL},"unsubscribe":{{"https":', '"}}'),
    *(_text("/v1/sms", name, f'{_SMS},"{name}":', reach_kib=256) for name in ("from", "to", "text")),
    _text("/v1/webhooks", "url", '{"events":["message.failed"],"url":'),
    _text("/v1/domains", "name", '{"name":'),
    _text("/v1/sendernames", "name", '{"name":'),
    Entry(
        name="HTTP request",
        run=_wire,
        tokens=(
            b"a", b"\r\n", b"X: y\r\n", b"X:\r\n", b": ", b"\n", b"\r", b"\0", b"\xff", b"%41", b"/", b"?",
            b"&", b" ",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"Host: x\r\n", b"Content-Length: 1\r\n",
            b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n", b"1;a\r\na\r\n", b"0", b";",
            b"Cookie: a=b\r\n", b"X-Forwarded-For: a, \r\n", b",",
        ),
        before=b"POST /v1/sms?",
        after=b" HTTP/1.1\r\nHost: x\r\n\r\n",
        reach_octets=256 * KIB,
        call_ms=50,
        memory_multiple=64,
    ),
    Entry(
        name="HTTP header",
        run=_wire,
        tokens=(b"a", b"X: y\r\n", b"X:\r\n", b"X-Forwarded-For: a\r\n", b"X-API-Key: a\r\n", b" ",
                b"\t", b"\xff", b",", b";", b"=", b"\r\n"),
        before=b"GET /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: ",
        after=b"\r\n\r\n",
        reach_octets=256 * KIB,
        call_ms=50,
        memory_multiple=64,
    ),
    Entry(
        name="HTTP chunks",
        run=_wire,
        tokens=(b"1\r\na\r\n", b"1;a=b\r\na\r\n", b"0", b"a", b"\r\n", b"0\r\n", b"0\r\nX: y\r\n", b";a"),
        before=b"POST /v1/sms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        after=b"0\r\n\r\n",
        reach_octets=256 * KIB,
        call_ms=100,
        memory_multiple=200,
    ),
    Entry(
        name="SMTP commands",
        run=_submitted,
        tokens=(
            b"NOOP\r\n", b"RSET\r\n", b"a", b" ", b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"MAIL FROM:<",
            b">", b"=",
            b"RCPT TO:<b@b.example>\r\n", b"RCPT TO:<\"a\\\"\"@b.example>\r\n", b" SIZE=1", b" ENVID=+2B",
            b"AUTH PLAIN A\r\n", b"BDAT 0\r\n", b"BDAT 1\r\na", b"BDAT 0 LAST\r\n", b"STARTTLS\r\n", b"\"",
            b"\\",
            b"@a,", b"@", b".", b"(", b"MAIL FROM:<a@a.example>\r\nRSET\r\n",
        ),
        before=_LOGIN,
        reach_octets=256 * KIB,
        call_ms=200,  # 64 KiB of commands at a time; each is answered
        memory_multiple=200,
    ),
    Entry(
        name="SMTP message",
        run=_submitted,
        tokens=(b"a", b".", b"\r\n", b"\r\n.", b"\r", b"\n", b"\0", b"a\r\n", b"X: y\r\n", b"\r\n.\r\n"),
        before=_ENVELOPE + b"DATA\r\n",
        after=b"\r\n.\r\n",
        reach_octets=1024 * KIB,
        call_ms=200,
    ),
)  # fmt: skip
