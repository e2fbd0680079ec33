"""What every request goes through: keys, scopes, rates, sizes, forms; and what every answer carries."""

import asyncio
import base64
import io
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.accounts.credentials import Credentials
from gateway.accounts.service import Accounts
from gateway.logs import log as logs
from gateway.logs.sink import Sink
from gateway.store.errors import StoreBusy, StoreFailed
from tests.http.world import MAIL, SMS, World, make_settings, world

PROBLEM = "application/problem+json"


def reason(answer: httpx.Response, status: int) -> str:
    """The reason of a problem with this status."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return str(body["reason"])


# --- keys --------------------------------------------------------------------------------------------------


async def test_a_key_is_taken_as_bearer_basic_user_basic_password_and_own_header(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(None) as anyone:
        ways: list[dict[str, str]] = [  # R28
            {"Authorization": f"Bearer {api.key}"},
            {"Authorization": f"bearer {api.key}"},
            {"Authorization": "Basic " + base64.b64encode(f"{api.key}:".encode()).decode()},
            {"Authorization": "Basic " + base64.b64encode(f"ada:{api.key}".encode()).decode()},
            {"X-API-Key": api.key},
        ]
        for headers in ways:
            answer = await anyone.get("/v1/account", headers=headers)
            assert (answer.status_code, answer.json()["id"]) == (200, api.account_id), headers


async def test_no_key_and_bad_keys_are_401_with_a_challenge(tmp_path: Path) -> None:
    settings = make_settings(limits={"auth_free_failures": 1000})
    async with world(tmp_path, settings=settings) as api, api.client_with(None) as anyone:
        wrong = api.key[:-1] + ("a" if api.key[-1] != "a" else "b")
        for headers in (
            {},
            {"Authorization": f"Bearer {wrong}"},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic ***"},
            {"Authorization": f"Digest {api.key}"},
            {"X-API-Key": "gw_"},
            {"Authorization": "Bearer gw_éééééééééééé_" + "a" * 32},
        ):
            raw = {name.encode(): value.encode() for name, value in headers.items()}
            answer = await anyone.post("/v1/sms", json=SMS, headers=raw)
            assert reason(answer, 401) == "unauthorized", headers
            scheme = "Basic" if headers.get("Authorization", "").startswith("Basic") else "Bearer"
            (challenge,) = answer.headers.get_list("www-authenticate")
            assert challenge.partition(" ")[0] == scheme, headers
        assert await api.count("message") == 0


async def test_a_revoked_key_stops_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        key = await api.make_key("sms:send")
        async with api.client_with(key) as client:
            assert (await client.post("/v1/sms", json=SMS)).status_code == 202
            for credential in await api.ground[Credentials].list(api.account_id):
                if credential.scopes == frozenset({"sms:send"}):
                    await api.ground[Credentials].revoke(api.account_id, credential.id)
            assert reason(await client.post("/v1/sms", json=SMS), 401) == "unauthorized"


async def test_a_suspended_account_is_403_with_the_reason(tmp_path: Path) -> None:  # R40
    async with world(tmp_path) as api:
        await api.ground[Accounts].suspend(api.account_id, "unpaid invoice")
        for answer in (
            await api.client.post("/v1/sms", json=SMS),
            await api.client.get("/v1/messages"),
        ):
            assert reason(answer, 403) == "suspended"
            assert "unpaid invoice" in answer.json()["detail"]


async def test_guessing_keys_is_slowed_with_429(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(None) as anyone:
        assert (await api.client.get("/v1/account")).status_code == 200
        headers = {"Authorization": f"Bearer gw_{'0' * 12}_{'a' * 32}"}
        answers = [await anyone.get("/v1/account", headers=headers) for _ in range(8)]
        assert reason(answers[-1], 429) == "slow_down"
        assert int(answers[-1].headers["retry-after"]) >= 1
        # A key that is known to be good is not kept waiting.
        assert (await api.client.get("/v1/account")).status_code == 200


SCOPED: list[tuple[str, str, str, dict[str, Any] | None]] = [
    ("mail:send", "POST", "/v1/mail", MAIL),
    ("sms:send", "POST", "/v1/sms", SMS),
    ("messages:read", "GET", "/v1/messages", None),
    ("messages:write", "POST", f"/v1/messages/{'0' * 26}/cancel", None),
    ("credits:read", "GET", "/v1/credits", None),
    ("credits:write", "POST", "/v1/credits/purchases", {"product": "sms", "credits": 1}),
    ("domains:read", "GET", "/v1/domains", None),
    ("domains:write", "DELETE", "/v1/domains/example.org", None),
    ("sendernames:read", "GET", "/v1/sendernames", None),
    ("sendernames:write", "DELETE", "/v1/sendernames/ACME", None),
    ("webhooks:read", "GET", "/v1/webhooks", None),
    # To make one needs the right to read what it tells of, too (test_api_webhooks).
    ("webhooks:write", "DELETE", f"/v1/webhooks/{'0' * 26}", None),
]


async def test_each_scope_opens_its_own_operations_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        lesser = {scope: await api.make_key(scope) for scope, *_ in SCOPED}
        for scope, method, path, body in SCOPED:
            for other, key in lesser.items():
                if other == scope:
                    continue
                async with api.client_with(key) as client:
                    answer = await client.request(method, path, json=body)
                    assert reason(answer, 403) == "scope_missing", (scope, other)
                    assert scope in answer.json()["detail"]
                break
        for scope, method, path, body in SCOPED:
            async with api.client_with(lesser[scope]) as client:
                answer = await client.request(method, path, json=body)
                assert answer.status_code != 403, (scope, answer.text)


# --- rate --------------------------------------------------------------------------------------------------


async def test_an_account_over_its_rate_gets_429_and_the_other_none(tmp_path: Path) -> None:  # R29
    async with world(tmp_path, settings=make_settings(http={"rate_per_s": 0.01})) as api:
        first, second = [await api.client.get("/v1/account") for _ in range(2)]
        assert first.status_code == 200
        assert first.headers["ratelimit-limit"] == "1"
        assert first.headers["ratelimit-remaining"] == "0"
        assert reason(second, 429) == "rate_limited"
        assert 1 <= int(second.headers["retry-after"]) <= 100
        async with api.client_with(api.other_key) as other:
            assert (await other.get("/v1/account")).status_code == 200


async def test_an_account_may_have_a_rate_of_its_own(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        await api.ground[Accounts].set_rate(api.account_id, 2)
        statuses = [(await api.client.get("/v1/account")).status_code for _ in range(8)]
        assert statuses[:2] == [200, 200]
        assert 429 in statuses


async def test_a_batch_counts_for_its_items(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(http={"rate_per_s": 10})) as api:
        items = [{"type": "sms", **SMS} for _ in range(50)]
        assert (await api.client.post("/v1/batch", json={"items": items})).status_code == 202
        answer = await api.client.get("/v1/account")
        assert reason(answer, 429) == "rate_limited"
        assert int(answer.headers["retry-after"]) >= 4


# --- form --------------------------------------------------------------------------------------------------

BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "invalid_json"),
    (b"{", 400, "invalid_json"),
    (b"nonsense", 400, "invalid_json"),
    (b'{"from": "\xff"}', 400, "invalid_json"),
    (b'{"from": "\\ud800"}', 400, "invalid_json"),
    (b'{"metadata": ' + b'{"a":' * 100_000, 400, "invalid_json"),
    (b"[]", 422, "invalid"),
    (b"null", 422, "invalid"),
    (b'{"from": "ACME"}', 422, "invalid"),
    (b'{"from": "ACME", "to": "+41791234567", "text": "a"} x', 400, "invalid_json"),
]


async def test_what_is_no_json_is_400_and_what_does_not_fit_422(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for body, status, wanted in BODIES:
            answer = await api.client.post(
                "/v1/sms", content=body, headers={"Content-Type": "application/json"}
            )
            assert reason(answer, status) == wanted, body[:60]


async def test_other_media_types_are_415(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for headers in (
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        ):
            answer = await api.client.post("/v1/sms", content=b"{}", headers=headers)
            assert reason(answer, 415) == "unsupported_media_type"
        for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"):
            answer = await api.client.post("/v1/sms", content=b"{}", headers={"Content-Type": kind})
            assert answer.status_code == 422, kind


async def test_unknown_paths_are_404_and_other_methods_405(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for path in ("/v1", "/v2/mail", "/v1/mail/", "/v1/messages/a/b", "/%2e%2e/etc/passwd", "/v1/m%00l"):
            assert reason(await api.client.get(path), 404) == "not_found", path
        answer = await api.client.put("/v1/mail", json=MAIL)
        assert reason(answer, 405) == "method_not_allowed"
        assert answer.headers["allow"] == "POST"
        answer = await api.client.request("OPTIONS", "/v1/messages/x")
        assert reason(answer, 405) == "method_not_allowed"
        assert answer.headers["allow"] == "DELETE, GET, HEAD"


async def test_bad_parameters_of_the_address_are_422_naming_them(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for query, name in (
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("colour=red", "colour"),
            ("channel=fax", "channel"),
            ("status=sent", "status"),
            ("since=yesterday", "since"),
            ("until=2026-01-01T00:00:00", "until"),
            ("limit=1&limit=2", "limit"),
            ("tag=%00", "tag"),
            ("tag=%ff", "tag"),
        ):
            answer = await api.client.get(f"/v1/messages?{query}")
            assert reason(answer, 422) == "invalid", query
            assert answer.json()["errors"][0]["pointer"] == f"#query/{name}"


async def test_an_altered_cursor_is_400(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for _ in range(3):
            assert (await api.client.post("/v1/sms", json=SMS)).status_code == 202
        cursor = (await api.client.get("/v1/messages?limit=1")).json()["next"]
        altered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
        for wrong in (altered, cursor[:-2], cursor + "AAAA", "x", "%C3%A9", "", "=" * 4):
            answer = await api.client.get(f"/v1/messages?limit=1&cursor={wrong}")
            assert reason(answer, 400) == "invalid_cursor", wrong
        assert reason(await api.client.get(f"/v1/credits/postings?cursor={cursor}"), 400) == "invalid_cursor"
        async with api.client_with(api.other_key) as other:
            assert reason(await other.get(f"/v1/messages?cursor={cursor}"), 400) == "invalid_cursor"


# --- size --------------------------------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_413_before_it_is_read(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(http={"max_body_octets": 10_000})) as api:
        answer = await api.client.post("/v1/mail", json={**MAIL, "text": "x" * 20_000})
        assert reason(answer, 413) == "too_large"
        assert "10000 octets" in answer.json()["detail"]
        assert (await api.client.post("/v1/mail", json=MAIL)).status_code == 202


async def test_a_streamed_body_over_the_limit_is_413_before_its_end(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 50_000
            yield b"x" * 50_000
            await asyncio.sleep(0)

    async with world(tmp_path, settings=make_settings(http={"max_body_octets": 200_000})) as api:
        headers = {"Content-Type": "application/json"}
        try:
            answer = await api.client.post("/v1/mail", content=endless(), headers=headers)
        except httpx.WriteError:  # the connection closed before the client had looked at the answer
            answer = None
        assert answer is None or reason(answer, 413) == "too_large"
        assert api.server.app.site.budget.used_octets == 0


async def test_bodies_share_a_memory_and_then_it_is_503(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        budget = api.server.app.site.budget
        assert budget.take(budget.limit_octets)
        answer = await api.client.post("/v1/mail", json={**MAIL, "text": "x" * 500_000})
        assert reason(answer, 503) == "busy"
        assert answer.headers["retry-after"] == "1"
        assert (await api.client.post("/v1/mail", json=MAIL)).status_code == 202  # small ones go on
        budget.give(budget.limit_octets)
        answer = await api.client.post("/v1/mail", json={**MAIL, "text": "x" * 500_000})
        assert answer.status_code == 202
        assert budget.used_octets == 0


# --- faults of ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "wanted"),
    [
        (StoreBusy("too many"), 503, "busy"),
        (StoreFailed("disk full at /var/secret"), 503, "store_failed"),
        (RuntimeError("secret detail"), 500, "internal_error"),
    ],
)
async def test_a_store_that_fails_is_told_without_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, wanted: str
) -> None:
    async with world(tmp_path) as api:

        async def broken(*_args: object, **_kwargs: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(api.road.acceptor, "accept", broken)
            answer = await api.client.post("/v1/sms", json=SMS)
        assert reason(answer, status) == wanted
        assert "secret" not in answer.text
        assert ("retry-after" in answer.headers) == (status == 503)
        assert (await api.client.post("/v1/sms", json=SMS)).status_code == 202


# --- answers -----------------------------------------------------------------------------------------------


async def test_every_answer_has_a_request_id_and_no_server_field(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        ids = set()
        for path in ("/v1/account", "/nowhere", "/healthz", "/docs"):
            answer = await api.client.get(path)
            assert "server" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"
            ids.add(answer.headers["x-request-id"])
        assert len(ids) == 4
        given = await api.client.get("/healthz", headers={"X-Request-Id": "mine-1"})
        assert given.headers["x-request-id"] == "mine-1"
        odd = await api.client.get("/healthz", headers={"X-Request-Id": "a b"})
        assert re.fullmatch("[0-9a-f]+", odd.headers["x-request-id"])


async def test_head_answers_like_get_without_a_body(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for path in ("/v1/credits", "/healthz", "/docs"):
            got, headed = await api.client.get(path), await api.client.head(path)
            assert headed.status_code == 200
            assert headed.content == b""
            assert headed.headers["content-length"] == got.headers["content-length"]


async def test_the_log_names_the_route_and_no_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(logs._state, "sink", Sink(written))
    monkeypatch.setattr(logs._state, "level", logging.INFO)
    monkeypatch.setattr(logs._state, "json", True)
    async with world(tmp_path) as api:
        await api.client.post("/v1/mail", json=MAIL)
        await api.client.get("/v1/messages?recipient=ada@example.net")
        await api.client.get("/v1/domains/ada.example", headers={"X-Request-Id": "0041791234567"})
        logs.flush()
    out = written.getvalue()
    lines = [msgspec.json.decode(line) for line in out.splitlines()]
    assert [line["route"] for line in lines] == ["/v1/mail", "/v1/messages", "/v1/domains/{name}"]
    assert [line["status"] for line in lines] == [202, 200, 404]
    assert {line["account_id"] for line in lines} == {api.account_id}
    assert {(line["event"], line["level"]) for line in lines} == {("request_answered", "info")}
    assert lines[2]["request_id"] == "+41…67"
    for personal in ("ada@example", "ada.example", api.key):
        assert personal not in out


async def test_another_accounts_things_are_not_found(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(api.other_key) as other:
        sent = (await api.client.post("/v1/sms", json=SMS)).json()["id"]
        await api.settled(sent)
        hook = await make_webhook(api)
        for method, path in (
            ("GET", f"/v1/messages/{sent}"),
            ("DELETE", f"/v1/messages/{sent}"),
            ("POST", f"/v1/messages/{sent}/cancel"),
            ("GET", "/v1/domains/example.org"),
            ("DELETE", "/v1/domains/example.org"),
            ("GET", "/v1/domains/example.org/check"),
            ("POST", "/v1/domains/example.org/verify"),
            ("POST", "/v1/domains/example.org/rotate"),
            ("GET", f"/v1/webhooks/{hook}"),
            ("DELETE", f"/v1/webhooks/{hook}"),
            ("GET", f"/v1/webhooks/{hook}/deliveries"),
            ("POST", f"/v1/webhooks/{hook}/test"),
            ("POST", f"/v1/webhooks/{hook}/secret"),
        ):
            answer = await other.request(method, path)
            assert reason(answer, 404) == "not_found", (method, path)
        assert (await other.get("/v1/messages")).json() == {"items": [], "next": None}
        assert (await other.get("/v1/webhooks")).json()["items"] == []
        assert (await api.client.get(f"/v1/webhooks/{hook}")).status_code == 200


async def make_webhook(api: World) -> str:
    """The id of a new webhook of the client's account."""
    answer = await api.client.post("/v1/webhooks", json={"url": "https://example.org/hooks"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
