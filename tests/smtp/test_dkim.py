"""DKIM: what we sign, dkimpy verifies; what was touched afterwards, it does not."""

from __future__ import annotations

import re

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as make_ec_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from smtp import dkim, headers
from smtp.headers import Field
from tests.smtp.cost import assert_linear

RSA_PEM, ED25519_PEM = dkim.make_keys()
RSA = dkim.load_key(RSA_PEM, domain="Example.org", selector="r2026")
ED25519 = dkim.load_key(ED25519_PEM, domain="example.org", selector="e2026")
ZONE = {dkim.dns_record(key).name: dkim.dns_record(key).text.encode() for key in (RSA, ED25519)}
SIGNER = dkim.Signer([RSA, ED25519])
HEADER = b"From: Shop <shop@example.org>\r\nTo: b@example.net\r\nSubject: Hello\r\n"


def signed(header: bytes, body: bytes) -> bytes:
    """The signed message as it travels: DATA always ends in CRLF (RFC 5321 section 4.1.1.4)."""
    fields, _ = headers.parse(header + b"\r\n")
    return headers.join(SIGNER.sign(fields, body, now=1_700_000_000) + fields, travelled(body))


def travelled(body: bytes) -> bytes:
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def verdicts(message: bytes) -> list[bool]:
    return [verification.valid for verification in dkim.verify(message, ZONE.get)]


BODIES = {
    "empty": b"",
    "only line ends": b"\r\n\r\n\r\n",
    "only blanks": b"   ",
    "lines of blanks": b" \t \r\n\t\r\n  \r\n",
    "no final CRLF": b"hello",
    "no final CRLF, trailing blank": b"hello \t",
    "8-bit": "Grüße \xa0 aus Köln\r\n".encode("latin-1") + "Grüße\r\n".encode(),
    "leading dots": b".\r\n..\r\n.hello\r\n",
    "trailing empty lines": b"hello\r\n\r\n\r\n",
    "trailing lines of blanks": b"hello\r\n \t\r\n\r\n  ",
    "runs of blanks": b"a  b\t\tc \t d\r\n  e  \r\n" + b" " * 999 + b"f\r\n",
    "one megabyte": b"The quick  brown fox\tjumps. \r\n" * 34_000,
    "all octets": bytes(range(256)).replace(b"\r", b"").replace(b"\n", b""),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_dkimpy_verifies_both_signatures_on_odd_bodies(body: bytes) -> None:
    assert verdicts(signed(HEADER, body)) == [True, True]


HEADERS = {
    "folded": b"Subject: one\r\n\ttwo\r\n   three  \r\n four\r\n",
    "folded at once": b"Subject:\r\n one\r\n",
    "tabs": b"Subject:\t\ta\t \tb\t\r\n",
    "UTF-8": "Subject: Grüße\r\n".encode(),
    "empty value": b"Subject:\r\nReply-To: \r\n",
    "duplicates": b"List-Post: 1\r\nReferences: <a>\r\nReferences: <b>\r\nList-Post: 2\r\n",
    "one-click": b"List-Unsubscribe: <https://a.example>\r\nList-Unsubscribe-Post: One-Click\r\n",
    "resent": b"Resent-From: x@example.org\r\nResent-From: y@example.org\r\n",
    "long": b"Subject: " + b"word " * 500 + b"\r\n",
    "odd blanks": b"Subject: a\x0b\x0c  b \x1c\x85\r\n",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_dkimpy_verifies_odd_headers(header: bytes) -> None:
    assert verdicts(signed(b"From: a@example.org\r\n" + header, b"x\r\n")) == [True, True]


@given(
    st.lists(
        st.sampled_from([b"a", b" ", b"  ", b"\t", b"\r\n", b".", b"\xc3\xa9", b"  \r\n", b"\x00"]),
        max_size=30,
    )
)
def test_canonical_body_is_the_one_of_dkimpy(parts: list[bytes]) -> None:
    body = b"".join(parts)
    assert dkim.canonical_body(body) == dkimpy.canonicalization.Relaxed.canonicalize_body(travelled(body))


@given(st.binary(max_size=120))
def test_canonical_body_of_any_octets_is_the_one_of_dkimpy(body: bytes) -> None:
    assert dkim.canonical_body(body) == dkimpy.canonicalization.Relaxed.canonicalize_body(travelled(body))


def test_body_of_a_million_blanks_is_canonicalised_in_no_time() -> None:
    assert dkim.canonical_body(b"a" + b" " * 1_000_000 + b"b") == b"a b\r\n"
    assert dkim.canonical_body(b"a" + b"\r\n" * 500_000) == b"a\r\n"


@pytest.mark.parametrize(
    "added",
    [
        *(b"From: ceo@bank.example\r\n", b"Subject: Urgent\r\n", b"To: all@example.net\r\n", b"Cc: x@y\r\n"),
        *(b"Reply-To: thief@example.com\r\n", b"Content-Type: text/html\r\n", b"MIME-Version: 1.0\r\n"),
        *(
            b"Date: now\r\n",
            b"Message-ID: <x>\r\n",
            b"Sender: x@y\r\n",
            b"List-Unsubscribe: <https://x.example>\r\n",
        ),
        *(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", b"List-Id: <x>\r\n"),
        b"Content-Transfer-Encoding: base64\r\n",
    ],
)
def test_field_added_after_signing_breaks_both_signatures(added: bytes) -> None:
    assert verdicts(added + signed(HEADER, b"x\r\n")) == [False, False]


def test_field_that_no_reader_acts_on_may_be_added() -> None:
    assert verdicts(b"Received: from x by y; now\r\n" + signed(HEADER, b"x\r\n")) == [True, True]


def test_changed_body_breaks_both_signatures() -> None:
    verifications = dkim.verify(signed(HEADER, b"pay 10\r\n").replace(b"pay 10", b"pay 99"), ZONE.get)
    assert [verification.valid for verification in verifications] == [False, False]
    assert "body hash mismatch" in verifications[0].reason


def test_signature_names_domain_selector_time_and_no_length() -> None:
    fields, _ = headers.parse(HEADER + b"\r\n")
    rsa, ed25519 = SIGNER.sign(fields, b"x\r\n", now=1_700_000_000)
    assert "a=rsa-sha256; c=relaxed/relaxed; d=example.org;\ts=r2026; t=1700000000;" in rsa.value
    assert "a=ed25519-sha256" in ed25519.value
    assert re.search(r"[;\s]l=", rsa.value) is None
    assert all(len(line) <= 78 for line in rsa.raw.split(b"\r\n"))


def test_signing_again_gives_the_same_octets() -> None:
    assert signed(HEADER, b"x\r\n") == signed(HEADER, b"x\r\n")


def test_verifications_tell_domain_selector_and_reason() -> None:
    message = signed(HEADER, b"x\r\n")
    missing = dkim.verify(message, lambda _: None)
    assert [(v.domain, v.selector, v.algorithm, v.valid) for v in missing] == [
        ("example.org", "r2026", "rsa-sha256", False),
        ("example.org", "e2026", "ed25519-sha256", False),
    ]
    assert all(verification.reason for verification in missing)


@pytest.mark.parametrize(
    "signature", [b"", b"v=1", b"v=1;;a=", b"v=1; a=ed25519-sha256; d=x; s=y; h=from; bh=x; b=x", b"\xff"]
)
def test_broken_signature_is_invalid_and_does_not_raise(signature: bytes) -> None:
    message = b"DKIM-Signature: " + signature + b"\r\n" + HEADER + b"\r\nx\r\n"
    (verification,) = dkim.verify(message, lambda _: b"v=DKIM1; k=ed25519; p=AAAA")
    assert not verification.valid
    assert verification.reason


def test_message_without_signature_has_no_verification() -> None:
    assert dkim.verify(HEADER + b"\r\nx\r\n", ZONE.get) == []


def test_record_is_cut_into_strings_of_255_octets() -> None:
    record = dkim.dns_record(RSA)
    assert record.name == "r2026._domainkey.example.org"
    assert [len(part) for part in record.strings] == [255, len(record.text) - 255]
    assert "".join(record.strings) == record.text
    assert record.text.startswith("v=DKIM1; k=rsa; p=MII")
    assert len(dkim.dns_record(ED25519).strings) == 1


def test_key_that_no_verifier_takes_is_refused() -> None:
    wrong_kind = make_ec_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem, word in ((b"", "PEM"), (b"-----BEGIN nonsense", "PEM"), (wrong_kind, "RSA or Ed25519")):
        with pytest.raises(dkim.KeyUnusableError, match=word):
            dkim.load_key(pem, domain="example.org", selector="s")


@pytest.mark.parametrize(
    ("domain", "selector"), [("a b", "s"), ("example.org", "s;d=x"), ("", "s"), ("x\r\ny", "s")]
)
def test_domain_or_selector_that_is_no_name_is_refused(domain: str, selector: str) -> None:
    with pytest.raises(dkim.KeyUnusableError):
        dkim.load_key(RSA_PEM, domain=domain, selector=selector)


def test_any_field_order_signs_the_lowest_instance_first() -> None:
    fields = [Field("list-post", b"List-Post: 1\r\n"), *headers.parse(HEADER + b"\r\n")[0]]
    fields.append(Field("list-post", b"List-Post:  2 \r\n"))
    message = headers.join(SIGNER.sign(fields, b"", now=1) + fields, b"")
    assert verdicts(message) == [True, True]
    assert verdicts(message.replace(b"List-Post: 1", b"List-Post: 3")) == [False, False]


def test_names_of_foreign_fields_are_not_remembered() -> None:
    signer = dkim.Signer([ED25519])
    own = [Field("from", b"From: a@example.org\r\n")]
    signer.sign(own, b"x\r\n", now=1)
    before = dkim._signed_names.cache_info().currsize
    for number in range(10):
        signer.sign([*own, Field(f"x-{number}", b"X-%d: y\r\n" % number)], b"x\r\n", now=1)
    assert dkim._signed_names.cache_info().currsize == before


@pytest.mark.parametrize("pumped", [b" ", b"\t ", b"\r\n", b"x\r\n", b" \r\n", b"\n\r\n", b"\r\r\n"])
def test_a_body_is_made_canonical_in_linear_time(pumped: bytes) -> None:
    assert_linear(lambda times: dkim.canonical_body(b"x\n" + pumped * times), 20_000)
