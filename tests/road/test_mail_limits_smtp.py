"""A hostile mail over SMTP, to a real daemon: a permanent refusal, and the session goes on."""

import smtplib

import pytest

from tests.ingress.test_trusted import MAIL, Door, door
from tests.smtp.test_mime import flat, nested

__all__ = ["door"]  # the fixture

OWN = "a@acme.example"


def own(raw: bytes) -> bytes:
    return raw.replace(b"From: a@b.example", f"From: {OWN}".encode())


HOSTILE: list[tuple[str | bytes, int, bytes]] = [
    (f"From: {',' * 30_000}{OWN}\r\n\r\nx", 552, b"5.3.4"),
    (f"From: {'(' * 3000}{')' * 3000} {OWN}\r\n\r\nx", 554, b"5.6.0"),
    (f"From: {OWN}\r\nSubject: {'=?utf-8?q?a?= ' * 64_000}\r\n\r\nx", 552, b"5.3.4"),
    (f"From: {OWN}\r\n" + "X: y\r\n" * 1000 + "\r\nx", 552, b"5.3.4"),
    ("From: =?utf-8?b?YUBi?=@acme.example\r\n\r\nx", 554, b"5.6.0"),
    (f"From: {OWN}\r\nSender: x@elsewhere.example\r\n\r\nx", 554, b"5.6.0"),
    (own(flat(100_000)), 554, b"5.6.0"),
    (own(nested(3000)), 554, b"5.6.0"),
]


def test_a_hostile_mail_is_refused_for_good_and_the_next_one_is_taken(door: Door) -> None:
    with door.open("127.0.0.2") as client:
        for content, code, enhanced in HOSTILE:
            with pytest.raises(smtplib.SMTPDataError) as caught:
                client.sendmail(OWN, ["b@example.net"], content)
            said = caught.value.smtp_error
            assert caught.value.smtp_code == code
            assert (said if isinstance(said, bytes) else said.encode()).startswith(enhanced)
        assert client.sendmail(OWN, ["b@example.net"], MAIL) == {}
