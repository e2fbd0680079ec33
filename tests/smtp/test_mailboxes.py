"""Who a mail says it is from: read as every reader reads it, or refused; in linear time."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import headers
from smtp.header_error import HeaderError, HeaderTooLargeError
from smtp.headers import Field
from smtp.limits import DEFAULT, MailLimits
from smtp.mailboxes import addresses, check_list
from tests.smtp.cost import assert_linear


def word(text: str) -> str:
    return f"=?utf-8?b?{b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a@b.example", ["a@b.example"]),
        ('"Shop, Inc." <a@b.example>', ["a@b.example"]),
        ('A "B" C <a@b.example>', ["a@b.example"]),
        ("Dr. A (the one) <a@b.example> (c)", ["a@b.example"]),
        ("(a (nested \\) one)) a@b.example (c)", ["a@b.example"]),
        ('"a \\" b" <a@b.example>', ["a@b.example"]),
        ('"a b"@c.example', ['"a b"@c.example']),
        ('""<a@b.example>', ["a@b.example"]),
        ("a@[192.0.2.1]", ["a@[192.0.2.1]"]),
        ("< a@b.example >", ["a@b.example"]),
        ("jörg@Bücher.example", ["jörg@xn--bcher-kva.example"]),
        ("a@b.example, C <d@e.example>,f@g.example", ["a@b.example", "d@e.example", "f@g.example"]),
        (f"{word('Jörg')} {word('Müller')} <j@x.example>", ["j@x.example"]),
        ("=?nonsense?q?a?= <a@b.example>", ["a@b.example"]),
        ("J\ufffdrg <a@b.example>", ["a@b.example"]),
    ],
)
def test_what_programs_write_is_read(value: str, found: list[str]) -> None:
    assert addresses(value, "from", DEFAULT) == found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "no address"),
        ("(only a comment)", "no address"),
        ("<>", "no address"),
        ("a@b.example,", "no address"),
        (",a@b.example", "no address"),
        ("G: a@b.example;", "valid address"),
        ("a@allowed.example <x@other.example>", "valid address"),
        ("<x@other.example> a@allowed.example", "valid address"),
        ("<a@b.example> c", "behind"),
        ("<a@b.example><c@d.example>", "valid address"),
        ("a(x)@b.example", "valid address"),
        ("a @b.example", "must be quoted"),
        ("a@ b.example", "other than letters"),
        ('"a".b@c.example', "valid address"),
        ("a@b.example (x", "without an end"),
        ('"a <b@c.example>', "valid address"),
        ("<@relay.example:a@b.example>", "valid address"),
        ("a\ufffd@b.example", "UTF-8"),
        ("a\x0b <a@b.example>", "control"),
        ("a\x85 <a@b.example>", "control"),
        (f"{word('a')}@own.example", "inside an address"),
        (f'"{word("a")}"@own.example', "inside an address"),
        (f"<{word('a')}@own.example>", "inside an address"),
        (f"a@{word('own')}.example", "inside an address"),
        (f"{word('ceo@bank.example')}{word(chr(0))} <a@own.example>", "hides"),
        (f'"{word("a" + chr(10) + "b")}" <a@own.example>', "hides"),
        (f"({word(chr(13))}) a@own.example", "hides"),
        ("=?utf-8?q?=00?= <a@own.example>", "hides"),
        ("=?utf-8?q?a=C2=85?= <a@own.example>", "hides"),
        ("(" * 21 + ")" * 21 + "a@b.example", "more than 20 deep"),
        (", ".join(["a@b.example"] * 21), "more than 20 addresses"),
    ],
)
def test_two_readings_or_none_are_refused_for_good(value: str, why: str) -> None:
    with pytest.raises(HeaderError, match=why) as caught:
        addresses(value, "from", DEFAULT)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (554, "5.6.0")
    assert caught.value.field == "from"


def test_the_limits_themselves_are_allowed() -> None:
    assert addresses("(" * 20 + ")" * 20 + "a@b.example", "from", DEFAULT) == ["a@b.example"]
    assert len(addresses(", ".join(["a@b.example"] * 20), "from", DEFAULT)) == 20


PIECES = st.sampled_from(
    ["a", "b.c", " ", "@", "x.example", "<", ">", ",", '"', "(", ")", "\\", "[", "]", ";", ":", ".", "é",
     "=?utf-8?q?=41?=", "=?utf-8?q?=00?=", "\t", "n <a@b.example>", '"q" <a@b.example>'],
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_is_read_is_what_the_standard_library_reads(value: str) -> None:
    try:
        found = addresses(value, "from", DEFAULT)
    except HeaderError:
        return
    theirs = policy.SMTPUTF8.header_factory("from", value)
    assert [address.addr_spec for address in theirs.addresses] == found


@pytest.mark.parametrize(
    ("before", "pumped", "after"),
    [
        ("", ",", "a@b.example"),
        ("", "(", ""),
        ("", "(", ")"),
        ("", "(a)", "a@b.example"),
        ("", "(\\", ""),
        ("", '"', "<a@b.example>"),
        ('"', "\\", ""),
        ("", "=?utf-8?q?a?= ", "<a@b.example>"),
        ("", "=?utf-8?q?", "<a@b.example>"),
        ("", "=?", "<a@b.example>"),
        ("", "<", ""),
        ("", "[", "]"),
        ("", "a ", "<a@b.example>"),
        ("", "a@b.example,", ""),
        ("", "a@b.example ", ""),
        ("", "é", "@b.example"),
    ],
)
def test_a_list_takes_time_linear_in_its_length(before: str, pumped: str, after: str) -> None:
    def run(times: int) -> None:
        value = before + pumped * times + after
        with suppress(HeaderError):
            headers.author_addresses([Field("from", f"From: {value}\r\n".encode())])
        with suppress(HeaderError):
            check_list(value.encode(), "to", DEFAULT, 20)

    assert_linear(run, 20, 1000)


def agents(*lines: str) -> list[tuple[str, str]]:
    return headers.agents(headers.parse("".join(f"{line}\r\n" for line in (*lines, "")).encode())[0])


def test_sender_and_resent_fields_name_senders_too() -> None:
    found = agents("From: a@b.c", "Sender: S <s@b.c>", "Resent-From: r@d.e, q@d.e", "Resent-Sender: t@d.e")
    expected = [
        ("sender", "s@b.c"),
        ("resent-from", "r@d.e"),
        ("resent-from", "q@d.e"),
        ("resent-sender", "t@d.e"),
    ]
    assert found == expected
    assert agents("From: a@b.c") == []


@pytest.mark.parametrize("line", ["Sender: a@b.c, d@e.f", "Sender:", f"Resent-From: {word('a')}@b.c"])
def test_a_sender_that_cannot_be_read_is_refused(line: str) -> None:
    with pytest.raises(HeaderError):
        agents(line)


def test_many_resent_fields_are_refused() -> None:
    with pytest.raises(HeaderError, match="more than 20"):
        agents(*["Resent-From: a@b.c"] * 21)


@pytest.mark.parametrize(
    ("field", "octets"),
    [
        ("From", 8192),
        ("Sender", 8192),
        ("Reply-To", 8192),
        ("Subject", 8192),
        ("To", 131_072),
        ("Cc", 131_072),
    ],
)
def test_a_field_too_large_is_refused_by_its_size_alone(field: str, octets: int) -> None:
    raw = b"%b:" % field.encode()
    headers.check_sizes([Field(field.lower(), raw.ljust(octets - 2, b",") + b"\r\n")], DEFAULT)
    with pytest.raises(HeaderTooLargeError, match=field) as caught:
        headers.check_sizes([Field(field.lower(), raw.ljust(octets - 1, b",") + b"\r\n")], DEFAULT)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (552, "5.3.4")
    assert caught.value.field == field.lower()


def lists(field: str, value: str) -> None:
    headers.check_lists([Field(field.lower(), f"{field}: {value}\r\n".encode())], DEFAULT)


def test_lists_that_nobody_checks_have_limits_all_the_same() -> None:
    lists("To", ", ".join(["a@b.example"] * 1000))
    lists("Reply-To", ", ".join(["a@b.example"] * 20))
    lists("Reply-To", '"' + "," * 100 + '" <a@b.example> (' + "," * 100 + ")")
    lists("Cc", "(a)" * 1000 + "(" * 20 + ")" * 20 + "a@b.example")
    lists("To", '":-' + "(" * 50 + '" <a@b.example>')
    with pytest.raises(HeaderError, match="20 addresses"):
        lists("Reply-To", ", ".join(["a@b.example"] * 21))
    for nested in ("(" * 21 + ")" * 21, "(" * 3000):
        with pytest.raises(HeaderError, match="20 deep"):
            lists("To", nested)


def test_a_header_is_refused_before_it_is_read() -> None:
    limits = MailLimits(header_octets=2000, header_fields=100)
    fields = b"From: a@b.example\r\n" + b"X: y\r\n" * 99
    assert len(headers.parse(fields + b"\r\nbody", limits)[0]) == 100
    for raw in (fields + b"X: y\r\n\r\n", fields + b"X: y\r\n"):
        with pytest.raises(HeaderTooLargeError, match="100 fields"):
            headers.parse(raw, limits)
    fits = b"From: a@b.example\r\nX: ".ljust(1998, b"x") + b"\r\n"
    assert headers.parse(fits + b"\r\n" + b"body" * 1000, limits)[1] == 2002
    for raw in (b"From: a@b.example\r\nX: ".ljust(1999, b"x") + b"\r\n\r\n", b"X: " + b"\0" * 5000):
        with pytest.raises(HeaderTooLargeError, match="2000 octets"):
            headers.parse(raw, limits)
    assert len(headers.parse(fields + b"X: y\r\n\r\n")[0]) == 101
