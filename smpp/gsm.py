"""GSM 03.38 (3GPP TS 23.038) text as unpacked septets, one per octet, as SMPP carries it; pure.

`encode` gives the octets or None if a character is outside the alphabet: nothing is ever replaced or
dropped. `decode` reads any octets. A national shift table is one more pair of `Table` and its UDH element
(3GPP TS 23.040, 9.2.3.24.15): build it with `Table(basic, extension)` beside `DEFAULT`.
"""

import codecs
from collections.abc import Mapping
from typing import Final

ESCAPE: Final = 0x1B
_NOT_PLAIN: Final = 0xFF

# TS 23.038, section 6.2.1: septets 0x00 to 0x7F; 0x1B escapes to the extension table.
_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# TS 23.038, section 6.2.1.1.
_EXTENSION: Final = {
    0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|",
    0x65: "€",
}  # fmt: skip


class Table:
    """A 7-bit alphabet with its extension, prepared for C-speed look-ups."""

    def __init__(self, basic: str, extension: Mapping[int, str]) -> None:
        self._extension = dict(extension)
        # Octets over 0x7F are no septets: they decode to U+FFFD, so that the damage shows.
        self._decoding = basic + "\ufffd" * 128
        self._encoding: dict[int, bytes] = {
            ord(char): bytes((septet,)) for septet, char in enumerate(basic) if septet != ESCAPE
        }
        self._encoding |= {ord(char): bytes((ESCAPE, septet)) for septet, char in self._extension.items()}
        # ISO-8859-1 octet → septet, for the usual text that needs no escape.
        plain = bytearray([_NOT_PLAIN]) * 256
        for code, septets in self._encoding.items():
            if code < 256 and len(septets) == 1:
                plain[code] = septets[0]
        self._plain = bytes(plain)

    def encode(self, text: str) -> bytes | None:
        """The septets, escapes included, or None if a character is not in the alphabet."""
        try:
            septets = text.encode("latin-1").translate(self._plain)
        except UnicodeEncodeError:
            septets = b"\xff"
        if _NOT_PLAIN not in septets:
            return septets
        try:
            return codecs.charmap_encode(text, "strict", self._encoding)[0]
        except UnicodeEncodeError:
            return None

    def decode(self, septets: bytes) -> str:
        """The text. An unknown escape pair shows the character of the basic table, as section 6.2.1.1 asks;
        an escape at the end shows a space.
        """
        if ESCAPE not in septets:
            return self._decode_basic(septets)
        head, *escaped = septets.split(b"\x1b")
        pieces = [self._decode_basic(head)]
        for piece in escaped:
            if piece:
                first = self._extension.get(piece[0]) or self._decode_basic(piece[:1])
                pieces.append(first + self._decode_basic(piece[1:]))
            else:
                pieces.append(" ")
        return "".join(pieces)

    def _decode_basic(self, septets: bytes) -> str:
        return codecs.charmap_decode(septets, "strict", self._decoding)[0]


DEFAULT: Final = Table(_BASIC, _EXTENSION)
