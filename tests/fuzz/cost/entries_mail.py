"""Entry points of mail text: addresses, headers, DKIM, DMARC, replies, composing."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from smtp import address, compose, data, dkim, dmarc, headers, mail_view, mime, words
from smtp.codes import Permanent
from smtp.limits import DEFAULT
from smtp.reply_parser import ProtocolError, ReplyParser
from tests.fuzz.cost.entry import KIB, Entry

_NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_FIELD_KIB = 128

ADDRESS = (
    b"a", b'"', b'""', b"\\", b"\\\\", b"@", b".", b"<", b">", b",", b";", b":", b" ", b"(", b")", b"[", b"]",
    b"-", b"a.", b"a@b.example,", "é".encode(), b"\0", b"=?utf-8?q?a?=", b'"a"', b"<a@b.example>", b"xn--a.",
)  # fmt: skip
_NESTED = ((b"(", b")"), (b"<", b">"), (b"[", b"]"), (b'"', b'"'), (b"g:", b";"))


def text_of(octets: bytes) -> str:
    """The octets as a client's text."""
    return octets.decode("utf-8", "surrogateescape")


def refusing(run: Callable[[bytes], object], *refusals: type[Exception]) -> Callable[[bytes], None]:
    """`run`, for which these exceptions are verdicts."""

    def judged(octets: bytes) -> None:
        with suppress(*refusals):
            run(octets)

    return judged


def _header(octets: bytes) -> None:
    """What becomes of a header on its way in, all of it, whatever is enough in the usual case."""
    fields, _ = headers.parse(octets, DEFAULT)
    headers.check_sizes(fields, DEFAULT)
    headers.check_lists(fields, DEFAULT)
    headers.agents(fields, DEFAULT)
    for field in fields:
        words.readable(field.value, 500)
    complete = headers.complete(fields, now=_NOW, message_id="<m@gw.example>", mail_from="a@a.example")
    headers.author_addresses(complete)
    for field in complete:
        dkim.canonical_field(field)


def _viewed(octets: bytes) -> None:
    """A mail judged and taken apart; others have their turn between the steps."""
    fields, body_start = headers.parse(octets, DEFAULT)
    kind = next((field for field in fields if field.name == "content-type"), None)
    for _ in mime.structure(octets, body_start, kind, DEFAULT) or ():
        pass
    for _ in mail_view.view(octets, DEFAULT):
        pass


def _replies(octets: bytes) -> None:
    parser = ReplyParser()
    for position in range(0, len(octets), 4096):
        parser.feed(octets[position : position + 4096])


def _composed(octets: bytes) -> None:
    text = octets.decode("utf-8", "replace")
    author = address.NamedMailbox(text[:1000], address.Mailbox("a", "a.example"))
    draft = compose.Draft(author=author, to=[], cc=[], reply_to=[], subject=text[:2000], text=text, html=text,
                          headers={"X-A": text[:2000]}, attachments=[], unsubscribe=None)  # fmt: skip
    compose.compose(draft, date=_NOW, message_id="<m@gw.example>", boundary="0123456789")


def _field(name: str, tokens: tuple[bytes, ...] = ADDRESS) -> Entry:
    return Entry(
        name=f"mail header, {name}",
        run=refusing(_header, Permanent),
        tokens=(*tokens, b"\r\n ", b"=?utf-8?b?4Zg=?= "),
        nested=_NESTED,
        before=b"" if name == "From" else b"From: a@a.example\r\n",
        after=b"\r\n\r\n",
        reach_octets=_FIELD_KIB * KIB,
    )


def _named(entry: Entry, name: str) -> Entry:
    """The entry with the field's name in front."""
    return Entry(
        name=entry.name, run=entry.run, tokens=entry.tokens, nested=entry.nested,
        before=entry.before + name.encode() + b": ", after=entry.after, reach_octets=entry.reach_octets,
    )  # fmt: skip


ENTRIES = (
    Entry(
        name="address",
        run=refusing(lambda octets: address.parse_address(text_of(octets)), Permanent),
        tokens=ADDRESS,
        nested=_NESTED,
        reach_octets=16 * KIB,
        memory_multiple=96,  # no door lets through more than 2 KiB
    ),
    Entry(
        name="address with a name",
        run=refusing(lambda octets: address.parse_mailbox(text_of(octets)), Permanent),
        tokens=ADDRESS,
        nested=_NESTED,
        before=b"x <",
        after=b"<>",
        reach_octets=16 * KIB,
    ),
    Entry(
        name="SMTP path",
        run=refusing(
            lambda octets: address.parse_path(address.split_path(octets)[0], smtputf8=True), Permanent
        ),
        tokens=ADDRESS,
        nested=_NESTED,
        before=b"<",
        after=b">",
        reach_octets=16 * KIB,
    ),
    *(_named(_field(name), name) for name in ("From", "Sender", "Subject", "Message-ID", "References")),
    Entry(
        name="mail header, fields",
        run=refusing(_header, Permanent),
        tokens=(b"X: y\r\n", b"X:\r\n", b"\r\n ", b"\r", b"\n", b":", b"X", b" ", b"To: a@b.example\r\n"),
        before=b"From: a@a.example\r\n",
        after=b"\r\n\r\n",
        reach_octets=256 * KIB,
        call_ms=50,
    ),
    Entry(
        name="mail taken apart",
        run=refusing(_viewed, Permanent),
        tokens=(
            b"--a\r\n", b"--a--\r\n", b"\r\n", b"--a", b"-", b"a", b"--a\r\n\r\nx\r\n", b"=?utf-8?q?a?=",
            b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n", b"=", b"=41", b"AAAA", b"\r", b"\n",
            b"--a\r\nContent-Disposition: attachment; filename*0=a; filename*1=b\r\n\r\n", b";", b'"',
        ),
        before=b"From: a@a.example\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n",
        after=b"\r\n--a--\r\n",
        reach_octets=1024 * KIB,
        call_ms=100,  # in steps of less than five
        compared_from_octets=16 * KIB,  # each part's header is looked for in so many
    ),
    Entry(
        name="mail body, canonical",
        run=dkim.canonical_body,
        tokens=(b"a", b" ", b"\t", b"\r\n", b" \r\n", b"\r", b"\n", b"\0"),
        reach_octets=1024 * KIB,
        call_ms=50,
    ),
    Entry(
        name="mail body, line ends",
        run=refusing(lambda octets: data.clean(octets, "normalise", stuffed=True), Permanent),
        tokens=(b"a", b"\r\n", b"\r", b"\n", b".", b"\r\n.", b"\0"),
        reach_octets=1024 * KIB,
        call_ms=50,
    ),
    Entry(
        name="mail composed",
        run=refusing(_composed, Permanent, ValueError),
        tokens=(b"a", b" ", b"\n", "é".encode(), b"\\", b'"', b"<", b"=", b"a" * 80, b".\n", b"\r"),
        reach_octets=256 * KIB,
        call_ms=50,
    ),
    Entry(
        name="DKIM signatures",
        run=refusing(lambda octets: dkim.verify(octets, lambda _name: b"v=DKIM1; p="), Permanent),
        tokens=(
            b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=; b=\r\n",
            b"DKIM-Signature: ", b"; ", b"h=from:", b"from:", b"=", b" ", b"\r\n ", b"b=A",
        ),
        before=b"From: a@a.example\r\nDKIM-Signature: v=1; ",
        after=b"\r\n\r\nbody\r\n",
        call_ms=50,  # dkimpy, which verifies only what we have signed ourselves
    ),
    Entry(
        name="DMARC record",
        run=lambda octets: dmarc.parse(text_of(octets)),
        tokens=(b";", b"=", b"p=none;", b"rua=mailto:a@b.example,", b",", b" ", b"9", b"!", b"pct=9;"),
        before=b"v=DMARC1; p=none; ",
        memory_multiple=64,  # a fault is told for each broken tag of the 8 KiB that are read
    ),
    Entry(
        name="SMTP replies",
        run=refusing(_replies, ProtocolError),
        tokens=(b"250-x\r\n", b"250 x\r\n", b"2", b"250", b"-", b" ", b"x", b"\r", b"\n", b"250-5.1.1 x\r\n",
                b"\xff"),
        before=b"250-x\r\n",
        memory_multiple=64,
    ),
)  # fmt: skip
