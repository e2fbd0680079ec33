"""What the sandbox captured, over HTTP: one's own, raw and taken apart."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

from gateway.messages.tables import sms_part
from smpp.simulator import ReceivedMessage
from tests.gateway.api_world import World, world
from tests.gateway.fakes import FakeUpstream

MIME = (
    b"From: shop@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Odd: \xff\xfe\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nK\xf6rper\r\n"
    b"--b\r\nContent-Type: text/html; charset=nonsense\r\n\r\n<p>Hi</p>\r\n"
    b'--b\r\nContent-Type: image/gif\r\nContent-Disposition: attachment; filename="a.gif"\r\n\r\nGIF\r\n'
    b"--b--\r\n"
)


class CapturingMail(FakeUpstream):
    """Keeps what it is given by hand."""

    def __init__(self) -> None:
        super().__init__("capture")
        self.rows: list[dict[str, Any]] = []

    def keep(self, account_id: str, number: int, raw: bytes = MIME) -> None:
        self.rows.append(
            {
                "account_id": account_id,
                "id": f"{number:026d}",
                "message_id": "m" * 26,
                "mail_from": "shop@example.org",
                "recipients": ["ada@example.net"],
                "received_ms": 1_790_000_000_000,
                "raw": raw,
            }
        )

    async def captured(self, account_id: str, before: str | None, limit: int) -> Sequence[dict[str, Any]]:
        own = [row for row in self.rows if row["account_id"] == account_id]
        own = [row for row in own if before is None or row["id"] < before]
        return sorted(own, key=lambda row: str(row["id"]), reverse=True)[:limit]

    async def captured_one(self, account_id: str, capture_id: str) -> dict[str, Any] | None:
        own = (row for row in self.rows if (row["account_id"], row["id"]) == (account_id, capture_id))
        return next(own, None)


class CapturingSms(FakeUpstream):
    """Shows what its handsets got."""

    def __init__(self) -> None:
        super().__init__("handsets")
        self.received: list[ReceivedMessage] = []

    def messages(self) -> Sequence[ReceivedMessage]:
        return self.received


async def test_captured_mail_is_listed_in_pages(tmp_path: Path) -> None:
    capture = CapturingMail()
    async with world(tmp_path, upstreams=[capture]) as api:
        for number in range(3):
            capture.keep(api.account_id, number)
        capture.keep(api.other_id, 7)
        first = (await api.client.get("/v1/sandbox/mail?limit=2")).json()
        assert [one["id"] for one in first["items"]] == [f"{2:026d}", f"{1:026d}"]
        second = (await api.client.get(f"/v1/sandbox/mail?limit=2&cursor={first['next']}")).json()
        assert [one["id"] for one in second["items"]] == [f"{0:026d}"]
        assert second["next"] is None
        assert first["items"][0]["subject"] == "Grüße"


async def test_a_captured_mail_is_taken_apart(tmp_path: Path) -> None:
    capture = CapturingMail()
    async with world(tmp_path, upstreams=[capture]) as api:
        capture.keep(api.account_id, 1)
        body = (await api.client.get(f"/v1/sandbox/mail/{1:026d}")).json()
        assert body["subject"] == "Grüße"
        assert body["text"].strip() == "Körper"
        assert body["html"].strip() == "<p>Hi</p>"
        assert [(one["filename"], one["content_type"]) for one in body["attachments"]] == [
            ("a.gif", "image/gif")
        ]
        raw = await api.client.get(f"/v1/sandbox/mail/{1:026d}/raw")
        assert (raw.content, raw.headers["content-type"]) == (MIME, "message/rfc822")


async def test_odd_captured_mail_is_shown_all_the_same(tmp_path: Path) -> None:
    capture = CapturingMail()
    async with world(tmp_path, upstreams=[capture]) as api:
        odd = [
            b"",
            b"\xff\xfe\0",
            b"Subject: a\r\nFrom: <<<@@>>>\r\nTo: \xff\r\nDate: yesterday\r\n\r\n",
            b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n",
            b"Content-Type: text/plain; charset=\xff\r\nContent-Transfer-Encoding: base64\r\n\r\n***",
            b"Content-Disposition: attachment; filename*=utf-8''%ff%fe\r\nContent-ID: \xff\r\n\r\nx",
            b"Message-ID: <<>\r\nSubject: =?x?q?\xff?=\r\n\r\n",
        ]
        for number, raw in enumerate(odd):
            capture.keep(api.account_id, number, raw)
            answer = await api.client.get(f"/v1/sandbox/mail/{number:026d}")
            assert answer.status_code == 200, (raw, answer.text)
        assert len((await api.client.get("/v1/sandbox/mail")).json()["items"]) == len(odd)


async def test_captured_mail_of_another_account_is_not_found(tmp_path: Path) -> None:
    capture = CapturingMail()
    async with world(tmp_path, upstreams=[capture]) as api:
        capture.keep(api.other_id, 1)
        for path in (f"/v1/sandbox/mail/{1:026d}", f"/v1/sandbox/mail/{1:026d}/raw", "/v1/sandbox/mail/x"):
            assert (await api.client.get(path)).status_code == 404
        assert (await api.client.get("/v1/sandbox/mail")).json() == {"items": [], "next": None}


async def keep_sms(api: World, capture: CapturingSms, account_id: str, number: int) -> None:
    """A handset got this, and the parts of the account say whose it was."""
    upstream_id = f"{0xAB00 + number:012x}"
    capture.received.append(
        ReceivedMessage(
            time=datetime(2026, 11, 16, 9, number, tzinfo=UTC),
            system_id="sandbox",
            source_addr_ton=5,
            source_addr_npi=0,
            source_addr="ACME",
            destination_addr="41791234567",
            data_coding=0,
            text=f"Hi {number}",
            message_ids=(upstream_id,),
        )
    )
    row = {
        "upstream": capture.name, "upstream_id": upstream_id.lstrip("0"), "account_id": account_id,
        "message_id": "m" * 26, "n": 0, "part": 0, "status": "sent", "submitted_ms": 0,
    }  # fmt: skip
    await api.services.store.write(lambda tx: tx.execute(sms_part.insert(), row))


async def test_captured_sms_are_ones_own_the_newest_first(tmp_path: Path) -> None:
    capture = CapturingSms()
    async with world(tmp_path, upstreams=[capture]) as api:
        for number in range(3):
            await keep_sms(api, capture, api.account_id, number)
        await keep_sms(api, capture, api.other_id, 9)
        first = (await api.client.get("/v1/sandbox/sms?limit=2")).json()
        assert [one["text"] for one in first["items"]] == ["Hi 2", "Hi 1"]
        second = (await api.client.get(f"/v1/sandbox/sms?limit=2&cursor={first['next']}")).json()
        assert [one["text"] for one in second["items"]] == ["Hi 0"]
        assert second["next"] is None
        shown = second["items"][0]
        assert (shown["from"], shown["to"], shown["message_id"]) == ("ACME", "+41791234567", "m" * 26)


async def test_what_the_api_sends_reaches_the_capture_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = {"from": "shop@example.org", "to": "ada@example.net", "subject": "Grüße", "text": "Körper\n"}
        assert (await api.client.post("/v1/mail", json=body)).status_code == 202
        await api.mail.wait_for(1)
        parsed = message_from_bytes(api.mail.works[0].message.content)
        assert parsed["Message-ID"].endswith("@localhost>")
        payload = parsed.get_payload(decode=True)
        assert isinstance(payload, bytes)
        assert payload.decode().strip() == "Körper"
