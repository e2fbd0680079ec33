"""Build a message from the fields of an API call: RFC 5322 and MIME octets, ready to be signed and sent.

The same draft, date, message id and boundary always give the same octets. Nothing a caller passes can leave
its field: every fault raises `ComposeError`, a ValueError that names the field (`to[3]`,
`headers.X-Campaign`, `attachments[0].filename`).

Sources: RFC 5322 sections 3.4 and 3.6, RFC 2045 to 2047, RFC 2231, RFC 2369 and RFC 8058 (one-click
unsubscribe). An address whose local part is UTF-8 stays UTF-8 (RFC 6532); `headers.needs_smtputf8` sees it.
The envelope, Bcc above all, is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime

from smtp.address import AddressError, NamedMailbox, parse_mailbox
from smtp.encode import (
    LONGEST_WORD,
    base64_lines,
    body_text,
    has_long_line,
    has_long_run,
    named_mailbox,
    parameter,
    text_words,
)
from smtp.headers import HeaderError, check_name, check_value, fold, has_bare_line_end

# Written by us or by the systems on the way; a caller who sets one is told instead of overruled.
RESERVED = frozenset(
    {"from", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "sender", "mime-version"}
    | {"return-path", "received", "dkim-signature", "authentication-results", "list-unsubscribe-post"}
)
_RESERVED_PREFIXES = ("content-", "resent-", "arc-")
_ASCII_ONLY = (
    "references",
    "in-reply-to",
    "list-",
)  # structured: an encoded-word there would be taken literally

_CONTENT_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+\-]{1,64}/[A-Za-z0-9!#$&^_.+\-]{1,64}"
    r"(?:; ?[A-Za-z0-9_\-]{1,32}=(?:[A-Za-z0-9!#$&^_.+\-]{1,128}|\"[ !#-\[\]-~]{0,128}\"))*"
)
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,200}")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,400}>")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")  # RFC 5646 section 2.1
_BOUNDARY = re.compile(r"[A-Za-z0-9_]{8,60}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_URI = re.compile(r"[!-;=?-~]{1,900}")

Address = str | NamedMailbox
_Entity = tuple[list[str], bytes]  # the Content- lines of a part, and its body


class ComposeError(ValueError):
    """A draft that cannot become a message. `field` names the part of the draft at fault."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that travels along; with a `content_id` it is shown where the HTML says `cid:`."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"
    content_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """Where to unsubscribe: https takes the POST of RFC 8058, mailto is for older programs."""

    https: str = ""
    mailto: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the caller wants sent. Addresses may be texts (`Name <a@b.example>`) or already parsed."""

    author: Address
    to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()
    unsubscribe: Unsubscribe | None = None
    language: str = ""
    """Of the text, as a BCP 47 tag; "": not said (RFC 3282 section 2)."""


def compose(draft: Draft, *, date: datetime, message_id: str, boundary: str) -> bytes:
    """The octets of the message, lines ended by CRLF.

    `message_id` in angle brackets; `boundary` of 8 to 60 letters and digits, random, so that no text holds
    it.
    """
    if _MESSAGE_ID.fullmatch(message_id) is None:
        raise ComposeError("message_id", "must be printable ASCII in angle brackets")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise ComposeError("boundary", "must be 8 to 60 letters and digits")
    content_lines, body = _entity(draft, f"=_{boundary}")
    lines = [f"Date: {format_datetime(date)}", f"Message-ID: {message_id}"]
    lines += _address_lines(draft)
    lines.append(f"Subject: {text_words(_checked('subject', draft.subject))}")
    lines += _unsubscribe_lines(draft.unsubscribe)
    lines += _own_lines(draft)
    lines.append("MIME-Version: 1.0")
    if draft.language:
        lines.append(f"Content-Language: {_language(draft.language)}")
    lines += content_lines
    header = "".join([f"{fold(line)}\r\n" for line in lines]).encode()
    return b"%b\r\n%b" % (header, body)


def _language(tag: str) -> str:
    if _LANGUAGE.fullmatch(tag) is None:
        raise ComposeError("language", "must be a language tag such as pt or pt-BR")
    return tag


def _address_lines(draft: Draft) -> Iterator[str]:
    yield f"From: {_address('from', draft.author)}"
    if draft.reply_to:
        yield f"Reply-To: {_addresses('reply_to', draft.reply_to)}"
    if draft.to:
        yield f"To: {_addresses('to', draft.to)}"
    elif not draft.cc:
        yield "To: undisclosed-recipients:;"  # RFC 5322 appendix A.1.3: an empty group
    if draft.cc:
        yield f"Cc: {_addresses('cc', draft.cc)}"


def _addresses(name: str, addresses: Sequence[Address]) -> str:
    return ", ".join([_address(f"{name}[{number}]", address) for number, address in enumerate(addresses)])


def _address(name: str, address: Address) -> str:
    if isinstance(address, str):
        try:
            address = parse_mailbox(address)
        except AddressError as error:
            raise ComposeError(name, error.reason) from error
    return named_mailbox(_checked(name, address.display_name), address.mailbox)


def _unsubscribe_lines(unsubscribe: Unsubscribe | None) -> Iterator[str]:
    """RFC 8058 section 3.1: an https address for the POST, and the field that says so."""
    if unsubscribe is None:
        return
    uris = []
    for name, uri, scheme in (
        ("https", unsubscribe.https, "https://"),
        ("mailto", unsubscribe.mailto, "mailto:"),
    ):
        if not uri:
            continue
        if not uri.lower().startswith(scheme) or _URI.fullmatch(uri) is None:
            raise ComposeError(f"unsubscribe.{name}", f"must be a {scheme} address in printable ASCII")
        uris.append(f"<{uri}>")
    if not uris:
        raise ComposeError("unsubscribe", "needs an https or a mailto address")
    yield f"List-Unsubscribe: {', '.join(uris)}"
    if unsubscribe.https:
        yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click"


def _own_lines(draft: Draft) -> Iterator[str]:
    """The caller's own fields."""
    seen: set[str] = set()
    for name, value in draft.headers.items():
        place, lower = f"headers.{name}", name.lower()
        try:
            check_name(name)
        except HeaderError as error:
            raise ComposeError("headers", error.reply.text) from error
        if lower in RESERVED or lower.startswith(_RESERVED_PREFIXES):
            raise ComposeError(place, "is written by the gateway, use the field of its own")
        if lower in seen or (lower == "list-unsubscribe" and draft.unsubscribe is not None):
            raise ComposeError(place, "stands twice")
        seen.add(lower)
        value = _checked(place, value)  # noqa: PLW2901 - the same value, checked
        if lower.startswith(_ASCII_ONLY):
            if not value.isascii() or has_long_run(value, " ", LONGEST_WORD):
                raise ComposeError(
                    place, f"must be ASCII, with a blank at least every {LONGEST_WORD} characters"
                )
            yield f"{name}: {value}"
        else:
            yield f"{name}: {text_words(value)}"


def _checked(name: str, value: str) -> str:
    """The value, if it can stand in a header without ending its field."""
    try:
        check_value(name, value)
    except HeaderError as error:
        raise ComposeError(name, error.reply.text.removeprefix(f"{name}: ")) from error
    if not value.isprintable() and _CONTROL.search(value):
        raise ComposeError(name, "control characters are not allowed in a header field")
    return value


def _entity(draft: Draft, boundary: str) -> _Entity:
    """The content as a tree: mixed of alternative (text, related of HTML and its pictures) and files."""
    inline = [part for part in enumerate(draft.attachments) if part[1].content_id and draft.html is not None]
    files = [part for part in enumerate(draft.attachments) if part not in inline]
    shown: list[_Entity] = []
    if draft.text is not None:
        shown.append(_text_part("text", "plain", draft.text, boundary))
    if draft.html is not None:
        html = _text_part("html", "html", draft.html, boundary)
        pictures = [_attachment_part(number, attachment, inline=True) for number, attachment in inline]
        shown.append(_multipart("related", f"{boundary}_r", [html, *pictures]) if pictures else html)
    parts = [_multipart("alternative", f"{boundary}_a", shown)] if len(shown) > 1 else shown
    parts += [_attachment_part(number, attachment, inline=False) for number, attachment in files]
    if not parts:
        raise ComposeError("text", "a mail needs text, html or an attachment")
    return _multipart("mixed", f"{boundary}_m", parts) if files else parts[0]


def _multipart(subtype: str, boundary: str, parts: Sequence[_Entity]) -> _Entity:
    """RFC 2046 section 5.1.1. A boundary that starts with =_ stands in no base64 or quoted-printable text."""
    delimiter = f"--{boundary}".encode()
    chunks = []
    for lines, body in parts:
        header = "".join([f"{fold(line)}\r\n" for line in lines]).encode()
        chunks += [delimiter, b"\r\n", header, b"\r\n", body, b"" if body.endswith(b"\r\n") else b"\r\n"]
    chunks += [delimiter, b"--\r\n"]
    kind = '; type="text/html"' if subtype == "related" else ""  # RFC 2387 section 3.1
    return [f'Content-Type: multipart/{subtype}{kind}; boundary="{boundary}"'], b"".join(chunks)


def _text_part(name: str, subtype: str, text: str, boundary: str) -> _Entity:
    try:
        encoding, body = body_text(text, forbidden=boundary)
    except UnicodeEncodeError as error:
        raise ComposeError(name, "not valid Unicode text") from error
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    return [
        f"Content-Type: text/{subtype}; charset={charset}",
        f"Content-Transfer-Encoding: {encoding}",
    ], body


def _attachment_part(number: int, attachment: Attachment, *, inline: bool) -> _Entity:
    place = f"attachments[{number}]"
    content_type = attachment.content_type
    if _CONTENT_TYPE.fullmatch(content_type) is None or content_type.lower().startswith("multipart/"):
        raise ComposeError(f"{place}.content_type", "is not a media type such as application/pdf")
    filename = _checked(f"{place}.filename", attachment.filename)
    disposition = "inline" if inline else "attachment"
    lines = [
        f"Content-Type: {content_type}",
        f"Content-Disposition: {disposition}{parameter('filename', filename) if filename else ''}",
    ]
    if attachment.content_id:
        content_id = attachment.content_id.removeprefix("<").removesuffix(">")
        if _CONTENT_ID.fullmatch(content_id) is None:
            raise ComposeError(f"{place}.content_id", "must be printable ASCII without blanks or brackets")
        lines.append(f"Content-ID: <{content_id}>")
    if content_type.lower().startswith("message/"):  # RFC 2046 section 5.2.1: never base64
        octets = attachment.content
        if not octets.isascii() or b"\0" in octets or has_bare_line_end(octets) or has_long_line(octets):
            raise ComposeError(f"{place}.content", "must be ASCII lines of up to 998 octets, ended by CRLF")
        return [*lines, "Content-Transfer-Encoding: 7bit"], attachment.content
    return [*lines, "Content-Transfer-Encoding: base64"], base64_lines(attachment.content)
