"""Targets of the mail text in `smtp/`: headers, addresses, DKIM, texts from the DNS."""

from base64 import b64encode
from datetime import UTC, datetime

import dkim.canonicalization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smtp import address, dmarc, headers
from smtp import dkim as our_dkim
from tests.fuzz.octets import Octets

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

# --- headers and addresses --------------------------------------------------------------------------------

HEADER = (
    b"From: a@a.example\r\n", b"From: ", b"To: ", b"Subject: ", b"Bcc: x@y.example\r\n", b"Date: now\r\n",
    b"\r\n", b"\r\n ", b"\r\n\t", b"=?utf-8?q?=C3=A9?=", b"=?utf-8?b?!?=", b"=?x?q?a?=", b"<", b">", b",",
    b";", b":", b'"', b"(", b")", b"@", b"a@b.example", b"\\", b"[", b"]", b"group: ", b".", b"\xff",
    "ü".encode(), b"\0", b"\r", b"\n", b"body", b"From a@b.example Mon\r\n", b"Message-ID: <x@y>\r\n",
    b"Content-Type: text/plain; charset*0*=utf-8''", b"\x0b", b"\x0c", b"A" * 80, b" " * 30, b"X-Very: ",
    b"Received: from x\r\n",
)  # fmt: skip


def mime_headers(data: bytes) -> None:
    """Any header is read or refused with `HeaderError`; what is read goes out again with no line more."""
    raw = Octets(data).words(HEADER)
    try:
        fields, body_start = headers.parse(raw)
    except headers.HeaderError:
        return
    joined = headers.join(fields, raw[body_start:])
    if fields:
        assert headers.parse(joined)[0] == fields
    try:
        complete = headers.complete(fields, now=NOW, message_id="<m@gw.example>", mail_from="a@a.example")
    except headers.HeaderError:
        return
    sent = headers.join(complete, b"")
    assert not headers.has_bare_line_end(sent)
    assert sent.count(b"\r\n\r\n") == 1, "the header ends twice"
    assert not {"bcc", "return-path"} & {field.name for field in complete}
    try:
        authors = headers.author_addresses(complete)
    except headers.HeaderError:
        return
    assert authors
    assert all("@" in author for author in authors)


def header_values(data: bytes) -> None:
    """Texts of a client that become fields of ours: refused, or one field that reads back the same."""
    octets = Octets(data)
    name, value = octets.text(20), octets.text(255)
    trace = headers.Trace(
        helo=octets.text(80),
        client_ip="192.0.2.1",
        client_name=octets.text(40),
        by="gw.example",
        protocol="ESMTPSA",
        message_id=octets.text(40),
        recipient=octets.text(80),
    )
    assert headers.parse(headers.received(trace, NOW).raw + b"\r\n")[0][0].name == "received"
    try:
        made = headers.make(name, value)
    except headers.HeaderError:
        return
    fields, _ = headers.parse(made.raw + b"\r\n")
    assert [field.name for field in fields] == [name.lower()]
    assert fields[0].value == value.strip(" \t")


ADDRESS = (
    b"a@b.example", b"<", b">", b'"', b"\\", b"@", b".", b"..", b"-", b"a", b"xn--", b"[", b"]", b"IPv6:",
    b"::1", b"127.0.0.1", b"@a,@b:", "é".encode(), "ß".encode(), "点看".encode(), b" ", b"(", b",", b";",
    b"\r\n", b"\0", b"a" * 64, b"b" * 64, b".example", "\u202e".encode(), "．".encode(), b"Name ", b"\xff",
    b"\xed\xa0\x80", b"postmaster", b"+tag", b"%41",
)  # fmt: skip


def addresses(data: bytes) -> None:
    """Any text is an address or an `AddressError`; an address written out reads back as itself."""
    raw = Octets(data).words(ADDRESS, most=40)
    text = raw.decode("utf-8", "surrogateescape")
    for candidate in (text, f"a@{text}", f"{text}@b.example"):
        try:
            mailbox = address.parse_address(candidate)
        except address.AddressError:
            continue
        shown = str(mailbox)
        assert shown.isprintable() or not shown.isascii(), "a control character in an address"
        assert not set(shown) & set("\r\n\0")
        assert address.parse_address(shown) == mailbox
    for smtputf8 in (False, True):
        try:
            mailbox_or_null = address.parse_path(raw, smtputf8=smtputf8)
        except address.AddressError:
            continue
        assert mailbox_or_null is None or smtputf8 or str(mailbox_or_null).isascii()
    try:
        named = address.parse_mailbox(text)
    except address.AddressError:
        return
    assert not set(str(named.mailbox)) & set("\r\n\0<>") or '"' in str(named.mailbox)


# --- DKIM and the DNS -------------------------------------------------------------------------------------

BODY = (
    b"\r\n", b"\r\n\r\n", b" ", b"\t", b"  \t ", b" \r\n", b"\r", b"\n", b"a", b"word word", b"\x0b",
    b"\x0c", b"\0", b"\x85",
)  # fmt: skip
SIGNATURE = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=a.example; s=s1; h=from:to; bh=AAAA; b=BBBB\r\n",
    b"DKIM-Signature: v=1; a=ed25519-sha256; d=a.example; s=s1; h=from; bh=; b=\r\n",
    b"DKIM-Signature: ", b"v=1; ", b"a=rsa-sha1; ", b"l=-1; ", b"t=x; ", b"x=1; ", b"c=odd; ", b"d=; ",
    b"h=; ", b"b=====; ", b"i=@b.example; ", b"=",
)  # fmt: skip
_KEY = our_dkim.SigningKey("a.example", "s1", Ed25519PrivateKey.generate())


def dkim_canonical(data: bytes) -> None:
    """Our canonical forms are those of dkimpy, octet by octet.

    But for VT and FF, which dkimpy takes for blanks and RFC 6376 section 3.4.2 does not.
    """
    octets = Octets(data)
    value = octets.sized(120).translate(None, b"\r\x0b\x0c").replace(b"\n", b"\r\n ")
    name = b"X-" + b64encode(octets.sized(6), altchars=b"ab").rstrip(b"=")
    body = octets.words(BODY)
    if not headers.has_bare_line_end(body):
        sent = body if body.endswith(b"\r\n") else body + b"\r\n"
        assert our_dkim.canonical_body(body) == dkim.canonicalization.Relaxed.canonicalize_body(sent)
    try:
        fields, _ = headers.parse(b"From: a@a.example\r\n" + name + b":" + value + b"\r\n\r\n")
    except headers.HeaderError:
        return
    ((their_name, theirs),) = dkim.canonicalization.Relaxed.canonicalize_headers([(name, value + b"\r\n")])
    assert our_dkim.canonical_field(fields[-1]) == their_name + b":" + theirs


def dkim_messages(data: bytes) -> None:
    """Any message is judged, whatever its signatures say; what we sign is valid to dkimpy."""
    octets = Octets(data)
    record = our_dkim.dns_record(_KEY).text.encode()
    answers = [record, b"", None, b"v=DKIM1; k=rsa; p=!", b"v=DKIM1; p=", octets.sized(30)]
    answer = octets.choice(answers)
    message = octets.words((*HEADER, *BODY, *SIGNATURE))
    try:
        fields, body_start = headers.parse(message)
        our_dkim.verify(message, lambda _name: answer)
    except headers.HeaderError:
        return
    mine = [field for field in fields if field.name != "dkim-signature"]
    body = message[body_start:]
    if (
        set(message) & set(b"\0\x0b\x0c")
        or headers.has_bare_line_end(body)
        or "from" not in {field.name for field in mine}
    ):
        return
    signatures = our_dkim.Signer([_KEY]).sign(mine, body, now=1_700_000_000)
    sent = body if body.endswith(b"\r\n") else body + b"\r\n"
    verdicts = our_dkim.verify(headers.join([*signatures, *mine], sent), lambda _name: record)
    assert verdicts[0].valid, verdicts[0].reason


RECORD = (
    b"v=DMARC1", b"; ", b";", b"p=", b"reject", b"none", b"sp=", b"pct=", b"rua=", b"mailto:a@b.example!10m",
    b",",
    b"=", b"0" * 20, b"9" * 5000, b"adkim=", b"s", b"\xff", "²".encode(),
)  # fmt: skip


def dns_texts(data: bytes) -> None:
    """Any TXT record is a DMARC policy or none."""
    text = Octets(data).words(RECORD).decode("utf-8", "replace")
    found = dmarc.parse(text)
    assert found is None or dmarc.is_dmarc(text)
