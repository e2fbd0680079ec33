"""Envelope paths by RFC 5321 section 4.1.2 and RFC 6531, and addresses of header and API fields."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp.address import (
    AddressError,
    Mailbox,
    NamedMailbox,
    NonAsciiAddressError,
    parse_address,
    parse_domain,
    parse_mailbox,
    parse_path,
    split_path,
)
from tests.smtp.cost import assert_linear

LABEL_63 = "a" * 63


@pytest.mark.parametrize(
    ("path", "local", "domain"),
    [
        (b"<user@example.org>", "user", "example.org"),
        (b"<User+tag@EXAMPLE.Org>", "User+tag", "example.org"),
        (b"<o'neil.x_y=z@mail-1.example.org>", "o'neil.x_y=z", "mail-1.example.org"),
        (b'<"a b"@example.org>', "a b", "example.org"),
        (b'<"plain"@example.org>', "plain", "example.org"),
        (b'<"a\\"b\\\\c"@example.org>', 'a"b\\c', "example.org"),
        (b'<"a@b>c"@example.org>', "a@b>c", "example.org"),
        (b"<@relay.example,@other.example:user@example.org>", "user", "example.org"),
        (b"<user@localhost>", "user", "localhost"),
        (b"<user@[192.0.2.1]>", "user", "[192.0.2.1]"),
        (b"<user@[IPv6:2001:0DB8:0:0::1]>", "user", "[IPv6:2001:db8::1]"),
        (b"<user@XN--Bcher-KVA.example>", "user", "xn--bcher-kva.example"),
        (b"<" + b"a" * 64 + b"@example.org>", "a" * 64, "example.org"),
    ],
)
def test_path_gives_its_mailbox(path: bytes, local: str, domain: str) -> None:
    assert parse_path(path) == Mailbox(local, domain)
    assert parse_path(path, smtputf8=True) == Mailbox(local, domain)


def test_null_reverse_path_is_none() -> None:
    assert parse_path(b"<>") is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"user@example.org", "angle brackets"),
        (b"<user@example.org", "angle brackets"),
        (b"<user>", "needs an @"),
        (b"<@example.org>", "source route"),
        (b"<user@>", "domain after the @"),
        (b"<@a.example:>", "empty"),
        (b"<.user@example.org>", "a dot"),
        (b"<us..er@example.org>", "a dot"),
        (b"<user.@example.org>", "a dot"),
        (b"<us er@example.org>", "must be quoted"),
        (b"<a@b@example.org>", "must be quoted"),
        (b'<"us"er@example.org>', "quotes"),
        (b'<"user@example.org>', "quotes"),
        (b'<""@example.org>', "empty"),
        (b"<user@.example.org>", "a dot"),
        (b"<user@example.org.>", "a dot"),
        (b"<user@exa_mple.org>", "letters, digits"),
        (b"<user@-example.org>", "hyphen"),
        (b"<user@example-.org>", "hyphen"),
        (b"<user@" + b"a" * 64 + b".org>", "63 octets"),
        (b"<user@192.0.2.1>", "square brackets"),
        (b"<user@[192.0.2.256]>", "literal"),
        (b"<user@[::1]>", "literal"),
        (b"<user@[IPv6:::g]>", "literal"),
        (b"<user@[192.0.2.1>", "literal"),
        (b"<us\0er@example.org>", "control"),
        (b"<us\ter@example.org>", "control"),
        (b"<user@example.org\r\nRCPT TO:<x@example.org>", "control"),
        (b"<" + b"a" * 65 + b"@example.org>", "64 octets"),
        (f"<u@{'.'.join([LABEL_63] * 4)}.org>".encode(), "255 octets"),
        (f"<{'u' * 60}@{'.'.join([LABEL_63] * 3)}.org>".encode(), "254 octets"),
    ],
)
def test_bad_path_says_what_is_wrong(path: bytes, why: str) -> None:
    with pytest.raises(AddressError, match=why) as caught:
        parse_path(path)
    assert caught.value.reply.code == 553
    assert why in caught.value.reason


def test_address_of_exactly_254_octets_is_taken() -> None:
    domain = ".".join([LABEL_63] * 3 + ["x" * 20])
    local = "u" * (254 - 1 - len(domain))
    assert parse_address(f"{local}@{domain}") == Mailbox(local, domain)
    with pytest.raises(AddressError, match="254"):
        parse_address(f"{local}u@{domain}")


def test_local_part_limit_counts_octets_not_characters() -> None:
    assert parse_path(f"<{'ü' * 32}@example.org>".encode(), smtputf8=True) is not None
    with pytest.raises(AddressError, match="64 octets"):
        parse_path(f"<{'ü' * 33}@example.org>".encode(), smtputf8=True)


def test_non_ascii_address_needs_smtputf8() -> None:
    path = "<jürgen@bücher.example>".encode()
    with pytest.raises(NonAsciiAddressError) as caught:
        parse_path(path)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (553, "5.6.7")
    assert parse_path(path, smtputf8=True) == Mailbox("jürgen", "xn--bcher-kva.example")


def test_invalid_utf8_is_refused() -> None:
    with pytest.raises(AddressError, match="UTF-8"):
        parse_path(b"<j\xfcrgen@example.org>", smtputf8=True)


def test_u_labels_and_a_labels_compare_equal() -> None:
    assert parse_domain("BÜCHER.example") == parse_domain("xn--bcher-kva.example") == "xn--bcher-kva.example"
    assert Mailbox("u", "xn--bcher-kva.example").unicode_domain == "bücher.example"
    assert Mailbox("u", "xn--\u0000-x.example").unicode_domain == "xn--\u0000-x.example"


@pytest.mark.parametrize("domain", ["bü cher.example", "\u200b.example", "a\u2024\u2024b.example"])
def test_invalid_international_domain_is_refused(domain: str) -> None:
    with pytest.raises(AddressError):
        parse_domain(domain)


def test_only_the_local_part_asks_for_smtputf8() -> None:
    assert Mailbox("jürgen", "example.org").needs_smtputf8
    assert not Mailbox("u", "xn--bcher-kva.example").needs_smtputf8


def test_bare_postmaster_belongs_to_this_host() -> None:
    assert parse_path(b"<Postmaster>", postmaster_domain="MX.example") == Mailbox("Postmaster", "mx.example")
    with pytest.raises(AddressError):
        parse_path(b"<other>", postmaster_domain="mx.example")


@pytest.mark.parametrize(
    ("argument", "path", "rest"),
    [
        (b"<a@b.c>", b"<a@b.c>", b""),
        (b"<a@b.c> SIZE=1  BODY=7BIT ", b"<a@b.c>", b"SIZE=1  BODY=7BIT"),
        (b'<"a> b"@b.c> SIZE=1', b'<"a> b"@b.c>', b"SIZE=1"),
        (b"<> RET=HDRS", b"<>", b"RET=HDRS"),
    ],
)
def test_path_is_cut_from_its_parameters(argument: bytes, path: bytes, rest: bytes) -> None:
    assert split_path(argument) == (path, rest)


@pytest.mark.parametrize("argument", [b"a@b.c", b"", b"<a@b.c", b"<a@b.c>SIZE=1", b'<"a@b.c>', b"<<a@b.c>>"])
def test_argument_without_a_whole_path_is_refused(argument: bytes) -> None:
    with pytest.raises(AddressError):
        split_path(argument)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("user@example.org", "", "user@example.org"),
        ("  user@example.org ", "", "user@example.org"),
        ("<user@example.org>", "", "user@example.org"),
        ("Jörg Müller <joerg@example.org>", "Jörg Müller", "joerg@example.org"),
        ('"Doe, \\"J\\" (x)" <doe@example.org>', 'Doe, "J" (x)', "doe@example.org"),
        ("Dr. O'Neil <o@example.org>", "Dr. O'Neil", "o@example.org"),
        ("jürgen@bücher.example", "", "jürgen@xn--bcher-kva.example"),
        ("ju\u0308rgen@example.org", "", "jürgen@example.org"),
        ("user@localhost", "", "user@localhost"),
        ('"a b"@example.org', "", '"a b"@example.org'),
    ],
)
def test_field_gives_name_and_mailbox(text: str, name: str, address: str) -> None:
    parsed = parse_mailbox(text)
    assert (parsed.display_name, str(parsed.mailbox)) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user",
        "a@example.org, b@example.org",
        "Doe, John <doe@example.org>",
        "x <a@example.org> y",
        "<>",
        "a@example.org\r\nBcc: b@example.org",
        "a\0@example.org",
        "Name\n <a@example.org>",
        "a\u202e@example.org",
        "A <b@example.org> <c@example.org>",
    ],
)
def test_bad_field_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_mailbox(text)


def test_named_mailbox_is_a_value() -> None:
    assert parse_mailbox("A <a@b.example>") == NamedMailbox("A", Mailbox("a", "b.example"))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64))
def test_any_printable_local_part_survives_the_wire(local: str) -> None:
    mailbox = Mailbox(local, "example.org")
    assert parse_path(f"<{mailbox}>".encode()) == mailbox


@given(st.binary(max_size=80), st.booleans())
def test_any_octets_parse_or_raise_the_one_error(octets: bytes, smtputf8: bool) -> None:
    try:
        mailbox = parse_path(b"<" + octets + b">", smtputf8=smtputf8)
    except AddressError:
        return
    assert mailbox is None or parse_path(f"<{mailbox}>".encode(), smtputf8=True) == mailbox


@given(st.text(max_size=60))
def test_any_text_parses_or_raises_the_one_error(text: str) -> None:
    try:
        mailbox = parse_mailbox(text).mailbox
    except AddressError:
        return
    assert parse_mailbox(str(mailbox)).mailbox == mailbox


def read_or_refused(text: str) -> None:
    with suppress(AddressError):
        parse_mailbox(text)


@pytest.mark.parametrize(
    ("before", "pumped", "after"),
    [
        ("x <", '""', "<>"),
        ("x <", '""', ">"),
        ("x <", '"', "<>"),
        ("", '"', "<>"),
        ('"', '\\"', "> <a@b.example>"),
        ("", " ", "<"),
        ("x ", "<", ">"),
        ("", "a.", "@"),
        ("a@", "a-", ".>"),
        ("a@", "é", ".example"),
        ("é", "\u0301", "@b.example"),
        ('"', "\\\\", '"@'),
    ],
)
def test_an_address_takes_time_linear_in_its_length(before: str, pumped: str, after: str) -> None:
    assert_linear(lambda times: read_or_refused(before + pumped * times + after), 20, 2000)


def test_a_path_takes_time_linear_in_its_length() -> None:
    def run(times: int) -> None:
        for path in (b'<"' + b'"a' * times, b"<" + b'""' * times, b"<@" + b"a,@" * times + b">"):
            with pytest.raises(AddressError):
                parse_path(split_path(path)[0])

    assert_linear(run, 20, 2000)
