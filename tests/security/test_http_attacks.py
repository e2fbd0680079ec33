"""Requests with two readings, fields that break out of their line, bodies that unfold."""

import asyncio
import gzip
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.http.world import MAIL, SMS, World, make_settings, world

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


@pytest.mark.parametrize(
    ("http", "statuses"),
    [
        ({}, {429}),
        ({"behind_proxy": True}, {429}),
        ({"behind_proxy": True, "trusted_proxies": ("192.0.2.1/32",)}, {429}),
        ({"behind_proxy": True, "trusted_proxies": ("127.0.0.1/32",)}, {401}),
    ],
)
async def test_a_proxys_word_about_the_client_counts_only_where_the_proxy_is_trusted(
    tmp_path: Path, http: dict[str, Any], statuses: set[int]
) -> None:
    # Guessing is slowed by address; who could choose an address would never be slowed.
    settings = make_settings(limits={"auth_free_failures": 2}, http=http)
    async with world(tmp_path, settings=settings) as api:
        seen = []
        for n in range(5):
            async with api.client_with(f"gw_{n}123456789ab_" + "0" * 32) as guesser:
                headers = {"X-Forwarded-For": f"198.51.100.{n}"}
                seen.append((await guesser.get("/v1/account", headers=headers)).status_code)
        assert set(seen[-2:]) == statuses, seen


async def test_lines_of_x_forwarded_for_are_read_as_one(tmp_path: Path) -> None:
    settings = make_settings(http={"trusted_proxies": ("127.0.0.1/32", "10.0.0.0/8")})
    async with world(tmp_path, settings=settings) as api:
        headers = [("X-Forwarded-For", "203.0.113.9, 198.51.100.7"), ("X-Forwarded-For", "10.0.0.2")]
        assert (await api.client.post("/v1/mail", json=MAIL, headers=headers)).status_code == 202
        await api.mail.wait_for(1)
        assert b"([198.51.100.7])" in api.mail.works[0].message.content


# --- one reading -------------------------------------------------------------------------------------------


def request(*fields: bytes, target: bytes = b"/v1/account", version: bytes = b"1.1") -> bytes:
    lines = [b"GET %b HTTP/%b" % (target, version), *fields, b"Connection: close", b"", b""]
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (b"Host: a", b"Host: b"),
        (b"Host: a", b"hOST: a"),
        (b"Host: a b",),
        (b"Host: user@a",),
        (b"Host: a/b",),
        (b"Host: a, b",),
        (b"Host: a:b",),
        (b"Host: [::1",),
    ],
)
async def test_a_request_asks_one_host_and_a_possible_one(tmp_path: Path, fields: tuple[bytes, ...]) -> None:
    async with world(tmp_path) as api:
        answer = await spoken(api, request(*fields, target=b"/healthz") + SMUGGLED)
        assert [int(status) for status in _STATUS.findall(answer)] == [400], answer


@pytest.mark.parametrize(
    "host", [b"a", b"a:80", b"A.example.", b"192.0.2.1:8025", b"[2001:db8::1]:80", b"", b"a_b", b"%C3%A9"]
)
async def test_what_may_be_a_host_is_one(tmp_path: Path, host: bytes) -> None:
    async with world(tmp_path) as api:
        for _ in range(2):  # looked at, then remembered
            answer = await spoken(api, request(b"Host: " + host, target=b"/healthz"))
            assert answer.startswith(b"HTTP/1.1 200 "), answer


async def test_http_1_0_needs_no_host(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        assert (await spoken(api, request(target=b"/healthz", version=b"1.0"))).startswith(b"HTTP/1.1 200 ")


async def test_hosts_that_are_remembered_are_bounded(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for number in range(150):
            await spoken(api, request(b"Host: h%d" % number, target=b"/healthz"))
        await spoken(api, request(b"Host: " + b"h" * 5000, target=b"/healthz"))
        assert len(api.server.shared.hosts) == 100


async def test_two_different_keys_are_no_key(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        good, other = b"Bearer " + api.key.encode(), b"Bearer " + api.other_key.encode()
        for name in (b"Authorization", b"X-API-Key"):
            for values in ((good, other), (other, good), (good, b"")):
                fields = [b"%b: %b" % (name, value) for value in values]
                answer = await spoken(api, request(b"Host: x", *fields))
                assert answer.startswith(b"HTTP/1.1 400 "), answer
        twice = await spoken(api, request(b"Host: x", *[b"Authorization: " + good] * 2))
        assert twice.startswith(b"HTTP/1.1 200 "), twice


def header_of(octets: int, shape: str) -> bytes:
    """A request without a body, of about so many octets."""
    start, end = b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"Connection: close\r\n\r\n"
    room = octets - len(start) - len(end)
    if shape == "one field":
        return start + b"X: " + b"a" * (room - 5) + b"\r\n" + end
    if shape == "many fields":
        return start + b"".join(b"X%07d: a\r\n" % number for number in range(room // 13)) + end
    if shape == "one name":
        return start + b"X: aaaaaaaaaa\r\n" * (room // 15) + end
    return b"GET /healthz?" + b"a" * (room - 1) + start[12:] + end


@pytest.mark.parametrize("shape", ["one field", "many fields", "one name", "address"])
async def test_a_header_is_at_most_64_kib_however_it_comes(tmp_path: Path, shape: str) -> None:
    async with world(tmp_path) as api:
        for octets in (60_000, 65_300, 65_700, 100_000, 250_000):
            whole = header_of(octets, shape)
            for pieces in (1, 2, 7):
                answer = await in_pieces(api, whole, pieces)
                good = 414 if shape == "address" else 200  # of an address alone 8 KiB are taken
                status = good if octets < 65_536 else 431
                assert answer.startswith(b"HTTP/1.1 %d " % status), (octets, pieces, answer[:200])


async def in_pieces(api: World, whole: bytes, pieces: int) -> bytes:
    """The answer to octets that come in several reads."""
    size = -(-len(whole) // pieces)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    try:
        for at in range(0, len(whole), size):
            writer.write(whole[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b"HTTP/1.1 431 outrun by the close"
    finally:
        writer.close()


async def test_a_large_body_before_a_header_is_none_of_it(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = b'"' + b"a" * 200_000 + b'"'
        first = (
            b"POST /v1/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(first + body + b"GET /healthz HTTP/1.1\r\nHo")
        await writer.drain()
        writer.write(b"st: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert [int(status) for status in _STATUS.findall(answer)] == [401, 200], answer


@pytest.mark.parametrize("target", ["/v1%2Faccount", "/v1%2faccount", "/%2Fv1/account", "/v1/account%2F"])
async def test_an_encoded_slash_separates_nothing(tmp_path: Path, target: str) -> None:
    async with world(tmp_path) as api:
        key = b"X-API-Key: " + api.key.encode()
        answer = await spoken(api, request(b"Host: x", key, target=target.encode()))
        assert answer.startswith(b"HTTP/1.1 404 "), answer
        same = await spoken(api, request(b"Host: x", key, target=b"/v1/%61ccount"))
        assert same.startswith(b"HTTP/1.1 200 "), same


# --- browsers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_another_sites_request_does_nothing(tmp_path: Path, site: str) -> None:
    async with world(tmp_path) as api:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        for answer in (
            await api.client.post("/v1/sms", json=SMS, headers=headers),
            await api.client.get("/v1/account", headers=headers),
        ):
            assert (answer.status_code, answer.json()["reason"]) == (403, "cross_site")
        assert await api.count("message") == 0
        for path in ("/docs", "/healthz"):
            assert (await api.client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_a_browsers_own_request_is_like_any_other(tmp_path: Path, site: str) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/sms", json=SMS, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 202


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_form_and_a_body_without_a_type_are_not_json(tmp_path: Path, kind: str | None) -> None:
    async with world(tmp_path) as api:
        headers = {} if kind is None else {"Content-Type": kind}
        answer = await api.client.post("/v1/sms", content=msgspec.json.encode(SMS), headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (415, "unsupported_media_type")
        assert await api.count("message") == 0


async def test_a_browser_is_asked_for_a_password_by_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(None) as anyone:
        answer = await anyone.get("/v1/account")
        assert answer.headers.get_list("www-authenticate") == ['Bearer realm="gateway"']
        asked = await anyone.get("/v1/account", auth=("user", "wrong"))
        assert asked.headers.get_list("www-authenticate") == ['Basic realm="gateway"']
