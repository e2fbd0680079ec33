"""Targets of the HTTP API: the real application over a real store, by ASGI and by octets on its protocol."""

import asyncio
import re
import tempfile
from base64 import b64encode
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.http.wire.call import Call
from gateway.http.wire.connection import Connection
from gateway.http.wire.server import HttpServer
from tests.fuzz.loop import Peer, loop, no_faults_logged, run
from tests.fuzz.octets import Octets
from tests.http.world import DOMAIN, World, make_settings, world

_CREDITS = 1_000_000_000
_BODY_MAX_OCTETS = 4_000
_BOUND_S = 20.0


_stack = AsyncExitStack()


@cache
def api() -> World:
    """The API, started once per process; `close` stops it."""
    stack = _stack
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-api-"))
    settings = make_settings(
        http={"rate_per_s": 0, "max_body_octets": _BODY_MAX_OCTETS},
        limits={"auth_free_failures": 1_000_000_000},
    )
    made: World = run(stack.enter_async_context(world(Path(folder), settings=settings, credits=_CREDITS)))
    return made


def close() -> None:
    """Stops the API, which checks that the books balance; it may be started again."""
    loop().run_until_complete(_stack.aclose())
    api.cache_clear()


# --- bodies -----------------------------------------------------------------------------------------------

JSON = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\u0000", b"\\ud800", b"\\", b"null", b"true", b"-1",
    b"1e999", b"9" * 30, b'"from":', b'"to":', b'"text":', b'"subject":', b'"html":', b'"cc":', b'"bcc":',
    b'"reply_to":', b'"headers":{"X-A":', b'"attachments":[', b'"filename":', b'"content":',
    b'"content_type":', b'"content_id":', b'"raw":', b'"tags":', b'"metadata":{"a":', b'"send_at":',
    b'"unsubscribe":{', b'"items":[', b'"type":"mail",', b'"type":"sms",', f'"a@{DOMAIN}"'.encode(),
    b'"b@b.example"', b'"+41791234567"', b'"ACME"', b'"x"', b'"aGk="', b'"2026-01-01T00:00:00Z"',
    b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-12:00"', b'"text/plain"',
    b'"\\r\\nBcc: x@y.example"', b"\xff", b"\0", "é".encode(), b" ", b"[" * 200, b'"A <a@b.example>"',
    b'"segments":', b'"max_segments":', b'"validity_s":',
)  # fmt: skip
_TEMPLATES = (
    b"", f'{{"from":"a@{DOMAIN}","to":"b@b.example","text":"hi",'.encode(),
    b'{"from":"ACME","to":"+41791234567","text":"hi",',
    f'{{"items":[{{"type":"mail","from":"a@{DOMAIN}","to":"b@b.example","text":"x"}},'.encode(),
    f'{{"from":"a@{DOMAIN}","to":"b@b.example","raw":"'.encode(),
)  # fmt: skip


_PATHS = ("/v1/mail", "/v1/sms", "/v1/batch")
_HEADERS = (
    (b"content-type", b"application/json"), (b"content-type", b"text/html"),
    (b"content-type", b"application/json; charset=\xff"), (b"content-encoding", b"gzip"),
    (b"idempotency-key", b"k1"), (b"idempotency-key", b"\xff\0"), (b"idempotency-key", b"x" * 300),
    (b"x-request-id", b"a\r\nset-cookie: b"), (b"content-length", b"99999999999999999999"),
    (b"content-length", b"-1"), (b"expect", b"100-continue"), (b"x-forwarded-for", b"\xff, 1.2.3.4"),
    (b"content-length", b"9" * 5000), (b"traceparent", b"00-x"), (b"accept", b"\0"),
)  # fmt: skip


_FIELDS = (
    "from", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "headers", "attachments", "unsubscribe",
    "raw", "tags", "metadata", "send_at", "idempotency_key", "encoding", "odd",
)  # fmt: skip
_PLACES = (
    "+41791234567",
    "b@b.example",
    "B <b@b.example>",
    '"a b"@b.example',
    "ü@b.example",
    "b@[192.0.2.1]",
)
_MOMENTS = (
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "2026-02-30T00:00:00Z",
)


def _request(path: str, octets: Octets) -> Any:
    """A request that is right but for some of its fields, so that it comes far."""
    if path == "/v1/batch":
        return {"items": [_item(octets) for _ in range(1 + octets.number(3))]}
    base = dict(_BASES[path])
    for _ in range(octets.number(5)):
        base[octets.choice(_FIELDS)] = _value(octets)
    return base


_BASES: dict[str, dict[str, Any]] = {
    "/v1/mail": {"from": f"a@{DOMAIN}", "to": "b@b.example", "text": "hi"},
    "/v1/sms": {"from": "ACME", "to": "+41791234567", "text": "hi"},
}


def _item(octets: Octets) -> Any:
    kind = octets.choice(["mail", "sms"])
    return {"type": kind, **_request(f"/v1/{kind}", octets)}


def _value(octets: Octets, depth: int = 0) -> Any:
    """A value of any JSON type; the texts are those that parsers stumble over."""
    kind = octets.number(12)
    if kind in {0, 1} and depth < 4:
        return [_value(octets, depth + 1) for _ in range(octets.number(4))]
    if kind == 2 and depth < 4:
        return {octets.text(12): _value(octets, depth + 1) for _ in range(octets.number(4))}
    if kind == 3:
        return octets.choice([None, True, 0, -1, 2**63, 1e308, 0.1])
    if kind == 4:
        return octets.choice([*_MOMENTS, *_PLACES])
    if kind == 5:
        return b64encode(octets.sized(80)).decode()
    text = octets.text(60)
    if kind == 6:
        return {"filename": text, "content": "aGk=", "content_type": octets.choice(_TYPES)}
    if kind == 7:
        return {"https": f"https://x.example/{text}", "mailto": f"mailto:{text}"}
    return text


_TYPES = ("text/plain", "message/rfc822", "multipart/mixed", "image/png; name=x", "text/plain\r\nX: y", "x")


def api_bodies(data: bytes) -> None:
    """Any body and header on the submission routes is accepted or refused with a problem, never a 500."""
    octets = Octets(data)
    path = octets.choice(_PATHS)
    headers = [octets.choice(_HEADERS) for _ in range(octets.number(3))]
    if octets.number(4) == 3:
        headers.append((octets.sized(20).lower(), octets.sized(40)))
    cuts = octets.cut(3)
    if octets.number(2):
        body = msgspec.json.encode(_request(path, octets))
        _check_answer(*_answer("POST", path, b"", headers, cuts.pieces(body)))
        return
    prefix, suffix = octets.choice(_TEMPLATES), octets.choice([b"", b"}", b"]}", b'"}', b'""}'])
    body = prefix + octets.words(JSON, most=60) + suffix
    status, answer = _answer("POST", path, b"", headers, cuts.pieces(body))
    _check_answer(status, answer)


QUERY = (
    b"limit=", b"cursor=", b"&", b"=", b"1", b"0", b"-1", b"999999999999", b"status=", b"queued",
    b"channel=", b"sms", b"tag=", b"%00", b"%ff", b"%ed%a0%80", b"from=", b"2026-01-01T00:00:00Z", b"to=",
    b"\xff", b"product=", b"AAAA", b"x" * 300, b"+", b"%",
)  # fmt: skip
_READS = (
    "/v1/messages", "/v1/credits/postings", "/v1/domains", "/v1/sendernames", "/v1/webhooks",
    "/v1/sandbox/mail", "/v1/messages/",
)  # fmt: skip


def api_queries(data: bytes) -> None:
    """Any parameters and ids in addresses are answered or refused, never a 500."""
    octets = Octets(data)
    method = octets.choice(["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "\xff"])
    path = octets.choice(_READS)
    if path.endswith("/"):
        path += octets.text(40)
    status, answer = _answer(method, path, octets.words(QUERY, most=12), [], [])
    if method != "HEAD":
        _check_answer(status, answer)
    assert 200 <= status < 500


def _answer(
    method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], pieces: list[bytes]
) -> tuple[int, bytes]:
    """One request with the client's key, past the parser: the status and body of its answer."""
    return run(call(api(), method, path, query, headers, pieces))


class _Client:
    """Whose request it is; it sends as fast as it is read."""

    address = "192.0.2.7"
    stranger = False

    def recognise(self, account_id: str) -> None:
        """It is known."""

    def more(self, *, ask: bool) -> None:
        """It is sending anyway."""

    def enough(self) -> None:
        """It does not care."""


async def call(
    lab: World, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], pieces: list[bytes]
) -> tuple[int, bytes]:
    target = quote(path, errors="surrogatepass").encode() + b"?" + query
    usual = {b"authorization": f"Bearer {lab.key}".encode(), b"content-type": b"application/json"}
    given = {**usual, **dict(headers)}
    call = Call(lab.server.app.site, _Client(), method, target, given)
    with no_faults_logged():
        async with asyncio.timeout(_BOUND_S):
            answering = asyncio.ensure_future(lab.server.app.answer(call))
            for piece in pieces:
                await asyncio.sleep(0)
                call.feed(piece)
            call.end()
            octets = await answering
    call.release()
    assert lab.server.app.site.budget.used_octets == 0, "memory of a body was not given back"
    head, _, body = octets.partition(b"\r\n\r\n")
    start, *fields = head.split(b"\r\n")
    for field in fields:
        assert _FIELD.fullmatch(field), field
    return int(start.split()[1]), body


def _check_answer(status: int, answer: bytes) -> None:
    assert 200 <= status < 500, (status, answer)
    if status >= 400:
        problem = msgspec.json.decode(answer)
        assert problem["status"] == status
        assert problem["detail"]


# --- octets on the wire -----------------------------------------------------------------------------------

WIRE = (
    b"GET /healthz HTTP/1.1\r\n", b"POST /v1/sms HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"{}",
    b"hello", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n", b"X: y\r\n", b" folded\r\n", b"X-Long: " + b"y" * 9000 + b"\r\n", b"\0",
    b"\xff", b"\n", b"\r", b"GET ", b"/", b"*", b"http://[", b"%ff", b" HTTP/1.1\r\n", b" HTTP/9.9\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"EHLO x\r\n", b"\x16\x03\x01\x02\0\1", b"CONNECT a:1 HTTP/1.1\r\n",
    b"Content-Length: -1\r\n", b"Content-Length : 5\r\n", b"HEAD /docs HTTP/1.1\r\n", b"?q=\xff#",
    b"Authorization: Bearer x\r\n", b"Content-Type: application/json\r\n", b"GET /v1/messages HTTP/1.0\r\n",
    b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 5\r\n", b"5;x=y\r\nhello\r\n", b"Connection: keep-alive\r\n",
    b"POST /nowhere HTTP/1.1\r\nHost: x\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
)  # fmt: skip
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_FIELD = re.compile(rb"[!-9;-~]+: [\x20-\x7e]*")


def http_wire(data: bytes) -> None:
    """Any octets on the API's port, cut anywhere: answers below 500, an end, and no exception."""
    octets = Octets(data)
    cuts = octets.cut()
    run(_converse(api().server, cuts.pieces(octets.words(WIRE, most=60))))


async def _converse(server: HttpServer, pieces: list[bytes]) -> None:
    shared = server.shared
    with no_faults_logged():
        connection = Connection(shared)
        peer = Peer(connection)
        async with asyncio.timeout(_BOUND_S):
            await peer.send(pieces)
            await peer.hang_up()
            # Requests under way end by themselves once their client is gone.
            while shared.tasks:
                await asyncio.wait(set(shared.tasks))
    assert connection not in shared.connections
    for status in _STATUS_LINE.findall(bytes(peer.transport.written)):
        assert 100 <= int(status) < 500, status
    _, closing, behind = bytes(peer.transport.written).partition(b"\r\nconnection: close\r\n")
    assert not closing or not _STATUS_LINE.search(behind), "an answer behind the last one"
