"""Idempotency-Key over HTTP (A4): accepted once, answered alike, bound to the payload."""

import asyncio
from pathlib import Path

from gateway.credits.service import Credits
from gateway.sendernames.service import SenderNames
from tests.http.world import MAIL, SMS, world
from tests.support.fakes import FakeClock

KEY = {"Idempotency-Key": "order-4711"}


async def test_the_same_request_again_is_answered_alike_and_costs_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        first = await api.client.post("/v1/mail", json=MAIL, headers=KEY)
        second = await api.client.post("/v1/mail", json=MAIL, headers=KEY)
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.content == second.content
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert second.headers["location"] == first.headers["location"]
        assert await api.count("message") == 1
        assert await api.balance("mail") == 99


async def test_another_payload_or_path_under_the_key_is_422(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        assert (await api.client.post("/v1/sms", json=SMS, headers=KEY)).status_code == 202
        for path, body in (("/v1/sms", {**SMS, "text": "other"}), ("/v1/mail", MAIL)):
            answer = await api.client.post(path, json=body, headers=KEY)
            assert (answer.status_code, answer.json()["reason"]) == (422, "idempotency_key_reused")
        assert await api.count("message") == 1


async def test_twenty_at_once_make_one_message(tmp_path: Path) -> None:
    async with world(tmp_path) as api:

        async def send() -> tuple[int, str | None]:
            answer = await api.client.post("/v1/sms", json=SMS, headers=KEY)
            return answer.status_code, answer.json().get("id")

        answers = await asyncio.gather(*(send() for _ in range(20)))
        assert {status for status, _ in answers} <= {202, 409}
        assert len({identity for status, identity in answers if status == 202}) == 1
        assert await api.count("message") == 1
        assert await api.balance("sms") == 99


async def test_while_it_runs_the_key_is_409(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        running = api.road.acceptor._running
        running.add((api.account_id, KEY["Idempotency-Key"]))
        answer = await api.client.post("/v1/sms", json=SMS, headers=KEY)
        assert (answer.status_code, answer.json()["reason"]) == (409, "idempotency_key_in_use")
        assert answer.headers["retry-after"] == "1"
        running.clear()
        assert (await api.client.post("/v1/sms", json=SMS, headers=KEY)).status_code == 202


async def test_a_refused_request_leaves_the_key_free(tmp_path: Path) -> None:
    async with world(tmp_path, credits=0) as api:
        assert (await api.client.post("/v1/sms", json=SMS, headers=KEY)).status_code == 402
        await api.ground[Credits].grant(api.account_id, "sms", 1)
        assert (await api.client.post("/v1/sms", json=SMS, headers=KEY)).status_code == 202


async def test_what_was_accepted_is_replayed_even_when_it_would_be_refused_now(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        first = await api.client.post("/v1/sms", json=SMS, headers=KEY)
        await api.ground[SenderNames].delete(api.account_id, "ACME")
        second = await api.client.post("/v1/sms", json=SMS, headers=KEY)
        assert (second.status_code, second.content) == (202, first.content)


async def test_accounts_have_keys_of_their_own(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(api.other_key) as other:
        mine = await api.client.post("/v1/sms", json=SMS, headers=KEY)
        theirs = await other.post("/v1/sms", json={**SMS, "text": "other"}, headers=KEY)
        assert (mine.status_code, theirs.status_code) == (202, 202)


async def test_a_key_is_forgotten_after_its_time(tmp_path: Path) -> None:
    clock = FakeClock()
    async with world(tmp_path, clock=clock) as api:
        await api.client.post("/v1/sms", json=SMS, headers=KEY)
        clock.advance(24 * 3600 + 1)
        answer = await api.client.post("/v1/sms", json={**SMS, "text": "new"}, headers=KEY)
        assert answer.status_code == 202
        assert await api.count("message") == 2


async def test_an_odd_key_is_400(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for key in (b"x" * 256, b"\xc3\xa9", b"a\tb", b""):
            answer = await api.client.post("/v1/sms", json=SMS, headers={b"Idempotency-Key": key})
            assert (answer.status_code, answer.json()["reason"]) == (400, "bad_request")
        answer = await api.client.post("/v1/sms", json=SMS, headers={"Idempotency-Key": "x" * 255})
        assert answer.status_code == 202


async def test_a_purchase_is_made_once(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = {"product": "sms", "credits": 50}
        first = await api.client.post("/v1/credits/purchases", json=body, headers=KEY)
        second = await api.client.post("/v1/credits/purchases", json=body, headers=KEY)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["id"] == second.json()["id"]
        assert second.headers["idempotency-replayed"] == "true"
        assert await api.count("credit_order") == 1
        body["credits"] = 51
        other = await api.client.post("/v1/credits/purchases", json=body, headers=KEY)
        assert (other.status_code, other.json()["reason"]) == (422, "idempotency_key_reused")
        refused = {"product": "sms", "credits": 3_000_000}
        new = {"Idempotency-Key": "new"}
        assert (await api.client.post("/v1/credits/purchases", json=refused, headers=new)).status_code == 422
        assert (await api.client.post("/v1/credits/purchases", json=body, headers=new)).status_code == 201
