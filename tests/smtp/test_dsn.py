"""Delivery status notifications: read back by the library's parser, injected into by nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import Message
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import dsn, headers
from smtp.codes import Reply
from smtp.dsn import Action, Notification, RecipientStatus

NOW = datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)
ORIGINAL, _ = headers.parse("From: a@example.org\r\nBcc: secret@x.example\r\nSubject: Grüße\r\n\r\n".encode())


def status(**fields: Any) -> RecipientStatus:
    return RecipientStatus(
        **{"address": "b@example.net", "action": Action.FAILED, "status": "5.1.1"} | fields
    )


def build(*recipients: RecipientStatus, **fields: Any) -> bytes:
    given_fields: dict[str, Any] = {
        "reporting_mta": "gw.example",
        "author": "mailer-daemon@gw.example",
        "to": "a@example.org",
        "recipients": recipients,
        "arrival": NOW - timedelta(days=5),
        "original": ORIGINAL,
    }
    notification = Notification(**given_fields | fields)
    return dsn.build(notification, date=NOW, message_id="<d@gw.example>", boundary="b0undary")


def groups(raw: bytes) -> list[Message]:
    """The per-message fields, then those of each recipient."""
    report = message_from_bytes(raw, policy=policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    return cast(list[Message], cast(list[Message], report.get_payload())[1].get_payload())


def test_failure_tells_a_person_and_a_program_what_happened() -> None:
    raw = build(
        status(
            original="rfc822;B@example.net",
            diagnostic=Reply(550, "5.1.1", "No such user\nhere"),
            remote_mta="mx.example.net",
            last_attempt=NOW,
        ),
        envelope_id="QQ314159",
    )
    about, recipient = groups(raw)
    assert about["Reporting-MTA"] == "dns; gw.example"
    assert about["Original-Envelope-Id"] == "QQ314159"
    assert about["Arrival-Date"] == "Thu, 29 Oct 2026 10:00:00 +0000"
    assert recipient["Original-Recipient"] == "rfc822;B@example.net"
    assert recipient["Final-Recipient"] == "rfc822; b@example.net"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user here"
    assert recipient["Remote-MTA"] == "dns; mx.example.net"
    report = message_from_bytes(raw, policy=policy.default)
    words = cast(list[Any], report.get_payload())[0].get_content()
    assert "<b@example.net>: failed (5.1.1). mx.example.net said: 550 5.1.1 No such user here" in words
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Subject"] == "Undelivered mail returned to sender"


def test_original_header_comes_back_without_bcc() -> None:
    report = message_from_bytes(build(status()), policy=policy.default)
    part = cast(list[Any], report.get_payload())[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_payload(decode=True).decode() == "From: a@example.org\r\nSubject: Grüße"


def test_original_header_is_cut_at_a_whole_field() -> None:
    fields = [headers.make("X-A", "a" * 900) for _ in range(40)]
    report = message_from_bytes(build(status(), original=fields), policy=policy.default)
    text = cast(list[Any], report.get_payload())[2].get_payload(decode=True)
    assert len(text) <= dsn.MAX_HEADER_OCTETS
    assert text.endswith(b"\r\n " + b"a" * 900)


def test_notification_without_original_header_has_two_parts() -> None:
    report = message_from_bytes(build(status(), original=()), policy=policy.default)
    assert len(report.get_payload()) == 2


def test_delay_and_failure_together_are_announced_as_failure() -> None:
    delayed = status(action=Action.DELAYED, status="4.4.1", retry_until=NOW + timedelta(days=1))
    assert b"Subject: Delivery of your mail is delayed\r\n" in build(delayed)
    assert b"Subject: Undelivered" in build(delayed, status())
    assert groups(build(delayed))[1]["Will-Retry-Until"] == "Wed, 04 Nov 2026 10:00:00 +0000"
    assert b"Subject: Delivery report\r\n" in build(status(action=Action.RELAYED, status="2.0.0"))


def test_utf8_recipient_is_written_in_seven_bits() -> None:
    assert (
        groups(build(status(address="jörg@example.net")))[1]["Final-Recipient"]
        == r"utf-8; j\x{F6}rg@example.net"
    )


def test_it_travels_with_the_null_reverse_path() -> None:
    assert dsn.REVERSE_PATH == ""


def test_notification_about_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="recipient"):
        build()


@given(st.text(max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_what_remote_systems_say_stays_in_its_field(text: str, remote_mta: str, envelope_id: str) -> None:
    raw = build(
        status(diagnostic=Reply(550, "", text), remote_mta=remote_mta, last_attempt=NOW),
        envelope_id=envelope_id,
    )
    assert raw.isascii()
    assert not headers.has_bare_line_end(raw)
    about, recipient = groups(raw)
    assert set(about.keys()) - {"Original-Envelope-Id"} == {"Reporting-MTA", "Arrival-Date"}
    assert set(recipient.keys()) - {"Remote-MTA"} == {
        *("Final-Recipient", "Action", "Status", "Diagnostic-Code", "Last-Attempt-Date")
    }
