"""Batches: each item has its own verdict."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.messages.api import submit
from tests.http.world import MAIL, SMS, make_settings, world

KEY = {"Idempotency-Key": "order-4711"}


async def test_a_batch_has_a_verdict_for_each_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post(
            "/v1/batch",
            json={
                "items": [
                    {"type": "mail", **MAIL},
                    {"type": "sms", **SMS, "to": "nobody"},
                    {"type": "fax"},
                    {"type": "sms", **SMS, "text": 7},
                    {"type": "mail", **MAIL, "to": ["ada@example.net", "x"]},
                    {"type": "sms", **SMS},
                    "nonsense",
                ]
            },
        )
        assert answer.status_code == 202
        body = answer.json()
        assert body["accepted"] == 2
        assert [item["accepted"] for item in body["items"]] == [True, False, False, False, False, True, False]
        assert (body["items"][0]["channel"], body["items"][5]["channel"]) == ("mail", "sms")
        problems = [item.get("problem") for item in body["items"]]
        assert problems[1]["reason"] == "bad_number"
        assert problems[3]["errors"][0]["pointer"] == "/items/3/text"
        assert problems[4]["errors"][0]["pointer"] == "/items/4/to/1"
        assert problems[6]["status"] == 422
        assert await api.count("message") == 2


async def test_a_batch_has_the_same_verdicts_however_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good: list[Any] = [{"type": "sms", **SMS}, {"type": "mail", **MAIL}, {"type": "sms", **SMS, "text": ""}]
    bad: list[Any] = [{"type": "fax"}, {"type": "sms", **SMS, "text": 7}, {"type": "mail", "to": []}, None]
    async with world(tmp_path) as api:
        told = []
        for at_once in (submit._AT_ONCE_OCTETS, -1):
            monkeypatch.setattr(submit, "_AT_ONCE_OCTETS", at_once)
            for items in (good, [*good, *bad], bad, [], [good[0]] * 501):
                answer = await api.client.post("/v1/batch", json={"items": items})
                body = answer.json()
                for item in body.get("items", []):
                    item.pop("id", None)
                told.append((answer.status_code, body))
        assert [status for status, _ in told[:5]] == [202, 202, 422, 422, 422]
        assert told[:5] == told[5:]


async def test_a_long_batch_lets_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "_TURN_S", -1.0)  # over at once
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with world(tmp_path) as api:
        shape = api.road.sms.shape
        before = []

        async def shaped(*args: Any, **kwargs: Any) -> Any:
            before.append(turns)
            return await shape(*args, **kwargs)

        monkeypatch.setattr(api.road.sms, "shape", shaped)
        counting = asyncio.create_task(count())
        answer = await api.client.post("/v1/batch", json={"items": [{"type": "sms", **SMS}] * 20})
        counting.cancel()
        assert answer.status_code == 202
        assert len(set(before)) == 20


async def test_a_batch_is_accepted_as_far_as_the_credits_go(tmp_path: Path) -> None:
    async with world(tmp_path, credits=2) as api:
        items = [{"type": "sms", **SMS} for _ in range(3)]
        body = (await api.client.post("/v1/batch", json={"items": items})).json()
        assert [item["accepted"] for item in body["items"]] == [True, True, False]
        assert body["items"][2]["problem"]["status"] == 402
        assert await api.balance("sms") == 0


async def test_a_batch_of_which_nothing_passes_is_a_problem(tmp_path: Path) -> None:
    async with world(tmp_path, credits=0) as api:
        items = [{"type": "sms", **SMS}, {"type": "mail", **MAIL}]
        answer = await api.client.post("/v1/batch", json={"items": items})
        assert (answer.status_code, answer.json()["reason"]) == (402, "insufficient_credits")
        assert answer.headers["content-type"] == "application/problem+json"
        assert [item["accepted"] for item in answer.json()["items"]] == [False, False]
        answer = await api.client.post("/v1/batch", json={"items": [items[0], {"type": "fax"}]})
        assert (answer.status_code, answer.json()["reason"]) == (422, "none_accepted")


async def test_a_batch_has_one_to_five_hundred_items(tmp_path: Path) -> None:
    async with world(tmp_path, credits=600, settings=make_settings(http={"rate_per_s": 0})) as api:
        item = {"type": "sms", **SMS}
        for count, status in ((0, 422), (501, 422), (500, 202)):
            answer = await api.client.post("/v1/batch", json={"items": [item] * count})
            assert answer.status_code == status, count
        assert await api.count("message") == 500
        assert await api.balance("sms") == 100


async def test_a_batch_has_ten_thousand_recipients_at_most(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        many = [f"a{number}@example.net" for number in range(1000)]
        answer = await api.client.post(
            "/v1/batch", json={"items": [{"type": "mail", **MAIL, "to": many}] * 11}
        )
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/items")
        assert await api.count("message") == 0


async def test_a_batch_needs_the_scope_of_each_item(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        key = await api.make_key("sms:send")
        async with api.client_with(key) as client:
            items = [{"type": "sms", **SMS}, {"type": "mail", **MAIL}]
            body = (await client.post("/v1/batch", json={"items": items})).json()
        assert [item["accepted"] for item in body["items"]] == [True, False]
        assert body["items"][1]["problem"]["reason"] == "scope_missing"


async def test_a_batch_is_replayed_as_a_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        batch = {"items": [{"type": "sms", **SMS}, {"type": "sms", **SMS, "to": 7}]}
        first = await api.client.post("/v1/batch", json=batch, headers=KEY)
        second = await api.client.post("/v1/batch", json=batch, headers=KEY)
        assert first.content == second.content
        assert second.headers["idempotency-replayed"] == "true"
        assert await api.count("message") == 1
