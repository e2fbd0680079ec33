"""Headers: cutting, judging and completing raw messages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import headers
from smtp.headers import Field, HeaderError, Trace
from tests.smtp.cost import assert_linear

NOW = datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)


def fields_of(raw: bytes) -> list[Field]:
    return headers.parse(raw)[0]


def complete(raw: bytes, mail_from: str = "a@example.org") -> list[Field]:
    return headers.complete(fields_of(raw), now=NOW, message_id="<1@gw>", mail_from=mail_from)


def test_header_is_cut_at_the_first_empty_line_and_folds_stay_as_they_are() -> None:
    raw = b"From: a@b.c\r\nSubject: one\r\n\ttwo\r\n  three\r\nX-Odd:v\r\n\r\nbody\r\n\r\nmore"
    fields, start = headers.parse(raw)
    assert [field.name for field in fields] == ["from", "subject", "x-odd"]
    assert fields[1].raw == b"Subject: one\r\n\ttwo\r\n  three\r\n"
    assert fields[1].value == "one\ttwo  three"
    assert raw[start:] == b"body\r\n\r\nmore"


@pytest.mark.parametrize(
    "raw", [b"", b"hello\r\n", b"\r\nbody", b"no colon here\r\nFrom: x\r\n", b" fold\r\n\r\nx"]
)
def test_message_without_a_header_is_all_body(raw: bytes) -> None:
    fields, start = headers.parse(raw)
    assert fields == []
    assert raw[start:] == raw.removeprefix(b"\r\n")


def test_message_without_an_empty_line_is_all_header() -> None:
    fields, start = headers.parse(b"From: a\r\nTo: b")
    assert [field.raw for field in fields] == [b"From: a\r\n", b"To: b\r\n"]
    assert start == len(b"From: a\r\nTo: b")


@pytest.mark.parametrize(
    ("line", "rest"), [(b"From a@b Tue Nov 3\r\n", b"To: x\r\n\r\n"), (b">From me\r\n", b"\r\n")]
)
def test_leading_mbox_line_is_dropped(line: bytes, rest: bytes) -> None:
    assert b"".join(field.raw for field in fields_of(line + rest)) + b"\r\n" == rest


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"From: a\r\nbroken\r\nTo: b\r\n\r\n", "line 2"),
        (b"From: a\0\r\n\r\n", "NUL"),
        (b"From: a\nBcc: b\r\n\r\n", "CRLF"),
        (b"From: a\rBcc: b\r\n\r\n", "CRLF"),
        (b"Subject: \xff\r\n: nameless\r\n\r\n", "line 2"),
        (b"From : a\r\n\r\n", "blank before the colon"),
        (b"To: x\r\nFrom\t: a\r\n\r\n", "blank before the colon"),
    ],
)
def test_broken_header_is_refused_naming_the_fault(raw: bytes, word: str) -> None:
    with pytest.raises(HeaderError, match=word) as caught:
        headers.parse(raw)
    assert caught.value.reply.code == 554


def test_field_of_a_hundred_thousand_folds_is_cut_in_no_time() -> None:
    raw = b"Subject: x\r\n" + b" x\r\n" * 100_000 + b"\r\nbody"
    fields, start = headers.parse(raw)
    assert len(fields) == 1
    assert raw[start:] == b"body"


@given(st.binary(max_size=300))
def test_any_octets_parse_or_raise_the_named_error(octets: bytes) -> None:
    try:
        fields, start = headers.parse(octets)
    except HeaderError:
        return
    assert b"".join(field.raw for field in fields).replace(b"\r\n", b"") in octets.replace(b"\r\n", b"")
    assert 0 <= start <= len(octets)


names = st.text("AZaz09-_!", min_size=1, max_size=12)
values = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=120)


@given(st.lists(st.tuples(names, values), max_size=8), st.binary(max_size=60))
def test_made_fields_parse_back_and_the_body_is_untouched(pairs: list[tuple[str, str]], body: bytes) -> None:
    made = [headers.make(name, value) for name, value in pairs]
    raw = headers.join(made, body)
    fields, start = headers.parse(raw)
    assert fields == made
    assert raw[start:] == body
    for field, (_, value) in zip(fields, pairs, strict=True):
        assert field.value == value.strip(" \t")


@pytest.mark.parametrize("bad", ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b", "\ud800"])
def test_value_that_could_break_the_header_is_refused_naming_the_field(bad: str) -> None:
    with pytest.raises(HeaderError, match="Subject") as caught:
        headers.make("Subject", bad)
    assert caught.value.field == "subject"


@pytest.mark.parametrize("bad", ["", "A B", "A:", "Ä", "a\r\nb", "x" * 77])
def test_name_that_is_no_field_name_is_refused(bad: str) -> None:
    with pytest.raises(HeaderError):
        headers.make(bad, "x")


def test_missing_date_message_id_and_from_are_added() -> None:
    completed = complete(b"Subject: x\r\n\r\n")
    assert [field.raw for field in completed] == [
        b"Subject: x\r\n",
        b"From: a@example.org\r\n",
        b"Date: Tue, 03 Nov 2026 10:00:00 +0000\r\n",
        b"Message-ID: <1@gw>\r\n",
    ]


def test_what_is_there_is_kept_octet_for_octet() -> None:
    raw = b"DATE: whenever\r\nmessage-id: <x>\r\nfrom:  A  <a@b.c>\r\nX: \xc3\xa9\r\n\ty\r\n"
    assert b"".join(field.raw for field in complete(raw + b"\r\n")) == raw


def test_bcc_and_return_path_never_leave() -> None:
    completed = complete(
        b"Bcc: x@y\r\nBCC: z@y\r\nReturn-Path: <q@r>\r\nResent-Bcc: s@t\r\nFrom: a@b\r\n\r\n"
    )
    assert [field.name for field in completed] == ["from", "date", "message-id"]


@pytest.mark.parametrize("name", ["From", "Subject", "To", "Content-Type", "Message-ID", "Date", "Reply-To"])
def test_field_allowed_once_is_refused_twice(name: str) -> None:
    raw = f"{name}: a\r\nX: y\r\n{name.upper()}: b\r\n\r\n".encode()
    with pytest.raises(HeaderError, match="2 times") as caught:
        complete(raw)
    assert caught.value.field == name.lower()


def test_missing_from_with_null_reverse_path_is_refused() -> None:
    with pytest.raises(HeaderError, match="From"):
        complete(b"Subject: x\r\n\r\n", mail_from="")


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("a@b.example", ["a@b.example"]),
        ("Shop of J. Smith <a@b.example>", ["a@b.example"]),
        ('"a@allowed.example" <x@other.example>', ["x@other.example"]),
        ("a@b.example, C <d@e.example>", ["a@b.example", "d@e.example"]),
        ("=?utf-8?q?J=C3=B6rg?= <j@x.example>", ["j@x.example"]),
        ("Jörg <jörg@x.example>", ["jörg@x.example"]),
        ("(a@b.example) c@d.example", ["c@d.example"]),
    ],
)
def test_author_addresses_are_read(value: str, addresses: list[str]) -> None:
    assert headers.author_addresses([headers.make("From", value)]) == addresses


@pytest.mark.parametrize(
    "value",
    [
        *("", "nobody", "a@allowed.example <x@other.example>", "a@b.example c@d.example", '"a <b@c.example>'),
        *("a@b.example <>", "<@relay.example:a@b.example>", "a <b@c.example> (x", "a@b.example;c@d.example"),
    ],
)
def test_from_with_two_readings_or_none_is_refused(value: str) -> None:
    with pytest.raises(HeaderError):
        headers.author_addresses([headers.make("From", value)])


@given(st.text(max_size=80))
def test_any_from_is_read_or_refused(value: str) -> None:
    field = Field("from", b"From: " + value.encode("utf-8", "surrogatepass") + b"\r\n")
    try:
        addresses = headers.author_addresses([field])
    except HeaderError:
        return
    assert addresses
    assert all("@" in address for address in addresses)


def test_received_field_tells_the_hop_and_cannot_be_injected_into() -> None:
    trace = Trace(
        helo="evil)\r\nBcc: x",
        client_ip="2001:db8::1",
        client_name="host.example",
        by="gw.example",
        protocol="ESMTPSA",
        message_id="01J",
        recipient="r@example.net",
    )
    assert headers.received(trace, NOW).raw == (
        b"Received: from evil???Bcc:?x (host.example [IPv6:2001:db8::1])\r\n"
        b"\tby gw.example with ESMTPSA id 01J\r\n"
        b"\tfor <r@example.net>;\r\n"
        b"\tTue, 03 Nov 2026 10:00:00 +0000\r\n"
    )


def test_smtputf8_is_needed_only_for_octets_above_127() -> None:
    assert headers.needs_smtputf8(fields_of("Subject: é\r\n\r\n".encode()))
    assert not headers.needs_smtputf8(fields_of("Subject: e\r\n\r\né".encode()))


def test_find_and_remove_go_by_name_in_any_case() -> None:
    fields = fields_of(b"A: 1\r\nB: 2\r\na: 3\r\n\r\n")
    found = headers.find(fields, "A")
    assert found is not None
    assert found.value == "1"
    assert [field.name for field in headers.remove(fields, "A")] == ["b"]
    assert headers.find(fields, "C") is None


@pytest.mark.parametrize(
    ("octets", "bare"),
    [(b"a\r\nb\r\n", False), (b"a\nb", True), (b"a\rb", True), (b"\r\r\n", True), (b"", False)],
)
def test_bare_line_ends_are_seen(octets: bytes, bare: bool) -> None:
    assert headers.has_bare_line_end(octets) is bare


def test_a_long_word_without_a_colon_is_read_once() -> None:
    def refused(size: int) -> None:
        with pytest.raises(HeaderError):
            headers.parse(b"From: a@a.example\r\n" + b"X" * size + b"\r\n\r\n")

    assert_linear(refused, 2_500)
