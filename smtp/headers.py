"""The header of a message, field by field, on raw octets: cut it off, judge it, complete it, put it back.

Fields keep the octets they came with; only a field that is added or removed changes the message, so that
signatures of others survive. The body is never looked into: `parse` finds where it starts, and whoever joins
copies it once.

Sources: RFC 5322 sections 2.1, 2.2 and 3.6 (form, and how often a field may stand), RFC 6409 section 8 (what
a submission server may add), RFC 5321 section 4.4 (Received, Return-Path), RFC 6532 (UTF-8 in fields).

Raises `HeaderError`, a `Permanent` 5.6.0 whose text names the field or line at fault. Takes the time and the
ids as parameters. Line lengths and the end of DATA are the server's matter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from msgspec import Struct

from smtp.header_error import HeaderError as HeaderError  # noqa: PLC0414 - for whoever reads headers
from smtp.header_error import HeaderTooLargeError
from smtp.limits import DEFAULT, MailLimits
from smtp.mailboxes import addresses, check_list

_FIELD = re.compile(
    rb"([!-9;-~]++)([ \t]*+):"
)  # RFC 5322 section 2.2; the blanks (4.5) only to say no to them
# A field with its folds (section 2.2.3). It takes what it can and gives nothing back, so that a field of a
# million folds costs only its octets. For a header in which CR and LF stand together only.
# It begins where a line does: a long word is not tried again from each of its letters.
_WHOLE_FIELD = re.compile(rb"(?<![^\n])([!-9;-~]++):[^\r]*+\r\n(?:[ \t][^\r]*+\r\n)*+")
_MBOX_LINE = re.compile(rb">?From [^ \t:]")
_NAME = re.compile(r"[!-9;-~]{1,76}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CRLF = b"\r\n"
_NAME_LINE_OCTETS = 1000  # a line has 998 (RFC 5322 section 2.1.1), and the name of a field stands in one
_FIELD_OCTETS = 4  # the least that a field has: a name, the colon, CRLF
_FOLD_AT = 78  # RFC 5322 section 2.1.1
_BEFORE_BLANKS = re.compile(r"[^ ](?= )")

# RFC 5322 section 3.6: at most one of each. The MIME fields: RFC 2045 section 3, read the same way by all.
ONCE = frozenset(
    {"date", "from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references"}
    | {"subject", "mime-version", "content-type", "content-transfer-encoding", "content-id"}
    | {"content-description"}
)
# Return-Path is written by the final delivery alone (RFC 5321 section 4.4); Bcc must not travel (RFC 5322
# 3.6.3).
NEVER_SENT = frozenset({"bcc", "resent-bcc", "return-path"})

# One address, with or without a name of atoms: what nearly every mail has. No encoded words: those are read.
_SIMPLE = r"[A-Za-z0-9.!#$%&'*+/^_`{|}~\-]++@[A-Za-z0-9.\-]++"
_SIMPLE_AUTHOR = re.compile(rf"[A-Za-z0-9 .!#$%&'*+/^_`{{|}}~\-]*+<({_SIMPLE})>|({_SIMPLE})")
_AUTHORS_REMEMBERED = 512  # applications send from a few addresses
_REMEMBERED_CHARS = 200

# The fields that say who a mail is from, beside From (RFC 5322 sections 3.6.2, 3.6.6).
AGENTS = ("sender", "resent-from", "resent-sender")
_LISTS = ("reply-to", "to", "cc", "resent-to", "resent-cc", "resent-reply-to")
_REPLIES = frozenset({"reply-to", "resent-reply-to"})


class Field(Struct, frozen=True, gc=False):
    """One header field: its name in lower case, its octets from the name to the last CRLF, folds included."""

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """What stands after the colon, unfolded and stripped; octets that are no UTF-8 become U+FFFD."""
        after = self.raw.partition(b":")[2]
        return after.replace(_CRLF, b"").decode("utf-8", "replace").strip(" \t")


class Trace(Struct, frozen=True, kw_only=True, gc=False):
    """What a Received field tells (RFC 5321 section 4.4).

    `protocol` is registered by RFC 3848 and RFC 6531.
    """

    helo: str
    client_ip: str
    client_name: str = ""  # from reverse DNS; "" when unknown
    by: str
    protocol: str  # ESMTPSA, UTF8SMTPSA, HTTP, …
    message_id: str  # our queue id
    recipient: str = ""  # only when there is a single one, lest a blind copy is shown


def parse(raw: bytes, limits: MailLimits | None = None) -> tuple[list[Field], int]:
    """The fields of a message and the offset at which its body starts.

    A message whose first line is no field has no header: all of it is body. A leading mbox "From " line is
    dropped. Raises `HeaderError` for NUL, for a CR or LF outside CRLF, and for a later line that is neither a
    field nor a fold; `HeaderTooLargeError` for a header beyond `limits`, of which no more is read than that.
    Without limits it is one of ours, which has been judged.
    """
    start = 0
    if _MBOX_LINE.match(raw):
        start = raw.find(_CRLF) + 2 or len(raw)
    if raw.startswith(_CRLF, start):
        return [], start + 2
    if _FIELD.match(raw, start, start + _NAME_LINE_OCTETS) is None:
        return [], start
    most = len(raw) if limits is None else start + limits.header_octets
    end = raw.find(b"\r\n\r\n", start, most + 2)
    if end >= 0:
        head, body_start = raw[start : end + 2], end + 4
    elif len(raw) > most:
        raise HeaderTooLargeError(f"the header has more than {most - start} octets")
    else:
        head, body_start = raw[start:], len(raw)
    if not head.endswith(_CRLF):
        head += _CRLF
    if b"\0" in head:
        raise HeaderError("the header holds a NUL")
    if has_bare_line_end(head):
        raise HeaderError("the header holds a CR or LF that is not part of CRLF")
    if limits is not None and len(head) > _FIELD_OCTETS * limits.header_fields:
        _check_number(head, limits.header_fields)
    return _fields(head), body_start


def _check_number(head: bytes, most: int) -> None:
    """Raise `HeaderTooLargeError` for more than `most` lines that are no folds."""
    if head.count(_CRLF) - head.count(b"\r\n ") - head.count(b"\r\n\t") > most:
        raise HeaderTooLargeError(f"the header has more than {most} fields")


def _fields(head: bytes) -> list[Field]:
    fields = []
    end = 0
    for found in _WHOLE_FIELD.finditer(head):
        if found.start() != end:
            break
        end = found.end()
        fields.append(Field(found[1].decode("ascii").lower(), found[0]))
    if end != len(head):
        raise _fault(head, end)
    return fields


def _fault(head: bytes, offset: int) -> HeaderError:
    """What is wrong with the line that begins there."""
    number = head.count(_CRLF, 0, offset) + 1
    if _FIELD.match(head, offset) is None:
        return HeaderError(
            f"line {number} of the header is neither a field nor a continuation; "
            "is the empty line before the body missing?"
        )
    # Programs disagree on what such a field is called, and some on whether it is one.
    return HeaderError(f"line {number} of the header has a blank before the colon")


def join(fields: Iterable[Field], body: bytes | memoryview) -> bytes:
    """The whole message: the fields, the empty line, the body."""
    parts: list[bytes | memoryview] = [field.raw for field in fields]
    parts += (_CRLF, body)
    return b"".join(parts)


def has_bare_line_end(octets: bytes) -> bool:
    """Whether a CR or LF stands anywhere outside a CRLF pair (RFC 5321 section 2.3.8)."""
    pairs = octets.count(_CRLF)
    return octets.count(b"\n") != pairs or octets.count(b"\r") != pairs


def find(fields: Iterable[Field], name: str) -> Field | None:
    """The first field of this name, or None."""
    name = name.lower()
    return next((field for field in fields if field.name == name), None)


def peek(raw: bytes, name: str) -> Field | None:
    """The first field of this name of a message that has been judged; fast where it is spelt so, in one line.

    Raises `HeaderError` where `parse` does.
    """
    end = raw.find(b"\r\n\r\n")
    start = raw.find(b"\n%b:" % name.encode(), 0, end) if end >= 0 else -1
    if start >= 0:
        line_end = raw.find(_CRLF, start, end + 2) + 2
        if raw[line_end : line_end + 1] not in {b" ", b"\t"}:
            return Field(name.lower(), raw[start + 1 : line_end])
    return find(parse(raw)[0], name)


def remove(fields: Iterable[Field], *names: str) -> list[Field]:
    """The fields without those of these names."""
    unwanted = {name.lower() for name in names}
    return [field for field in fields if field.name not in unwanted]


def make(name: str, value: str) -> Field:
    """A field of our own, folded at blanks where it is long.

    Raises `HeaderError` for what must not be in a header.
    """
    check_name(name)
    check_value(name, value)
    return Field(name.lower(), fold(f"{name}: {value}").encode() + _CRLF)


def check_name(name: str) -> None:
    """Raise `HeaderError` unless this may name a field: printable ASCII without colon (RFC 5322 2.2)."""
    if _NAME.fullmatch(name) is None:
        shown = name[:76].encode("ascii", "backslashreplace").decode()
        raise HeaderError(f"{shown!r} is not a header field name", name.lower())


def check_value(name: str, value: str) -> None:
    """Raise `HeaderError` if the value could end its field or its header: CR, LF, NUL, lone surrogates."""
    for bad, word in (("\r", "CR"), ("\n", "LF"), ("\0", "NUL")):
        if bad in value:
            raise HeaderError(f"{name}: {word} is not allowed in a header field", name.lower())
    if not value.isascii() and _SURROGATE.search(value):
        raise HeaderError(f"{name}: not valid Unicode text", name.lower())


def fold(line: str) -> str:
    """The line with CRLF put before blanks, so that pieces keep to 78 characters where blanks allow it."""
    if len(line) <= _FOLD_AT:
        return line
    end = len(line.rstrip(" "))  # no piece of blanks alone
    pieces: list[str] = []
    at = 0
    while len(line) - at > _FOLD_AT:
        cut = line.rfind(" ", at + 1, at + _FOLD_AT + 1)
        while cut > at and line[cut - 1] == " ":
            cut -= 1
        if cut <= at:
            found = _BEFORE_BLANKS.search(line, at + _FOLD_AT)
            cut = found.end() if found else end
        if cut >= end:
            break
        pieces.append(line[at:cut])
        at = cut
    return "\r\n".join([*pieces, line[at:]])


def check_counts(fields: Iterable[Field]) -> None:
    """Raise `HeaderError` for a field that stands twice though only one is allowed (RFC 5322 section 3.6)."""
    for name, count in Counter(field.name for field in fields).items():
        if count > 1 and name in ONCE and name not in NEVER_SENT:
            raise HeaderError(f"the field {name.title()} stands {count} times, only one is allowed", name)


def complete(
    fields: Sequence[Field], *, now: datetime, message_id: str, mail_from: str, received: Field | None = None
) -> list[Field]:
    """The fields as they leave us: checked, without Bcc and Return-Path, with From, Date, Message-ID and
    Received.

    `message_id` comes with its angle brackets and is used where the message has none (RFC 6409 section 8). A
    missing From is taken from the envelope, and is an error for the null reverse-path ("").
    """
    names = {field.name for field in fields}
    if len(names) != len(fields):
        check_counts(fields)
    kept = [field for field in fields if field.name not in NEVER_SENT]
    if "from" not in names:
        if not mail_from:
            raise HeaderError("the field From is missing", "from")
        kept.append(make("From", mail_from))
    if "date" not in names:  # RFC 6409 section 8.2
        kept.append(make("Date", date_text(int(now.timestamp()))))
    if "message-id" not in names:  # RFC 6409 section 8.3
        kept.append(make("Message-ID", message_id))
    return kept if received is None else [received, *kept]


def needs_smtputf8(fields: Iterable[Field]) -> bool:
    """Whether a field holds octets above 127, which travel only under SMTPUTF8 (RFC 6531 section 3.6)."""
    return not all(field.raw.isascii() for field in fields)


def author_addresses(fields: Iterable[Field], limits: MailLimits = DEFAULT) -> list[str]:
    """The addresses in From, in order, as `local@domain`.

    Raises `HeaderError` where From is missing or leaves room for two readings (`smtp.mailboxes`).
    """
    field = find(fields, "from")
    if field is None:
        raise HeaderError("the field From is missing", "from")
    value = field.value
    simple = _SIMPLE_AUTHOR.fullmatch(value)
    if simple is not None:
        return [simple[1] or simple[2]]
    if len(value) <= _REMEMBERED_CHARS:
        return list(_remembered_authors(value, limits))
    return addresses(value, "from", limits)


@lru_cache(maxsize=_AUTHORS_REMEMBERED)
def _remembered_authors(value: str, limits: MailLimits) -> tuple[str, ...]:
    return tuple(addresses(value, "from", limits))


def agents(fields: Iterable[Field], limits: MailLimits = DEFAULT) -> list[tuple[str, str]]:
    """Who else the mail says it was sent by: the fields Sender, Resent-From, Resent-Sender and each address.

    Raises `HeaderError` as `author_addresses` does, and for a Sender of several.
    """
    found: list[tuple[str, str]] = []
    for field in fields:
        if field.name not in AGENTS:
            continue
        named = addresses(field.value, field.name, limits)
        if len(named) > 1 and field.name != "resent-from":
            raise HeaderError(f"the field {field.name.title()} holds several addresses", field.name)
        found += [(field.name, address) for address in named]
        if len(found) > limits.author_addresses:
            raise HeaderError(
                f"the Resent fields hold more than {limits.author_addresses} addresses", field.name
            )
    return found


def check_sizes(fields: Iterable[Field], limits: MailLimits) -> None:
    """Raise `HeaderTooLargeError` for a field of more octets than its kind may have."""
    most = dict.fromkeys(("from", *AGENTS, *_REPLIES), limits.author_octets)
    most |= dict.fromkeys((name for name in _LISTS if name not in _REPLIES), limits.recipients_octets)
    most["subject"] = limits.subject_octets
    for field in fields:
        allowed = most.get(field.name)
        if allowed is not None and len(field.raw) > allowed:
            raise HeaderTooLargeError(
                f"the field {field.name.title()} has {len(field.raw)} octets, {allowed} are allowed",
                field.name,
            )


def check_lists(fields: Iterable[Field], limits: MailLimits) -> None:
    """Raise `HeaderError` for a list of recipients, or of Reply-To, beyond its limits."""
    for field in fields:
        if field.name not in _LISTS:
            continue
        raw = field.raw
        most = limits.author_addresses if field.name in _REPLIES else None
        crowded = most is not None and raw.count(b",") >= most
        if crowded or raw.count(b"(") > limits.comment_depth:
            check_list(raw, field.name, limits, most)


def received(trace: Trace, now: datetime) -> Field:
    """The Received field of our hop (RFC 5321 section 4.4), already folded."""
    recipient = f"\r\n\tfor <{_printable(trace.recipient)}>" if trace.recipient else ""
    text = (
        f"{_received_from(trace.helo, trace.client_ip, trace.client_name)}"
        f"\tby {trace.by} with {trace.protocol} id {_printable(trace.message_id)}{recipient};\r\n"
        f"\t{date_text(int(now.timestamp()))}\r\n"
    )
    return Field("received", text.encode())


@lru_cache(maxsize=256)  # a client sends many
def _received_from(helo: str, client_ip: str, client_name: str) -> str:
    name = f"{_printable(client_name)} " if client_name else ""
    literal = f"IPv6:{client_ip}" if ":" in client_ip else client_ip
    return f"Received: from {_printable(helo) or 'unknown'} ({name}[{literal}])\r\n"


@lru_cache(maxsize=16)  # of a second there are many
def date_text(now_s: int) -> str:
    """The time of a Date or Received field (RFC 5322 section 3.3), in UTC."""
    return format_datetime(datetime.fromtimestamp(now_s, UTC))


_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f()<>;\\\ud800-\udfff]")


def _printable(text: str) -> str:
    """What a client told us, without anything that could end a word, a comment or a line."""
    return _UNPRINTABLE.sub("?", text[:255])
