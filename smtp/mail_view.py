"""A mail taken apart for a reader: its fields, its text and HTML, its files. Of any octets, in bounded steps.

`view` is a generator whose steps are short; it returns the `MailView`. What is beyond a limit is left out
and told in a note. Nothing here decides about a mail, and nothing raises: what cannot be read is shown as it
stands, or as a file.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp
from collections.abc import Generator
from contextlib import suppress
from itertools import islice
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from smtp.header_error import HeaderTooLargeError
from smtp.headers import Field, HeaderError, parse
from smtp.limits import MailLimits
from smtp.mime import Part, Scanner, media_type
from smtp.words import charset, readable

TEXT_CHARS = 100_000  # shown of a text part
VALUE_CHARS = 2000  # shown of a field
_NAME_CHARS = 255  # shown of a file's name and of its Content-ID
_HEADER_OCTETS = 16_384  # read of a header that is too large
_ENCODED_OCTETS = 400_000  # decoded of a text part: in base64, its characters of three octets each
_COUNTED_OCTETS = 262_144  # in one step
_PARAMETERS = 50  # of a field

_FIELD = re.compile(rb"(?:\A|\n)([!-9;-~]{1,76}+)[ \t]*+:([^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*+)")
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;]*+))')
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)


class File(Struct, frozen=True, kw_only=True):
    """A part that is not shown as text."""

    filename: str | None
    content_type: str
    content_id: str | None
    size_octets: int  # decoded


class MailView(Struct, kw_only=True):
    """What was read. `notes` say what was not."""

    headers: list[tuple[str, str]]
    text: str | None = None
    html: str | None = None
    files: list[File]
    notes: list[str]


def view(octets: bytes, limits: MailLimits) -> Generator[None, None, MailView]:
    """The mail, as far as the limits go."""
    shown = MailView(headers=[], files=[], notes=[])
    fields, body_start = _header(octets, limits, shown.notes)
    content_type = b""
    for field in fields:
        shown.headers.append((_text(field.raw.partition(b":")[0]), readable(field.value, VALUE_CHARS)))
        if field.name == "content-type" and not content_type:
            content_type = field.raw.partition(b":")[2]
        yield
    if shown.notes:
        return shown
    scanner = Scanner(octets, body_start=body_start, content_type=content_type, limits=limits)
    while not scanner.over:
        scanner.step()
        yield
    if scanner.too_many:
        shown.notes.append(f"Only the first {limits.mime_parts} parts were read.")
    if scanner.too_deep:
        shown.notes.append(f"Multiparts inside more than {limits.mime_depth} others were not taken apart.")
    for part in scanner.parts:
        yield from _show(octets, part, shown)
    return shown


def _header(octets: bytes, limits: MailLimits, notes: list[str]) -> tuple[list[Field], int]:
    """The fields and where the body starts, of a faulty header as much as can be read."""
    try:
        return parse(octets, limits)
    except HeaderTooLargeError:
        notes.append("The header is too large. Only its first fields were read, and no body.")
        whole = octets[:_HEADER_OCTETS].rpartition(b"\n")[0] + b"\n"
    except HeaderError:
        notes.append("The header is faulty. Only some of its fields were read, and no body.")
        whole = octets[:_HEADER_OCTETS]
    found = islice(_FIELD.finditer(whole), limits.header_fields)
    return [Field(_text(one[1]).lower(), one[0].lstrip(b"\n") + b"\r\n") for one in found], len(octets)


def _show(octets: bytes, part: Part, shown: MailView) -> Generator[None, None, None]:
    """Adds a leaf to what is shown."""
    fields: dict[bytes, bytes] = {}
    for found in _FIELD.finditer(octets[part.header_start : part.body_start]):
        fields.setdefault(found[1].lower(), found[2].replace(b"\r\n", b""))
    yield
    content_type = fields.get(b"content-type", b"")
    kind = media_type(content_type)
    encoding = fields.get(b"content-transfer-encoding", b"").strip().lower()
    filename = _filename(fields.get(b"content-disposition", b""), content_type)
    attribute = {"text/plain": "text", "text/html": "html"}.get(kind)
    if attribute is not None and filename is None and getattr(shown, attribute) is None:
        text = _decoded(octets, part, encoding, content_type)
        if len(text) > TEXT_CHARS or part.body_end - part.body_start > _ENCODED_OCTETS:
            shown.notes.append(f"The {kind} part is cut.")
        setattr(shown, attribute, text[:TEXT_CHARS])
        yield
        return
    size_octets = yield from _size(octets, part, encoding)
    content_id = fields.get(b"content-id")
    shown.files.append(
        File(
            filename=filename,
            content_type=kind,
            content_id=None if content_id is None else _text(content_id.strip())[:_NAME_CHARS],
            size_octets=size_octets,
        )
    )


def _decoded(octets: bytes, part: Part, encoding: bytes, content_type: bytes) -> str:
    """The text of a part, as far as it may be shown."""
    body = octets[part.body_start : min(part.body_end, part.body_start + _ENCODED_OCTETS)]
    if encoding == b"quoted-printable":
        body = a2b_qp(body)
    elif encoding == b"base64":
        packed = body.translate(None, b"\r\n\t ")
        with suppress(Base64Error):  # then it is shown as it stands
            body = b64decode(packed[: len(packed) // 4 * 4])
    wanted = _parameters(content_type).get(b"charset", b"utf-8").decode("ascii", "replace")
    return body.decode(charset(wanted) or "latin-1", "replace")


def _size(octets: bytes, part: Part, encoding: bytes) -> Generator[None, None, int]:
    """The octets of a part once decoded, counted without decoding it."""
    size = part.body_end - part.body_start
    if encoding not in {b"base64", b"quoted-printable"}:
        return size
    marks = soft = 0
    for at in range(part.body_start, part.body_end, _COUNTED_OCTETS):
        end = min(part.body_end, at + _COUNTED_OCTETS)
        if encoding == b"base64":
            size -= octets.count(b"\r", at, end) + octets.count(b"\n", at, end)
            marks += octets.count(b"=", at, end)
        else:
            marks += octets.count(b"=", at, end)
            soft += octets.count(b"=\r\n", at, min(part.body_end, end + 2))
        yield
    if encoding == b"base64":
        return max(0, (size - marks) * 3 // 4)
    return max(0, size - 2 * (marks - soft) - 3 * soft)


def _filename(disposition: bytes, content_type: bytes) -> str | None:
    """The name of a file: of Content-Disposition (RFC 2183 2.3), else the name of Content-Type."""
    for value, name in ((disposition, b"filename"), (content_type, b"name")):
        parameters = _parameters(value)
        if name in parameters:
            return readable(_text(parameters[name]), _NAME_CHARS)
        pieces, extended = _continued(parameters, name)
        if pieces:
            return _extended(pieces)[:_NAME_CHARS] if extended else _text(pieces)[:_NAME_CHARS]
    return None


def _continued(parameters: dict[bytes, bytes], name: bytes) -> tuple[bytes, bool]:
    """The value of `name*` or of `name*0`, `name*1*`, … (RFC 2231), and whether it has a charset."""
    if name + b"*" in parameters:
        return parameters[name + b"*"], True
    pieces: list[bytes] = []
    extended = name + b"*0*" in parameters
    for number in range(_PARAMETERS):
        key = b"%b*%d" % (name, number)
        piece = parameters.get(key + b"*", parameters.get(key))
        if piece is None:
            break
        pieces.append(piece)
    return b"".join(pieces), extended


def _extended(value: bytes) -> str:
    """A value of the form charset'language'text, its octets in percent (RFC 2231 section 4)."""
    name, _, rest = value.partition(b"'")
    wanted = charset(name.decode("ascii", "replace")) or "utf-8"
    return unquote_to_bytes(rest.partition(b"'")[2]).decode(wanted, "replace")


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """The first parameters of a Content- field (RFC 2045 section 5.1), their names in lower case."""
    return {
        found[1].lower(): _QUOTED_PAIR.sub(rb"\1", found[2]) if found[2] is not None else found[3]
        for found in islice(_PARAMETER.finditer(value), _PARAMETERS)
    }


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
