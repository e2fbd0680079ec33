"""Requests with two readings, fields that break out of their line, bodies that unfold."""

import asyncio
import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.api_world import MAIL, SMS, World, make_settings, world

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_HOST = b"Host: x\r\n"
SMUGGLED = b"GET /healthz?smuggled HTTP/1.1\r\n" + _HOST + b"\r\n"


async def spoken(api: World, octets: bytes) -> bytes:
    """Everything that the API says to these octets until it closes, or until the client has left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    writer.write(octets)
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


AMBIGUOUS = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + SMUGGLED,
    "a list of lengths": b"Content-Length: 5, 6\r\n\r\nhello" + SMUGGLED,
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a blank before the colon": b"Content-Length : 5\r\n\r\nhello" + SMUGGLED,
    "a negative length": b"Content-Length: -5\r\n\r\nhello" + SMUGGLED,
    "a signed length": b"Content-Length: +5\r\n\r\nhello" + SMUGGLED,
    "a length in hex": b"Content-Length: 0x5\r\n\r\nhello" + SMUGGLED,
    "a huge length": b"Content-Length: " + b"9" * 40 + b"\r\n\r\nhello" + SMUGGLED,
    "a length that wraps": b"Content-Length: 18446744073709551621\r\n\r\nhello" + SMUGGLED,
    "chunked is not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk size that wraps": b"Transfer-Encoding: chunked\r\n\r\n1000000000000000a\r\nhello\r\n" + SMUGGLED,
    "a chunk that is longer": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "a folded field": b"X: a\r\n Content-Length: 5\r\nContent-Length: 0\r\n\r\n" + b"",
    "NUL in a field": b"X: a\0b\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a bare CR in a field": b"X: a\rContent-Length: 5\r\n\r\n" + SMUGGLED,
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_a_request_with_two_readings_is_refused_and_nothing_behind_it_is_read(
    tmp_path: Path, name: str
) -> None:
    async with world(tmp_path) as api:
        answer = await spoken(api, b"POST /v1/sms HTTP/1.1\r\n" + _HOST + AMBIGUOUS[name])
        assert [int(status) for status in _STATUS.findall(answer)] == [400], answer
        assert b"connection: close" in answer.lower()
        assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "start",
    [
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://other.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: a\n\n",
        b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade, http2-settings\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_odd_beginnings_get_one_answer_below_500(tmp_path: Path, start: bytes) -> None:
    async with world(tmp_path) as api:
        statuses = [int(status) for status in _STATUS.findall(await spoken(api, start))]
        assert len(statuses) == 1
        assert statuses[0] == 200 or 400 <= statuses[0] < 500


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x"])
async def test_a_body_that_would_unfold_is_not_accepted(tmp_path: Path, coding: str) -> None:
    bomb = gzip.compress(b'{"from":"' + b"x" * 1_000_000)
    async with world(tmp_path) as api:
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        answer = await api.client.post("/v1/sms", content=bomb, headers=headers)
        assert answer.status_code == 415, answer.text


INJECTED = [
    "a\r\nBcc: evil@x.example",
    "a\nBcc: evil@x.example",
    "a\rBcc: x",
    "a\0b",
    "a\u2028b",
    "a\x85b",
    "\ud7ff",
]


@pytest.mark.parametrize("text", INJECTED, ids=repr)
@pytest.mark.parametrize("field", ["subject", "from", "to", "reply_to", "headers", "filename", "unsubscribe"])
async def test_no_field_of_a_mail_becomes_two(tmp_path: Path, field: str, text: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "subject": {"subject": text},
        "from": {"from": f"{text} <shop@example.org>"},
        "to": {"to": [f"{text} <ada@example.net>"]},
        "reply_to": {"reply_to": f"{text} <ada@example.net>"},
        "headers": {"headers": {"X-Campaign": text}},
        "filename": {"attachments": [{"filename": text, "content": "aGk=", "content_type": "text/plain"}]},
        "unsubscribe": {"unsubscribe": {"https": f"https://example.org/{text}"}},
    }
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/mail", json={**MAIL, **changes[field]})
        if answer.status_code != 202:
            assert answer.status_code == 422, answer.text
            return
        await api.settled(answer.json()["id"])
        ((work,),) = [api.mail.works]
        header, _, _ = work.message.content.partition(b"\r\n\r\n")
        names = [line.partition(b":")[0].lower() for line in header.split(b"\r\n") if line[:1] not in b" \t"]
        assert b"bcc" not in names
        assert header.count(b"\n") == header.count(b"\r") == header.count(b"\r\n")
        assert b"\0" not in header


@pytest.mark.parametrize(
    "name", ["X-Evil\r\nBcc", "X Evil", "X:Y", "", "Bcc", "Received", "DKIM-Signature", "é"]
)
async def test_no_name_of_a_header_field_breaks_out(tmp_path: Path, name: str) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/mail", json={**MAIL, "headers": {name: "x"}})
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("given", ["a\tb", "a b", "x" * 65, "é", "<script>", "a;b", '"'])
async def test_only_a_plain_word_comes_back_as_the_request_id(tmp_path: Path, given: str) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.get("/healthz", headers={b"X-Request-Id": given.encode()})
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
        assert answer.headers["x-request-id"] != given


async def test_what_a_client_wrote_comes_back_as_json_alone(tmp_path: Path) -> None:
    script = "<script>alert(1)</script>"
    async with world(tmp_path) as api:
        for answer in (
            await api.client.post("/v1/sms", json={**SMS, "to": script}),
            await api.client.get(f"/{script}"),
            await api.client.get("/v1/messages", params={script: script}),
            await api.client.get(f"/v1/messages/{script}"),
        ):
            assert 400 <= answer.status_code < 500
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"


async def test_a_proxys_word_about_the_client_counts_only_behind_a_proxy(tmp_path: Path) -> None:
    # Guessing is slowed by address; who could choose an address would never be slowed.
    settings = make_settings(limits={"auth_free_failures": 2})
    async with (
        world(tmp_path, settings=settings) as api,
        api.client_with("gw_0123456789ab_" + "0" * 32) as guesser,
    ):
        statuses = [
            (await guesser.get("/v1/account", headers={"X-Forwarded-For": f"198.51.100.{n}"})).status_code
            for n in range(5)
        ]
        assert statuses[-1] == 429
