"""A mail taken apart for a reader: what the standard library would show, of any octets, in bounded steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp.compose import Attachment, Draft, compose
from smtp.limits import DEFAULT
from smtp.mail_view import TEXT_CHARS, VALUE_CHARS, MailView, view
from tests.smtp.cost import assert_linear
from tests.smtp.test_mime import HEAD, flat, nested

NOW = datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)


def shown(raw: bytes) -> MailView:
    steps = view(raw, DEFAULT)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: MailView = end.value
            return found


def mail(**fields: object) -> bytes:
    draft = Draft(author="Jörg <a@b.example>", to=["c@d.example"], **fields)  # type: ignore[arg-type]  # by name
    return compose(draft, date=NOW, message_id="<a@b>", boundary="abcdefghij")


@pytest.mark.parametrize(
    "text", ["Hello\r\n", "Grüße aus Köln\r\n" * 20, "日本語\r\n" * 50, "a" * 2000 + "\r\n"]
)
def test_what_the_gateway_composes_is_taken_apart(text: str) -> None:
    files = [
        Attachment(filename="ä, b.pdf", content=b"\0\1\2" * 1000, content_type="application/pdf"),
        Attachment(filename="x" * 150 + "ü" * 50, content=b"", content_id="one"),
    ]
    raw = mail(subject="Grüße", text=text, html=f"<p>{text}</p>", attachments=files)
    found = shown(raw)
    theirs = message_from_bytes(raw, policy=policy.default)
    leaves = [part for part in theirs.walk() if not part.is_multipart()]
    assert ("Subject", "Grüße") in found.headers
    assert ("From", "Jörg <a@b.example>") in found.headers
    assert found.text == leaves[0].get_payload(decode=True).decode()  # type: ignore[union-attr]  # octets
    assert found.html == leaves[1].get_payload(decode=True).decode()  # type: ignore[union-attr]  # octets
    expected = {(one.filename, one.content_type, len(one.content)) for one in files}
    assert {(one.filename, one.content_type, one.size_octets) for one in found.files} == expected
    assert found.notes == []


@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
def test_a_text_is_decoded(encoding: str, charset: str) -> None:
    made = EmailMessage()
    made.set_content("Zürich = fein\n" * 30, charset=charset, cte="8bit" if encoding == "7bit" else encoding)
    raw = bytes(made).replace(b"\n", b"\r\n")
    assert (shown(raw).text or "").replace("\r\n", "\n") == "Zürich = fein\n" * 30


def test_sizes_are_counted_as_decoding_would() -> None:
    head = b"From: a@b.example\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: "
    for encoding, body in (
        (b"base64", b"QUJD\r\nQUI=\r\n"),
        (b"quoted-printable", b"a=3Db=\r\nc=C3=BC\r\n" * 40_000),
        (b"8bit", b"abc\r\n"),
    ):
        raw = head + encoding + b"\r\n\r\n" + body
        payload = message_from_bytes(raw).get_payload(decode=True)
        assert shown(raw).files[0].size_octets == len(payload)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (b"Content-Disposition: attachment; filename=a.txt", "a.txt"),
        (b'Content-Disposition: attachment;\r\n\tFileName = "a \\"b\\".txt"', 'a "b".txt'),
        (b"Content-Disposition: attachment; filename*=utf-8'en'%c3%a4.txt", "ä.txt"),
        (b"Content-Disposition: a; filename*0*=iso-8859-1''%e4; filename*1*=%e4; filename*2=x", "ääx"),
        (b"Content-Disposition: a; filename*0=a; filename*1=b", "ab"),
        (b'Content-Disposition: a; filename="=?utf-8?q?=C3=A4?="', "ä"),
        (b"Content-Disposition: a; filename*=punycode''%ff", "\ufffd"),
        (b"Content-Type: image/gif; name=b.gif", "b.gif"),
    ],
)
def test_a_file_has_its_name(lines: bytes, name: str) -> None:
    (file,) = shown(b"From: a@b.example\r\n" + lines + b"\r\n\r\nx").files
    assert file.filename == name


def test_beyond_the_limits_there_is_what_could_be_read_and_a_note() -> None:
    many = shown(flat(100_000))
    assert (many.text, len(many.files)) == ("x", 999)
    assert many.notes == ["Only the first 1000 parts were read."]
    deep = shown(nested(3000))
    assert deep.notes == ["Multiparts inside more than 50 others were not taken apart."]
    assert deep.files
    long = shown(b"From: a@b.example\r\n\r\n" + b"x" * (TEXT_CHARS + 1))
    assert (long.text, long.notes) == ("x" * TEXT_CHARS, ["The text/plain part is cut."])
    wide = shown(b"X: y\r\n" * 100_000 + b"\r\nx")
    assert (wide.headers[0], wide.text) == (("X", "y"), None)
    assert "header is too large" in wide.notes[0]
    assert shown(b"From: a\0b\r\nTo: x\r\n\r\nbody").notes == [
        "The header is faulty. Only some of its fields were read, and no body."
    ]
    assert len(shown(b"To: " + b"a" * 100_000 + b"\r\n\r\n").headers[0][1]) == VALUE_CHARS


PIECES = (
    b"From: a@b.example\r\n", b"\r\n", b"--b\r\n", b"--b--\r\n", b"\xff", b"\0", b"=?utf-8?q?",
    b" x\r\n", b"QUI=",
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Transfer-Encoding: base64\r\n", b"=", b"\n",
    b"Content-Disposition: a; filename*0*=x'", b"Content-Type: text/html; charset=utf-7\r\n",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))
def test_any_octets_are_shown(raw: bytes) -> None:
    found = shown(raw)
    assert not any("\ud800" <= char <= "\udfff" for _, value in found.headers for char in value)


PART = b"From: a@b.example\r\nContent-Type: "


@pytest.mark.parametrize(
    "pumped",
    [
        flat,
        lambda times: nested(times // 10),
        lambda times: HEAD + b"--\r\n" * times,
        lambda times: b"X: y\r\n" * times + b"\r\n",
        lambda times: b"To: " + b"=?utf-8?q??= " * times + b"\r\n\r\n",
        lambda times: b"To: a" + b"\r\n x" * times + b"\r\n\r\n",
        lambda times: PART + b"text/plain" + b"; a=b" * times + b"\r\n\r\nx",
        lambda times: PART + b"text/plain" + b'; "' * times + b"\r\n\r\nx",
        lambda times: PART + b"a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=C3" * times,
        lambda times: PART + b"a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"QUJD\r\n" * times,
        lambda times: HEAD + (b"--b\r\n" + b"a:\r\n" * 1000 + b"\r\n") * (times // 1000),
    ],
)  # fmt: skip
def test_a_mail_takes_time_linear_in_its_length(pumped: Callable[[int], bytes]) -> None:
    assert_linear(lambda times: shown(pumped(times)), 4000)
