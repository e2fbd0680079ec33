"""POST /v1/mail and /v1/sms: what is accepted, what is refused, and what each refusal says."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.credits.service import Credits
from gateway.messages.model import MailEnvelope, SmsEnvelope
from tests.http.world import MAIL, SMS, make_settings, world
from tests.support.fakes import FakeClock

PROBLEM = "application/problem+json"


async def test_mail_is_accepted_charged_and_delivered(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/mail", json={**MAIL, "cc": ["grace@example.net"]})
        assert answer.status_code == 202
        body = answer.json()
        assert body == {"id": body["id"], "channel": "mail", "status": "queued", "price_credits": 2}
        assert answer.headers["location"] == f"/v1/messages/{body['id']}"
        shown = await api.settled(body["id"])
        assert {one["address"]: one["status"] for one in shown["recipients"]} == {
            "ada@example.net": "delivered",
            "grace@example.net": "delivered",
        }
        assert [event["type"] for event in shown["events"]] == [
            "message.accepted",
            "message.delivered",
            "message.delivered",
        ]
        assert await api.balance("mail") == 98


async def test_sms_is_accepted_with_its_segments(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post(
            "/v1/sms", json={**SMS, "to": ["+41791234567", "+41791234568"], "text": "x" * 200}
        )
        assert answer.status_code == 202
        body = answer.json()
        assert (body["channel"], body["segments"], body["price_credits"]) == ("sms", 2, 4)
        shown = await api.settled(body["id"])
        assert [one["sender"] for one in shown["recipients"]] == ["ACME", "ACME"]  # R25
        assert shown["from"] == "ACME"
        assert await api.balance("sms") == 96


async def test_the_mail_carries_what_was_asked_for(tmp_path: Path) -> None:
    picture = base64.b64encode(b"GIF89a").decode()
    async with world(tmp_path) as api:
        answer = await api.client.post(
            "/v1/mail",
            json={
                **MAIL,
                "bcc": "hidden@example.net",
                "reply_to": "help@example.org",
                "html": "<p>Hi</p>",
                "headers": {"X-Campaign": "café"},
                "attachments": [
                    {"filename": "a b.gif", "content": picture, "content_type": "image/gif"},
                ],
                "unsubscribe": {"https": "https://example.org/u"},
                "tags": ["a"],
                "metadata": {"n": 1},
            },
        )
        assert answer.status_code == 202
        await api.mail.wait_for(1)
        message = api.mail.works[0].message
        content = message.content.decode()
        assert "hidden@example.net" not in content
        assert [one.address for one in message.deliveries] == ["ada@example.net", "hidden@example.net"]
        for line in (
            "From: Shop <shop@example.org>",
            "Reply-To: help@example.org",
            "List-Unsubscribe: <https://example.org/u>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            "with HTTP id",
            picture,
        ):
            assert line in content, line
        assert isinstance(message.envelope, MailEnvelope)
        assert message.envelope.mail_from == "shop@example.org"
        assert not message.envelope.smtputf8
        shown = (await api.client.get(f"/v1/messages/{answer.json()['id']}")).json()
        assert (shown["tags"], shown["metadata"]) == (["a"], {"n": 1})


async def test_raw_mime_travels_as_it_is_but_for_line_ends(tmp_path: Path) -> None:
    raw = "From: shop@example.org\nSubject: Grüße\n\nKörper\n".encode()
    async with world(tmp_path) as api:
        answer = await api.client.post(
            "/v1/mail",
            json={
                "from": "bounce@example.org",
                "to": ["jörg@example.net"],
                "raw": base64.b64encode(raw).decode(),
            },
        )
        assert answer.status_code == 202
        await api.mail.wait_for(1)
        message = api.mail.works[0].message
        assert message.content.endswith("\r\n\r\nKörper\r\n".encode())
        assert isinstance(message.envelope, MailEnvelope)
        assert message.envelope.mail_from == "bounce@example.org"
        assert message.envelope.smtputf8
        assert message.envelope.body_8bit


async def test_raw_of_unix_is_taken_where_bare_line_ends_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(smtp={"line_ends": "refuse"})) as api:
        for raw, status in (
            (b"From: shop@example.org\n\nHi\n", 202),
            (b"From: shop@example.org\r\n\r\nHi\n", 422),
        ):
            text = base64.b64encode(raw).decode()
            answer = await api.client.post(
                "/v1/mail", json={"from": MAIL["from"], "to": MAIL["to"], "raw": text}
            )
            assert answer.status_code == status, answer.text


async def test_raw_takes_no_fields_beside_it(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        raw = base64.b64encode(b"From: shop@example.org\r\n\r\nHi").decode()
        answer = await api.client.post("/v1/mail", json={**MAIL, "raw": raw})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/subject"


def attached(**fields: Any) -> dict[str, Any]:
    """A mail's attachment with these fields changed."""
    return {"attachments": [{"filename": "a", "content": "", **fields}]}


BAD_MAIL: list[tuple[str, dict[str, Any], int, str]] = [
    ("wrong type", {"to": 7}, 422, "/to"),
    ("wrong type in a list", {"to": ["a@b.example", 7]}, 422, "/to/1"),
    ("unknown field", {"subjekt": "x"}, 422, "/subjekt"),
    ("unknown field below", attached(x=1), 422, "/attachments/0/x"),
    ("no address", {"to": ["ada"]}, 422, "/to/0"),
    ("CRLF in the subject", {"subject": "a\r\nBcc: x@example.net"}, 422, "/subject"),
    ("NUL in the subject", {"subject": "a\0"}, 422, "/subject"),
    ("LF in a display name", {"from": "A\nB <shop@example.org>"}, 422, "/from"),
    ("CR in a header", {"headers": {"X-A": "1\r2"}}, 422, "/headers/X-A"),
    ("colon in a header's name", {"headers": {"X:A": "1"}}, 422, "/headers"),
    ("reserved header", {"headers": {"Bcc": "x@example.net"}}, 422, "/headers/Bcc"),
    ("LF in a file's name", attached(filename="a\nb"), 422, "/attachments/0/filename"),
    ("no base64", attached(content="*"), 422, "/attachments/0/content"),
    ("no media type", attached(content_type="x"), 422, "/attachments/0/content_type"),
    ("unsubscribe by http", {"unsubscribe": {"https": "http://example.org"}}, 422, "/unsubscribe/https"),
    ("nobody", {"to": []}, 422, "/to"),
    ("too far ahead", {"send_at": "2999-01-01T00:00:00Z"}, 422, "/send_at"),
    ("no offset", {"send_at": "2026-12-01T00:00:00"}, 422, "/send_at"),
    ("no time", {"send_at": "tomorrow"}, 422, "/send_at"),
    ("too many tags", {"tags": ["x"] * 21}, 422, "/tags"),
    ("too much metadata", {"metadata": {"a": "x" * 9000}}, 422, "/metadata"),
    ("sender of another domain", {"from": "a@grace.example"}, 403, ""),
]  # fmt: skip


async def test_bad_mail_is_refused_naming_the_field(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for name, change, status, pointer in BAD_MAIL:
            answer = await api.client.post("/v1/mail", json={**MAIL, **change})
            assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), name
            problem = answer.json()
            assert problem["status"] == status
            assert problem["detail"]
            pointers = [error["pointer"] for error in problem.get("errors", [])]
            assert pointers == ([pointer] if pointer else []), name
        assert await api.count("message") == 0
        assert await api.balance("mail") == 100


BAD_SMS: list[tuple[str, dict[str, Any], str]] = [
    ("no number", {"to": "hello"}, "bad_number"),
    ("national number", {"to": "0791234567"}, "bad_number"),
    ("nobody", {"to": []}, "invalid"),
    ("empty text", {"text": ""}, "empty_text"),
    ("10,000 characters", {"text": "x" * 10_000}, "too_long"),
    ("beyond any text", {"text": "x" * 50_000}, "invalid"),
    ("SenderName with a space", {"from": "AC ME"}, "sender_name"),
    ("SenderName of 11 characters", {"from": "ABCDEFGHIJK"}, "sender_name"),
    ("SenderName not approved", {"from": "OTHER"}, "sender_name"),
    ("SenderName with a NUL", {"from": "AC\0ME"}, "sender_name"),
    ("validity of nothing", {"validity_s": 0}, "invalid"),
    ("unknown field", {"sender": "x"}, "invalid"),
]


async def test_bad_sms_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for name, change, reason in BAD_SMS:
            answer = await api.client.post("/v1/sms", json={**SMS, **change})
            assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), name
            problem = answer.json()
            assert problem["reason"] == reason, name
            assert problem["type"] == f"/docs/problems#{reason}"
        assert await api.count("message") == 0


async def test_lack_of_credits_is_402_and_nothing_is_stored(tmp_path: Path) -> None:
    async with world(tmp_path, credits=0) as api:
        await api.ground[Credits].grant(api.account_id, "query", 50)  # pay for nothing else (R7)
        for path, body in (("/v1/mail", MAIL), ("/v1/sms", SMS)):
            answer = await api.client.post(path, json=body)
            assert answer.status_code == 402
            assert answer.json()["reason"] == "insufficient_credits"
        assert await api.count("message") == 0
        assert await api.count("content") == 0


async def test_a_mail_over_the_limit_is_413(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(smtp={"size_limit_octets": 2000})) as api:
        answer = await api.client.post("/v1/mail", json={**MAIL, "text": "x" * 3000})
        assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


async def test_a_large_mail_is_composed_beside_the_loop(tmp_path: Path) -> None:
    content = base64.b64encode(bytes(400_000)).decode()
    async with world(tmp_path) as api:
        answer = await api.client.post(
            "/v1/mail", json={**MAIL, "attachments": [{"filename": "a.bin", "content": content}]}
        )
        assert answer.status_code == 202
        await api.mail.wait_for(1)
        assert len(api.mail.works[0].message.content) > 500_000


async def test_too_many_recipients_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(smtp={"max_recipients": 2})) as api:
        many = [f"a{n}@example.net" for n in range(3)]
        answer = await api.client.post("/v1/mail", json={**MAIL, "to": many})
        assert answer.status_code == 422
        assert "3 addresses, 2 are allowed" in answer.json()["detail"]


async def test_a_scheduled_mail_waits_and_its_time_passes(tmp_path: Path) -> None:
    clock = FakeClock()
    at = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(days=2)
    async with world(tmp_path, clock=clock) as api:
        answer = await api.client.post("/v1/mail", json={**MAIL, "send_at": at.isoformat()})
        assert answer.json()["status"] == "scheduled"
        shown = (await api.client.get(answer.headers["location"])).json()
        assert shown["status"] == "scheduled"
        assert datetime.fromisoformat(shown["send_at"]) == at
        assert api.mail.works == []
        clock.advance(2 * 86_400)
        api.road.queue.wake()
        assert (await api.settled(answer.json()["id"]))["status"] == "delivered"


async def test_a_time_in_the_past_means_now(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/sms", json={**SMS, "send_at": "2001-01-01T00:00:00+01:00"})
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def test_the_validity_of_an_sms_is_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        assert (await api.client.post("/v1/sms", json={**SMS, "validity_s": 60})).status_code == 202
        await api.sms.wait_for(1)
        message = api.sms.works[0].message
        assert isinstance(message.envelope, SmsEnvelope)
        assert message.envelope.validity_s == 60
        assert message.expires_ms - message.accepted_ms == 60_000
