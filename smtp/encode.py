"""Words and bodies as MIME wants them: encoded-words, quoted strings, parameters, transfer encodings.

Sources: RFC 2047 (words in header fields), RFC 2231 and RFC 2183 (parameters), RFC 2045 section 6 (transfer
encodings), RFC 6532 (addresses whose local part is UTF-8 stay UTF-8). Everything here is pure and
deterministic; callers have checked the values with `headers.check_value`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import b2a_qp
from typing import AnyStr
from urllib.parse import quote

from smtp.address import Mailbox

_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\- ]+")  # a phrase that needs no quotes (RFC 5322 3.2.3)
_TOKEN = re.compile(
    r"[A-Za-z0-9!#$&+.^_`{|}~\-]+"
)  # RFC 2045 section 5.1, less what RFC 2231 gives a meaning
_PLAIN = re.compile(r"[ -~]*")
LONGEST_WORD = 900  # a word without a blank must still fit a line of 998 (RFC 5322 section 2.1.1)
_ENCODED_OCTETS = (
    42  # of text in one encoded-word: 12 of frame and 56 of base64 make 68, under 75 (RFC 2047 section 2)
)
_LINE_OCTETS = 998
_ABOVE_ASCII = bytes(range(128, 256))
_PIECE_OCTETS = (
    57 * 1024
)  # encoded at once, whole lines of base64: the interpreter is held for less than 2 ms


def text_words(text: str) -> str:
    """Free text such as a Subject: as it is where it is ASCII, else as encoded-words."""
    if _is_plain(text) and "=?" not in text and not _has_long_word(text):
        return text
    return encoded_words(text)


def encoded_words(text: str) -> str:
    """The text as encoded-words of base64 UTF-8, none of which cuts a character in two (RFC 2047 5)."""
    octets = text.encode()
    words, at = [], 0
    while at < len(octets):
        end = at + _ENCODED_OCTETS
        while (
            end < len(octets) and octets[end] & 0xC0 == 0x80
        ):  # RFC 3629 section 3: not the first of its character
            end -= 1
        words.append(octets[at:end])
        at = end
    return " ".join([f"=?utf-8?b?{b64encode(word).decode()}?=" for word in words])


def named_mailbox(display_name: str, mailbox: Mailbox) -> str:
    """`Name <local@domain>` as it stands in an address field, or the bare address where there is no name."""
    if not display_name:
        return str(mailbox)
    if not _is_plain(display_name) or "=?" in display_name or _has_long_word(display_name):
        name = encoded_words(display_name)
    elif _ATOMS.fullmatch(display_name) and display_name == " ".join(display_name.split()):
        name = display_name
    else:
        escaped = display_name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    return f"{name} <{mailbox}>"


def parameter(name: str, value: str) -> str:
    """`; name=value`, quoted where it must be, in the form of RFC 2231 section 4 where it is not ASCII."""
    if _TOKEN.fullmatch(value) and len(value) < _LINE_OCTETS // 2:
        return f"; {name}={value}"
    if _is_plain(value) and len(value) < _LINE_OCTETS // 2:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'; {name}="{escaped}"'
    encoded = quote(value, safe="!#$&+^`{}|~")
    if len(encoded) < _LINE_OCTETS // 2:
        return f"; {name}*=utf-8''{encoded}"
    # Continuations (RFC 2231 section 3), cut anywhere: each part is put together again before it is decoded.
    parts = [encoded[at : at + 60] for at in range(0, len(encoded), 60)]
    parts[0] = f"utf-8''{parts[0]}"
    return "".join(f"; {name}*{number}*={part}" for number, part in enumerate(parts))


def body_text(text: str, *, forbidden: str) -> tuple[str, bytes]:
    """Transfer encoding and octets of a text part: 7bit where it can be, else whichever of the others is
    shorter.

    Line ends of any kind become CRLF. A text that holds `forbidden` (the boundary around it) is never left
    7bit.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    octets = text.replace("\n", "\r\n").encode()
    if octets.isascii() and b"\0" not in octets and forbidden not in text and not has_long_line(octets):
        return "7bit", octets
    above_ascii = len(octets) - len(octets.translate(None, _ABOVE_ASCII))
    if above_ascii * 6 < len(octets):  # quoted-printable adds two octets each, base64 a third of all
        return "quoted-printable", _quoted_printable(octets)
    return "base64", base64_lines(octets)


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76, each ended by CRLF (RFC 2045 section 6.8)."""
    pieces = []
    for start in range(0, len(octets), _PIECE_OCTETS):
        encoded = b64encode(octets[start : start + _PIECE_OCTETS])
        pieces.append(b"".join([encoded[at : at + 76] + b"\r\n" for at in range(0, len(encoded), 76)]))
    return b"".join(pieces)


def _quoted_printable(octets: bytes) -> bytes:
    """Quoted-printable (RFC 2045 section 6.7) of text whose lines end with CRLF."""
    pieces, at = [], 0
    while at < len(octets):
        end = octets.rfind(b"\n", at, at + _PIECE_OCTETS) + 1
        if end:
            pieces.append(b2a_qp(octets[at:end], istext=True))
        else:  # a line longer than a piece goes on behind a soft line break
            end = at + _PIECE_OCTETS
            pieces += (b2a_qp(octets[at:end] + b"\r\n", istext=True)[:-2], b"=\r\n")
        at = end
    return b"".join(pieces)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None


def _has_long_word(text: str) -> bool:
    return has_long_run(text, " ", LONGEST_WORD)


def has_long_line(octets: bytes) -> bool:
    """Whether a line is longer than RFC 5322 section 2.1.1 allows."""
    return has_long_run(octets, b"\r\n", _LINE_OCTETS)


def has_long_run(text: AnyStr, end: AnyStr, most: int) -> bool:
    """Whether more than `most` characters come without an `end`."""
    at = 0
    while len(text) - at > most:
        found = text.rfind(end, at, at + most + len(end))
        if found < 0:
            return True
        at = found + len(end)
    return False
