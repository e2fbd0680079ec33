"""A mail beyond its limits, or from somebody else, is refused for good at both doors, and holds up nobody."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from gateway.ingress.smtp import _refusal
from gateway.messages.model import Message, Verdict
from gateway.turns import SLICE_S, Slices
from tests.http.world import MAIL, make_settings, world
from tests.smtp.test_mime import flat, nested
from tests.support.fakes import FakeUpstream
from tests.world import Rig, rig

OWN = "a@example.org"
HEAD = f"From: {OWN}\r\n"


def upstreams() -> list[FakeUpstream]:
    return [FakeUpstream("mail"), FakeUpstream("sms")]


def multipart(raw: bytes) -> bytes:
    """The same from a domain of the account."""
    return raw.replace(b"From: a@b.example", f"From: {OWN}".encode())


async def refused(one: Rig, content: bytes | str) -> tuple[Verdict, str]:
    slot = await one.mail(content=content.encode() if isinstance(content, str) else content)
    assert isinstance(slot, Verdict)
    reply = _refusal(slot)
    return slot, f"{int(reply.code)} {reply.enhanced}"


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        (f"From: {',' * 30_000}{OWN}", "field_too_large", "from"),
        (f"From: {'(' * 3000}{')' * 3000} {OWN}", "bad_header", "from"),
        (f"From: {'=?utf-8?q?a?= ' * 600}<{OWN}>", "field_too_large", "from"),
        ("From: =?utf-8?b?YUBi?=@example.org", "bad_header", "from"),
        (f"From: =?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQA=?= <{OWN}>", "bad_header", "from"),
        ("From: ", "bad_header", "from"),
        ("From: \t <>", "bad_header", "from"),
        (f"From: {OWN}\r\nSender: x@other.example", "bad_header", "sender"),
        (f"From: {OWN}\r\nResent-From: X <x@other.example>", "bad_header", "resent-from"),
        (f"From: {OWN}\r\nResent-Sender: x@other.example", "bad_header", "resent-sender"),
        (f"From: {OWN}\r\nReply-To: {', '.join([OWN] * 21)}", "bad_header", "reply-to"),
        (f"From: {OWN}\r\nReply-To: {'r' * 8192}", "field_too_large", "reply-to"),
        (f"From: {OWN}\r\nTo: {'t' * 131_072}", "field_too_large", "to"),
        (f"From: {OWN}\r\nTo: {'(' * 21}{')' * 21}", "bad_header", "to"),
        (f"From: {OWN}\r\nSubject: {'=?utf-8?q?a?= ' * 64_000}", "field_too_large", ""),
        (f"From: {OWN}\r\nSubject: {'=?utf-8?q?a?= ' * 1000}", "field_too_large", "subject"),
        (f"From: {OWN}\r\nX: {'x' * 262_144}", "field_too_large", ""),
        (f"From: {OWN}" + "\r\nX: y" * 1000, "field_too_large", ""),
    ],
)  # fmt: skip
async def test_a_header_is_refused_for_good_naming_the_field(
    tmp_path: Path, line: str, reason: str, field: str
) -> None:
    async with rig(tmp_path, upstreams()) as one:
        verdict, reply = await refused(one, f"{line}\r\n\r\nbody\r\n")
        assert (verdict.refused, verdict.field) == (reason, field)
        assert reply == ("552 5.3.4" if reason == "field_too_large" else "554 5.6.0")


async def test_a_sender_of_the_accounts_own_domain_is_welcome(tmp_path: Path) -> None:
    async with rig(tmp_path, upstreams()) as one:
        content = f"{HEAD}Sender: b@example.org\r\nResent-From: c@example.org\r\n\r\nbody\r\n"
        assert isinstance(await one.mail(content=content.encode()), Message)


async def test_the_readable_subject_is_cut_and_has_no_controls(tmp_path: Path) -> None:
    async with rig(tmp_path, upstreams()) as one:
        subject = "=?utf-8?q?a=00b?= " + "=?utf-8?q?=C3=BC=C3=BC?= " * 300
        message = await one.mail(content=f"{HEAD}Subject: {subject}\r\n\r\nbody\r\n".encode())
        assert isinstance(message, Message)
        assert message.subject == "a\ufffdb" + "ü" * 497


@pytest.mark.parametrize("body", [b"x", b"x" * 400])
async def test_the_parts_are_counted_at_acceptance(tmp_path: Path, body: bytes) -> None:
    async with rig(tmp_path, upstreams()) as one:
        assert isinstance(await one.mail(content=multipart(flat(1000, body))), Message)
        for content in (flat(1001, body), nested(51), nested(3000)):
            verdict, reply = await refused(one, multipart(content))
            assert (verdict.refused, verdict.field) == ("bad_structure", "")
            assert reply == "554 5.6.0"


async def test_a_mail_of_the_largest_size_leaves_the_loop_its_turns(tmp_path: Path) -> None:
    """What looks like delimiters is walked in slices; the loop goes round once for each."""
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"
    head = HEAD.encode() + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    rounds, over = 0, False

    async def count_rounds() -> None:
        nonlocal rounds
        while not over:
            rounds += 1
            await asyncio.sleep(0)

    async with rig(tmp_path, upstreams()) as one:
        counting = asyncio.ensure_future(count_rounds())
        began = time.process_time()
        assert isinstance(await one.mail(content=head + inner + b"--\r\n" * 1_000_000), Message)
        spent_s = time.process_time() - began
        over = True
        await counting
    assert rounds >= spent_s / SLICE_S / 10


async def test_slices_of_several_accounts_take_turns_and_an_account_waits_for_itself() -> None:
    order: list[str] = []

    def work(name: str, steps: int) -> Generator[None, None, str]:
        for _ in range(steps):
            order.append(name)
            end_s = time.perf_counter() + 2 * SLICE_S
            while time.perf_counter() < end_s:  # a step as long as a slice
                pass
            yield
        return name

    slices = Slices()
    done = await asyncio.gather(
        slices.run("a", work("a1", 4)), slices.run("a", work("a2", 1)), slices.run("b", work("b", 2))
    )
    assert list(done) == ["a1", "a2", "b"]
    assert order[:4].count("b") >= 1, "another account waits for a whole piece"
    assert order.index("a2") > max(place for place, name in enumerate(order) if name == "a1")


def small_limits() -> Settings:
    settings = make_settings()
    return replace(
        settings, limits=replace(settings.limits, mime_parts=3, subject_octets=100, header_octets=2000)
    )


async def test_the_limits_are_the_configurations(tmp_path: Path) -> None:
    async with rig(tmp_path, upstreams(), settings=small_limits()) as one:
        assert isinstance(await one.mail(content=multipart(flat(3))), Message)
        verdict, _ = await refused(one, multipart(flat(4)))
        assert "more than 3 parts" in (verdict.detail or "")
        verdict, _ = await refused(one, f"{HEAD}Subject: {'x' * 100}\r\n\r\n")
        assert "100 are allowed" in (verdict.detail or "")


# --- HTTP ------------------------------------------------------------------------------------------------


def raw(content: bytes | str) -> dict[str, object]:
    octets = content.encode() if isinstance(content, str) else content
    return {"from": OWN, "to": "b@example.net", "raw": b64encode(octets).decode()}


@pytest.mark.parametrize(
    ("fields", "status", "reason", "pointer"),
    [
        ({"to": "x <" + '""' * 16 + "<>"}, 422, "invalid", "/to"),
        ({"to": [f"{'n' * 200} <{OWN}>"] * 1000}, 413, "field_too_large", "/to"),
        ({"reply_to": [OWN] * 21}, 422, "invalid", "/reply_to"),
        ({"reply_to": [f"{'n' * 900} <{OWN}>"] * 10}, 413, "field_too_large", "/reply_to"),
        ({"headers": {"X-A": "x" * 262_144}}, 422, "invalid", "/headers"),  # of a mapping, before it is read
        ({"headers": {"X-A": "é" * 100_000}}, 413, "field_too_large", "/headers"),
        (raw(f"From: {',' * 8192}{OWN}\r\n\r\nx"), 413, "field_too_large", "/raw"),
        (raw("From: =?utf-8?b?YUBi?=@example.org\r\n\r\nx"), 422, "bad_header", "/raw"),
        (raw(f"{HEAD}Sender: x@other.example\r\n\r\nx"), 422, "bad_header", "/raw"),
        (raw(f"{HEAD}X: {'x' * 262_144}\r\n\r\nx"), 413, "field_too_large", "/raw"),
        (raw(multipart(flat(1001))), 422, "bad_structure", "/raw"),
        (raw(multipart(nested(3000))), 422, "bad_structure", "/raw"),
    ],
)  # fmt: skip
async def test_the_api_names_the_field(
    tmp_path: Path, fields: dict[str, object], status: int, reason: str, pointer: str
) -> None:
    async with world(tmp_path) as api:
        body = fields if "raw" in fields else {**MAIL, **fields}
        answer = (await api.client.post("/v1/mail", json=body)).json()
        assert (answer["status"], answer["reason"]) == (status, reason)
        assert [error["pointer"] for error in answer["errors"]] == [pointer]


async def test_the_longest_subject_and_names_of_the_api_are_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        fields = {"subject": "ü" * 2000, "to": [f"{'ä' * 200} <{n}@example.net>" for n in range(90)]}
        answer = await api.client.post("/v1/mail", json={**MAIL, **fields})
        assert answer.status_code == 202, answer.text
        shown = (await api.client.get(f"/v1/messages/{answer.json()['id']}")).json()
        assert shown["subject"] == "ü" * 500
