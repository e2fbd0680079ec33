"""Messages over HTTP: listed, shown, cancelled."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from gateway.messages.model import Deferred, Delivered, Failed, Outcome, Work
from tests.http.world import MAIL, SMS, pages, world

LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


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
