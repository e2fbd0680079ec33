"""Credits over HTTP: lots, postings, purchases, recharge."""

from pathlib import Path

from gateway.credits.service import Credits
from tests.http.world import SMS, make_settings, pages, world


async def test_credits_lots_and_postings_agree(tmp_path: Path) -> None:  # R2, R8
    async with world(tmp_path, credits=10) as api:
        await api.client.post("/v1/sms", json=SMS)
        credits = (await api.client.get("/v1/credits")).json()
        assert credits["balances"] == {"mail": 10, "sms": 9, "validation": 0, "query": 0}
        assert credits["recharge"]["sms"] == {
            "enabled": False, "threshold": 100, "amount": 2000, "daily_cap": 20_000, "low_balance": 200,
        }  # fmt: skip
        lots = (await api.client.get("/v1/credits/lots?product=sms")).json()["items"]
        assert [(lot["product"], lot["granted"], lot["remaining"]) for lot in lots] == [("sms", 10, 9)]
        postings = (await api.client.get("/v1/credits/postings?product=sms")).json()["items"]
        assert [(one["kind"], one["credits"]) for one in postings] == [("debit", -1), ("grant", 10)]
        assert sum(one["credits"] for one in postings) == 9
        assert len(await pages(api, "/v1/credits/postings", "limit=1")) == 3
        async with api.client_with(api.other_key) as other:
            assert (await other.get("/v1/credits")).json()["balances"]["sms"] == 10


async def test_a_purchase_waits_for_the_operator_or_is_there_at_once(tmp_path: Path) -> None:  # R5, R18
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/credits/purchases", json={"product": "sms", "credits": 50})
        assert (answer.status_code, answer.json()["status"]) == (201, "pending")
        assert await api.balance("sms") == 100
        await api.ground[Credits].settle_order(api.account_id, answer.json()["id"], confirmed=True)
        assert await api.balance("sms") == 150
        orders = (await api.client.get("/v1/credits/orders")).json()["items"]
        assert [(one["id"], one["status"]) for one in orders] == [(answer.json()["id"], "confirmed")]


async def test_a_trusted_purchase_is_there_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(credits={"invoice_confirm": "at-once"})) as api:
        answer = await api.client.post("/v1/credits/purchases", json={"product": "mail", "credits": 50})
        assert answer.json()["status"] == "confirmed"
        assert await api.balance("mail") == 150


async def test_purchases_that_cannot_be_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for body, pointer in (
            ({"product": "sms", "credits": 2_000_001}, "/credits"),  # R9
            ({"product": "sms", "credits": 0}, "/credits"),
            ({"product": "sms", "credits": -5}, "/credits"),
            ({"product": "fax", "credits": 5}, "/product"),
            ({"product": "sms", "credits": 5, "provider": "gold"}, "/provider"),
            ({"product": "sms", "credits": 1.5}, "/credits"),
        ):
            answer = await api.client.post("/v1/credits/purchases", json=body)
            assert answer.status_code == 422, body
            assert answer.json()["errors"][0]["pointer"] == pointer
        assert "quote" in (await api.client.post(
            "/v1/credits/purchases", json={"product": "sms", "credits": 2_000_001}
        )).json()["detail"]  # fmt: skip
        assert await api.count("credit_order") == 0


async def test_recharge_is_set_and_shown(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = {"enabled": True, "threshold": 50, "amount": 500}
        answer = await api.client.put("/v1/credits/recharge/sms", json=body)
        assert answer.status_code == 200
        assert answer.json() == {**body, "daily_cap": 20_000, "low_balance": 200}
        assert (await api.client.get("/v1/credits")).json()["recharge"]["sms"] == answer.json()
        assert (await api.client.put("/v1/credits/recharge/fax", json=body)).status_code == 404
        answer = await api.client.put("/v1/credits/recharge/sms", json={"enabled": True, "amount": 0})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/amount")
