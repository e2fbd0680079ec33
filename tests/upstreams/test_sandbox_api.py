"""What the sandbox captured, over HTTP: one's own, raw and taken apart."""

import time
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from config.sections.upstreams import SandboxMailUpstream
from gateway.clock import SystemClock
from gateway.messages.tables import sms_part
from gateway.upstreams.sandbox.mail import SandboxMail, _Capture
from gateway.upstreams.sandbox.readers import Readers
from smpp.simulator import ReceivedMessage
from tests.http.world import World, world
from tests.smtp.test_mime import flat, nested
from tests.support.fakes import FakeUpstream
from tests.upstreams.test_mail import signing

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
                "author": "Shop <shop@example.org>",
                "subject": "Grüße",
                "size_octets": len(raw),
                "recipients": ["ada@example.net"],
                "received_ms": 1_790_000_000_000,
                "raw": raw,
            }
        )

    async def captured(self, account_id: str, before: str | None, limit: int) -> Sequence[dict[str, Any]]:
        own = [row for row in self.rows if row["account_id"] == account_id]
        own = [{key: row[key] for key in row if key != "raw"} for row in own]
        own = [row for row in own if before is None or row["id"] < before]
        return sorted(own, key=lambda row: str(row["id"]), reverse=True)[:limit]

    async def captured_one(self, account_id: str, capture_id: str) -> dict[str, Any] | None:
        own = (row for row in self.rows if (row["account_id"], row["id"]) == (account_id, capture_id))
        return next(own, None)


@asynccontextmanager
async def sandbox_world(folder: Path, kept: int = 100) -> AsyncIterator[tuple[World, SandboxMail]]:
    """An API over the real sandbox."""
    async with world(folder) as api:
        settings = SandboxMailUpstream(kept=kept)
        clock = SystemClock()
        sandbox = SandboxMail("box", settings, store=api.ground.store, signing=signing(), clock=clock)
        api.road.upstreams["box"] = sandbox  # added when the store is there
        yield api, sandbox


async def put(api: World, account_id: str, raws: Sequence[bytes], kept: int = 5) -> list[str]:
    """Puts mails into the sandbox's store, whatever they are; the ids of the account's newest."""
    for raw in raws:
        row = ("m" * 26, "a@b.example", '["c@d.example"]', "x", "a@b.example", len(raw), 0, raw)
        await api.ground.store.submit(_Capture(account_id, row, SystemClock().now_ms(), kept))
    listed = await api.ground.store.read(
        lambda tx: tx.rows(
            "SELECT id FROM captured_mail WHERE account_id = ? ORDER BY id DESC", (account_id,)
        )
    )
    return [one[0] for one in listed[: len(raws)]]


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
        assert first["items"][0]["from"] == "Shop <shop@example.org>"
        assert first["items"][0]["size_octets"] == len(MIME)


async def test_a_captured_mail_is_taken_apart(tmp_path: Path) -> None:
    capture = CapturingMail()
    async with world(tmp_path, upstreams=[capture]) as api:
        capture.keep(api.account_id, 1)
        body = (await api.client.get(f"/v1/sandbox/mail/{1:026d}")).json()
        assert body["subject"] == "Grüße"
        assert body["text"].strip() == "Körper"
        assert ["Subject", "Grüße"] in body["headers"]
        assert body["notes"] == []
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
    await api.ground.store.write(lambda tx: tx.execute(sms_part.insert(), row))


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


async def test_a_list_costs_the_same_whatever_the_size_of_the_mails(tmp_path: Path) -> None:
    """Of 20 mails of 8 MB nothing is read but what the list shows."""
    async with sandbox_world(tmp_path) as (api, sandbox):
        seconds = []
        for size in (1000, 8_000_000):
            await put(api, api.account_id, [b"Subject: x\r\n\r\n".ljust(size)] * 20, kept=100)
            assert all("raw" not in row for row in await sandbox.captured(api.account_id, None, 20))
            began = time.process_time()
            for _ in range(5):
                items = (await api.client.get("/v1/sandbox/mail?limit=20")).json()["items"]
            seconds.append(time.process_time() - began)
            assert {item["size_octets"] for item in items} == {size}
        assert seconds[1] <= max(0.3, 10 * seconds[0])


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (flat(100_000), "Only the first 1000 parts were read."),
        (nested(3000), "Multiparts inside more than 50 others were not taken apart."),
        (b"From: " + b"(" * 300_000 + b"\r\n\r\nx", "The header is too large."),
    ],
)
async def test_a_mail_captured_before_there_were_limits_is_shown_with_a_note(
    tmp_path: Path, raw: bytes, note: str
) -> None:
    async with sandbox_world(tmp_path) as (api, _):
        (capture_id,) = await put(api, api.account_id, [raw])
        answer = await api.client.get(f"/v1/sandbox/mail/{capture_id}")
        assert answer.status_code == 200
        body = answer.json()
        assert body["notes"][0].startswith(note)
        assert b64decode(body["raw"]) == raw
        assert len((await api.client.get("/v1/sandbox/mail")).json()["items"]) == 1


async def test_one_mail_of_an_account_is_read_at_a_time(tmp_path: Path) -> None:
    async with sandbox_world(tmp_path) as (api, _):
        (capture_id,) = await put(api, api.account_id, [b"From: a@b.example\r\n\r\nx"])
        (theirs,) = await put(api, api.other_id, [b"From: a@b.example\r\n\r\nx"])
        with api.ground[Readers].one(api.account_id):
            for path in (f"/v1/sandbox/mail/{capture_id}", f"/v1/sandbox/mail/{capture_id}/raw"):
                answer = await api.client.get(path)
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert (await api.client.get("/v1/sandbox/mail")).status_code == 200
            async with api.client_with(api.other_key) as other:
                assert (await other.get(f"/v1/sandbox/mail/{theirs}")).status_code == 200
        assert (await api.client.get(f"/v1/sandbox/mail/{capture_id}")).status_code == 200
        with ExitStack() as many:
            for number in range(4):
                many.enter_context(api.ground[Readers].one(str(number)))
            assert (await api.client.get(f"/v1/sandbox/mail/{capture_id}")).status_code == 503


async def test_the_captures_of_one_account_do_not_push_out_anothers(tmp_path: Path) -> None:
    async with sandbox_world(tmp_path, kept=5) as (api, sandbox):
        (theirs,) = await put(api, api.other_id, [b"Subject: x\r\n\r\n"])
        for _ in range(3):
            await put(api, api.account_id, [b"Subject: x\r\n\r\n"] * 100)
        assert len(await sandbox.captured(api.account_id, None, 500)) <= 105
        assert [row["id"] for row in await sandbox.captured(api.other_id, None, 10)] == [theirs]
