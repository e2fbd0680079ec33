"""Composing: what goes in is what a mail program reads out, and nothing leaves its field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import encode, headers
from smtp.compose import Attachment, ComposeError, Draft, Unsubscribe, compose

DATE = datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)
PIXEL = bytes(range(256))


def build(**fields: Any) -> bytes:
    draft = Draft(**{"author": "shop@example.org", "to": ["a@example.net"], "text": "Hello\n"} | fields)
    return compose(draft, date=DATE, message_id="<1@gw.example>", boundary="b0undary")


def read(**fields: Any) -> EmailMessage:
    return message_from_bytes(build(**fields), policy=policy.default)


def body_of(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return cast(str, part.get_content()).replace("\r\n", "\n")


def test_plain_ascii_mail_is_these_octets() -> None:
    assert build(subject="Hi") == (
        b"Date: Tue, 03 Nov 2026 10:00:00 +0000\r\n"
        b"Message-ID: <1@gw.example>\r\n"
        b"From: shop@example.org\r\n"
        b"To: a@example.net\r\n"
        b"Subject: Hi\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello\r\n"
    )


def test_same_draft_gives_the_same_octets() -> None:
    fields = {"html": "<p>é</p>", "attachments": [Attachment(filename="a", content=PIXEL)]}
    assert build(**fields) == build(**fields)


def test_names_are_quoted_or_encoded_and_read_back() -> None:
    names = [
        "Plain Name",
        "Müller, Jörg",
        'A "quoted" \\ one',
        "a@b.example",
        "=?utf-8?q?no?=",
        "点" * 12,
        "J. S.",
    ]
    message = read(
        to=[f"{_quoted(name)} <u{n}@example.net>" for n, name in enumerate(names)], cc=["c@example.net"]
    )
    assert [(a.display_name, a.addr_spec) for a in message["to"].addresses] == [
        (name, f"u{n}@example.net") for n, name in enumerate(names)
    ]
    assert message["cc"] == "c@example.net"


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
def test_encoded_words_are_short_and_read_back(text: str) -> None:
    words = encode.encoded_words(text)
    assert all(len(word) <= 75 for word in words.split(" "))
    assert str(make_header(decode_header(words))) == text


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def test_international_domain_becomes_a_labels_and_utf8_local_part_asks_for_smtputf8() -> None:
    raw = build(to=["a@bücher.example"])
    assert b"To: a@xn--bcher-kva.example\r\n" in raw
    assert not headers.needs_smtputf8(headers.parse(raw)[0])
    raw = build(to=["jörg@example.net"])
    assert "To: jörg@example.net\r\n".encode() in raw
    assert headers.needs_smtputf8(headers.parse(raw)[0])


def test_blind_mail_names_undisclosed_recipients() -> None:
    assert b"To: undisclosed-recipients:;\r\n" in build(to=[])
    assert b"undisclosed" not in build(to=[], cc=["c@example.net"])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain\n", "7bit"),
        ("a" * 998 + "\n", "7bit"),
        ("a" * 999 + "\n", "quoted-printable"),
        ("Grüße aus Köln, eine ganze Zeile lang\n", "quoted-printable"),
        ("日本語のテキスト\n", "base64"),
        ("--=_b0undary_a--\n", "quoted-printable"),
        ("NUL \0\n", "quoted-printable"),
        (".\nFrom here\n", "7bit"),
        ("no line end", "7bit"),
        ("", "7bit"),
    ],
)
def test_text_takes_the_encoding_it_needs_and_reads_back(text: str, encoding: str) -> None:
    message = read(text=text, html="<p>x</p>")
    part = message.get_body(("plain",))
    assert part is not None
    assert part["content-transfer-encoding"] == encoding
    assert body_of(message).removesuffix("\n") == text.removesuffix(
        "\n"
    )  # the last line end is the boundary's


@given(
    st.text(st.characters(codec="utf-8"), max_size=400), st.text(st.characters(codec="utf-8"), max_size=60)
)
def test_any_text_and_subject_read_back_or_are_refused(text: str, subject: str) -> None:
    try:
        raw = build(text=text, subject=subject)
    except ComposeError as error:
        assert error.field == "subject"  # noqa: PT017 - the text never fails
        assert any(char < " " or char == "\x7f" for char in subject)
        return
    assert not headers.has_bare_line_end(raw)
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    fields, _ = headers.parse(raw)
    assert [field.name for field in fields][-3:] == [
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    ]
    assert len(fields) == 8
    message = message_from_bytes(raw, policy=policy.default)
    payload = message.get_payload(decode=True)
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert cast(bytes, payload).decode() == (
        expected if expected.endswith("\n") else f"{expected}\n"
    ).replace("\n", "\r\n")
    if "\t" not in subject:
        assert str(message["subject"]).split() == subject.split()


def test_text_html_picture_and_file_make_the_usual_tree() -> None:
    message = read(
        html='<img src="cid:logo">',
        attachments=[
            Attachment(filename="logo.png", content=PIXEL, content_type="image/png", content_id="<logo>"),
            Attachment(filename="Rechnung für März.pdf", content=PIXEL * 9, content_type="application/pdf"),
        ],
    )
    assert [part.get_content_type() for part in message.walk()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html"),
        *("image/png", "application/pdf"),
    ]
    picture, file = [part for part in message.walk() if part.get_filename()]
    assert picture["content-id"] == "<logo>"
    assert picture.get_content_disposition() == "inline"
    assert file.get_filename() == "Rechnung für März.pdf"
    assert file.get_content_disposition() == "attachment"
    assert file.get_payload(decode=True) == PIXEL * 9


@pytest.mark.parametrize(
    "name", ["a.txt", "a b.txt", 'a"b\\c.txt', "ä" * 200, "x" * 600, "a;b=c.txt", "it's 100%.txt"]
)
def test_any_file_name_reads_back(name: str) -> None:
    message = read(attachments=[Attachment(filename=name, content=b"x")])
    assert [part.get_filename() for part in message.iter_attachments()] == [name]


def test_attached_message_is_not_base64() -> None:
    attachment = Attachment(
        filename="m.eml", content=b"Subject: x\r\n\r\ny\r\n", content_type="message/rfc822"
    )
    part = next(iter(read(attachments=[attachment]).iter_attachments()))
    assert part["content-transfer-encoding"] == "7bit"
    with pytest.raises(ComposeError, match=r"attachments\[0\]\.content"):
        build(attachments=[Attachment(filename="", content=b"a\nb", content_type="message/rfc822")])


def test_one_click_unsubscribe_has_both_fields_of_rfc_8058() -> None:
    message = read(unsubscribe=Unsubscribe(https="https://example.org/u/1", mailto="mailto:u@example.org"))
    assert message["List-Unsubscribe"] == "<https://example.org/u/1>, <mailto:u@example.org>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert read(unsubscribe=Unsubscribe(mailto="mailto:u@example.org"))["List-Unsubscribe-Post"] is None


def test_own_fields_travel_and_long_ones_are_folded() -> None:
    value = "word " * 60 + "ünd"
    message = read(headers={"X-Campaign": "spring", "X-Long": value, "References": "<a@b> <c@d>"})
    assert message["X-Campaign"] == "spring"
    assert message["X-Long"] == value
    assert message["References"] == "<a@b> <c@d>"


def file(filename: str = "a", **fields: str) -> Attachment:
    return Attachment(filename=filename, content=b"", **fields)


INJECTION = "x\r\nBcc: victim@example.net"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"subject": INJECTION}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": "a\0b"}, "subject"),
        ({"subject": "a\x1bb"}, "subject"),
        ({"subject": "\ud800"}, "subject"),
        ({"author": INJECTION}, "from"),
        ({"author": "nobody"}, "from"),
        ({"to": ["ok@example.net", f"{INJECTION} <a@example.net>"]}, "to[1]"),
        ({"cc": ["a@b@c"]}, "cc[0]"),
        ({"reply_to": [""]}, "reply_to[0]"),
        ({"headers": {"X-A": INJECTION}}, "headers.X-A"),
        ({"headers": {"X-A: b\r\nBcc": "x"}}, "headers"),
        ({"headers": {"Bcc": "x@y.example"}}, "headers.Bcc"),
        ({"headers": {"from": "x@y.example"}}, "headers.from"),
        ({"headers": {"Content-Type": "text/html"}}, "headers.Content-Type"),
        ({"headers": {"DKIM-Signature": "v=1"}}, "headers.DKIM-Signature"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers.x-a"),
        ({"headers": {"References": "<ä>"}}, "headers.References"),
        ({"text": "\ud800"}, "text"),
        ({"text": None}, "text"),
        ({"attachments": [Attachment(filename=INJECTION, content=b"")]}, "attachments[0].filename"),
        (
            {"attachments": [Attachment(filename="a", content=b"", content_type=INJECTION)]},
            "attachments[0].content_type",
        ),
        (
            {"attachments": [Attachment(filename="a", content=b"", content_type="multipart/mixed")]},
            "attachments[0].content_type",
        ),
        (
            {"attachments": [Attachment(filename="a", content=b"", content_id="a>\r\nX: y")]},
            "attachments[0].content_id",
        ),
        ({"unsubscribe": Unsubscribe()}, "unsubscribe"),
        ({"unsubscribe": Unsubscribe(https="http://example.org")}, "unsubscribe.https"),
        ({"unsubscribe": Unsubscribe(https="https://example.org/>\r\nX: y")}, "unsubscribe.https"),
        ({"unsubscribe": Unsubscribe(mailto="u@example.org")}, "unsubscribe.mailto"),
    ],
)
def test_what_could_leave_its_field_is_refused_naming_it(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ComposeError) as caught:
        build(**fields)
    assert caught.value.field == place
    assert "\r" not in str(caught.value)


@pytest.mark.parametrize(
    ("message_id", "boundary"), [("1@gw", "b0undary"), ("<1\r\n>", "b0undary"), ("<1@gw>", '"')]
)
def test_bad_ids_from_the_caller_are_refused(message_id: str, boundary: str) -> None:
    with pytest.raises(ComposeError):
        compose(Draft(author="a@example.org", text=""), date=DATE, message_id=message_id, boundary=boundary)


def test_the_language_of_the_text_is_said_where_it_is_known() -> None:  # RFC 3282 section 2
    draft = Draft(author="a@example.org", to=["b@example.net"], text="Olá", language="pt-BR")
    assert b"\r\nContent-Language: pt-BR\r\n" in compose(
        draft, date=DATE, message_id="<1@example.org>", boundary="abcdefgh"
    )
    with pytest.raises(ComposeError) as caught:
        compose(replace(draft, language="pt\r\nBcc: x"), date=DATE, message_id="<1@x>", boundary="abcdefgh")
    assert caught.value.field == "language"
