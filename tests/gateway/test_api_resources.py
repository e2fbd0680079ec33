"""The account's own things over HTTP: messages, credits, domains."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from gateway.credits.service import Credits
from gateway.messages.model import Deferred, Delivered, Failed, Outcome, Work
from tests.gateway.api_world import DOMAIN, MAIL, SMS, make_settings, pages, world

LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


# --- messages ----------------------------------------------------------------------------------------------


async def test_messages_are_listed_in_pages_the_newest_first(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        sent = [(await api.client.post("/v1/sms", json=SMS)).json()["id"] for _ in range(5)]
        newest = sent[::-1]
        assert await pages(api, "/v1/messages", "limit=2") == [newest[:2], newest[2:4], newest[4:]]
        assert await pages(api, "/v1/messages", "limit=5") == [newest]
        assert await pages(api, "/v1/messages", "channel=mail") == [[]]


async def test_messages_are_filtered(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        mail = (await api.client.post("/v1/mail", json={**MAIL, "tags": ["a%", "b"]})).json()["id"]
        sms = (await api.client.post("/v1/sms", json=SMS)).json()["id"]
        later = (await api.client.post("/v1/sms", json={**SMS, "send_at": LATER})).json()["id"]
        await api.settled(mail)
        await api.settled(sms)
        now = datetime.now(UTC)
        before, after = (quote((now + timedelta(hours=hours)).isoformat()) for hours in (-1, 1))
        for query, wanted in (
            ("channel=mail", [mail]),
            ("channel=sms", [later, sms]),
            ("status=delivered", [sms, mail]),
            ("status=scheduled", [later]),
            ("status=queued", []),
            ("recipient=ada@EXAMPLE.net", [mail]),
            ("recipient=%2B41791234567", [later, sms]),
            ("tag=a%25", [mail]),
            ("tag=a", []),
            (f"since={before}", [later, sms, mail]),
            (f"since={after}", []),
            (f"until={before}", []),
            (f"until={after}&channel=mail", [mail]),
        ):
            body = (await api.client.get(f"/v1/messages?{query}")).json()
            assert [item["id"] for item in body["items"]] == wanted, query


async def test_a_message_shows_what_became_of_each_recipient(tmp_path: Path) -> None:
    def one_fails(work: Work, _attempt: int) -> Sequence[Outcome]:
        return [
            Failed(reply="550 5.1.1 no such user")
            if one.address.startswith("no")
            else Delivered(reply="250 ok")
            for one in work.deliveries
        ]

    async with world(tmp_path) as api:
        api.mail.answer = one_fails
        sent = await api.client.post("/v1/mail", json={**MAIL, "to": ["a@example.net", "no@example.net"]})
        shown = await api.settled(sent.json()["id"], "partly_delivered")
        assert {one["address"]: (one["status"], one["reply"]) for one in shown["recipients"]} == {
            "a@example.net": ("delivered", "250 ok"),
            "no@example.net": ("failed", "550 5.1.1 no such user"),
        }
        failed = next(event for event in shown["events"] if event["type"] == "message.failed")
        assert failed["recipient"] == "no@example.net"
        assert datetime.fromisoformat(failed["at"]).tzinfo is not None
        assert shown["finished_at"].endswith("Z")


async def test_a_deferred_recipient_shows_when_it_is_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        api.mail.answer = lambda work, _attempt: [Deferred(reply="451 later")] * len(work.deliveries)
        sent = (await api.client.post("/v1/mail", json=MAIL)).json()["id"]
        async with asyncio.timeout(10):
            while not (shown := (await api.client.get(f"/v1/messages/{sent}")).json())["recipients"][0][
                "reply"
            ]:
                await asyncio.sleep(0.005)  # polls a committed state, within the limit above
        assert shown["status"] == "queued"
        assert datetime.fromisoformat(shown["recipients"][0]["next_attempt_at"]) > datetime.now(UTC)


async def test_a_scheduled_message_is_cancelled_and_refunded(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for method, suffix in (("POST", "/cancel"), ("DELETE", "")):
            sent = (await api.client.post("/v1/mail", json={**MAIL, "send_at": LATER})).json()["id"]
            assert await api.balance("mail") == 99
            answer = await api.client.request(method, f"/v1/messages/{sent}{suffix}")
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
            assert await api.balance("mail") == 100
            again = await api.client.request(method, f"/v1/messages/{sent}{suffix}")
            assert (again.status_code, again.json()["reason"]) == (409, "conflict")
        assert api.mail.works == []


async def test_a_message_on_its_way_or_delivered_cannot_be_cancelled(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        api.sms.gate.clear()
        sent = (await api.client.post("/v1/sms", json=SMS)).json()["id"]
        await api.sms.wait_for(1)
        answer = await api.client.post(f"/v1/messages/{sent}/cancel")
        assert (answer.status_code, "on its way" in answer.json()["detail"]) == (409, True)
        api.sms.gate.set()
        await api.settled(sent)
        answer = await api.client.post(f"/v1/messages/{sent}/cancel")
        assert (answer.status_code, "delivered" in answer.json()["detail"]) == (409, True)


async def test_ids_that_are_none_are_not_found(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for identity in ("x", "0" * 26, "%00", "..%2f", "é", "a" * 5000):
            for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
                answer = await api.client.request(method, f"/v1/messages/{identity}{suffix}")
                assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")


# --- credits -----------------------------------------------------------------------------------------------


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


async def test_the_account_is_shown_without_its_secrets(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = (await api.client.get("/v1/account")).json()
        assert (body["id"], body["name"], body["status"]) == (api.account_id, "Ada", "active")
        assert (body["key"]["scopes"], body["rate_per_s"]) == (["*"], 1000.0)
        assert api.key.rpartition("_")[2] not in str(body)


# --- domains -----------------------------------------------------------------------------------------------


async def test_a_domain_from_adding_to_sending(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/domains", json={"name": "Bücher.example"})
        assert answer.status_code == 201
        name = "xn--bcher-kva.example"
        domain = answer.json()
        assert (domain["name"], domain["status"]) == (name, "pending")
        assert answer.headers["location"] == f"/v1/domains/{name}"
        mail = {**MAIL, "from": f"a@{name}"}
        assert (await api.client.post("/v1/mail", json=mail)).status_code == 403

        records = [one for one in domain["records"] if one["purpose"] == "dkim"]
        assert {key["state"] for key in domain["keys"]} == {"new"}
        looked = (await api.client.post(f"/v1/domains/{name}/verify")).json()
        assert (looked["domain"]["status"], looked["items"][0]["state"]) == ("pending", "missing")
        for record in records:
            api.dns.texts[record["name"]] = [record["value"]]
        looked = (await api.client.post(f"/v1/domains/{name}/verify")).json()
        assert looked["domain"]["status"] == "verified"
        assert (await api.client.post("/v1/mail", json=mail)).status_code == 202

        checked = (await api.client.get(f"/v1/domains/{name}/check")).json()
        states = {row["what"]: row["state"] for row in checked["items"]}
        assert states["DMARC"] == "missing"
        assert [state for what, state in states.items() if what.startswith("DKIM")] == ["ok"] * len(records)

        rotated = (await api.client.post(f"/v1/domains/{name}/rotate")).json()
        assert len(rotated["keys"]) == 2 * len(records)
        shown = (await api.client.get(f"/v1/domains/{quote('bücher.example')}")).json()
        assert shown == rotated
        assert "PRIVATE" not in str(shown)
        assert await pages(api, "/v1/domains", "limit=1") == [[DOMAIN], [name]]

        assert (await api.client.delete(f"/v1/domains/{name}")).status_code == 204
        assert (await api.client.get(f"/v1/domains/{name}")).status_code == 404
        assert (await api.client.post("/v1/mail", json=mail)).status_code == 403


async def test_domains_that_are_none_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for name in ("", "localhost", "a b.example", "[192.0.2.1]", "a..example", "x" * 256, "a\0.example"):
            answer = await api.client.post("/v1/domains", json={"name": name})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name"), name
        answer = await api.client.post("/v1/domains", json={"name": DOMAIN})
        assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")
