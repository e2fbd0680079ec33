"""Message text to short_message octets and back: alphabets, segments, limits; pure.

GSM 03.38 (3GPP TS 23.038) where every character fits, else UCS-2 (sent as UTF-16BE); no character is ever
replaced or dropped on the way out. A long text is cut into parts with a user data header (3GPP TS 23.040,
section 9.2.3.24.1) so that neither an escape pair nor a surrogate pair is split. Raises TextError, of which
TextTooLong is the usual kind.

What data_coding 0 means is the SMSC's own choice (SMPP v3.4, section 5.2.19): `Alphabet` says it, per peer.
"""

import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final

from smpp import gsm
from smpp.concatenation import Concatenation, UserData, header, parse_user_data
from smpp.constants import DataCoding

MAX_SEGMENTS: Final = 255
# 140 octets hold 160 septets or 70 UTF-16 units (TS 23.040, section 9.2.3.24).
_SEPTETS: Final = 160
_UNITS: Final = 70
# What a header of 6 or 7 octets leaves: (140 - 6) * 8 / 7 and so on.
_SEPTETS_PER_PART: Final = {1: 153, 2: 152}
_UNITS_PER_PART: Final = {1: 67, 2: 66}
_SORTED_AT_ONCE: Final = 500  # marks, within a tenth of a millisecond
_MARKS_IN_A_ROW: Final = 30
_MARKS_IN_ONE: Final = "\u0f73\u0f75\u0f81"  # Tibetan vowels: no marks themselves, but made of two


class Alphabet(Enum):
    """What octets with data_coding 0 are; the value is the Python codec, empty for GSM septets.

    With LATIN1 or ASCII the SMSC itself turns the text into septets, so the limits stay those of septets.
    """

    GSM = ""
    LATIN1 = "latin-1"
    ASCII = "ascii"


class TextError(ValueError):
    """A text that cannot be sent as it is."""


class TextTooLong(TextError):
    """A text of more than 255 segments, the most that a header can count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """A text ready to submit: each of `parts` is a short_message, with its header if `udhi`.

    `units` counts septets (GSM) or UTF-16 units (UCS-2) over all parts, headers excluded.
    """

    data_coding: DataCoding
    parts: tuple[bytes, ...]
    units: int
    udhi: bool

    @property
    def count(self) -> int:
        """The number of segments, which is what a message costs."""
        return len(self.parts)


def segments(text: str, *, reference_octets: int = 1, alphabet: Alphabet = Alphabet.GSM) -> int:
    """How many segments `split` would make. Raises TextError."""
    septets = _septets(text, alphabet)
    if septets is not None:
        if len(septets) <= _SEPTETS:
            return 1
        return len(_cut_septets(septets, _SEPTETS_PER_PART[reference_octets]))
    octets = _ucs2(text)
    if len(octets) <= 2 * _UNITS:
        return 1
    return len(_cut_ucs2(octets, 2 * _UNITS_PER_PART[reference_octets]))


def one_part(text: str) -> bytes | None:
    """The septets of the usual text: one part in the GSM alphabet. None: ask `split`."""
    septets = gsm.DEFAULT.encode(text)
    return septets if septets is not None and len(septets) <= _SEPTETS else None


def split(
    text: str, *, reference: int = 0, reference_octets: int = 1, alphabet: Alphabet = Alphabet.GSM
) -> Segments:
    """The text as short_message octets. Raises TextError.

    `reference` ties the parts together and is taken modulo 256, or 65,536 with two `reference_octets`.
    """
    septets = _septets(text, alphabet)
    if septets is not None:
        whole, coding, units = septets, DataCoding.DEFAULT, len(septets)
        fits, room = units <= _SEPTETS, _SEPTETS_PER_PART[reference_octets]
        parts = [whole] if fits else _cut_septets(whole, room)
        if alphabet is not Alphabet.GSM:
            parts = [gsm.DEFAULT.decode(part).encode(alphabet.value) for part in parts]
    else:
        whole, coding = _ucs2(text), DataCoding.UCS2
        units = len(whole) // 2
        fits = units <= _UNITS
        parts = [whole] if fits else _cut_ucs2(whole, 2 * _UNITS_PER_PART[reference_octets])
    if not fits:
        total = len(parts)
        parts = [
            header(Concatenation(reference, total, number), reference_octets=reference_octets) + part
            for number, part in enumerate(parts, 1)
        ]
    return Segments(data_coding=coding, parts=tuple(parts), units=units, udhi=not fits)


def _septets(text: str, alphabet: Alphabet) -> bytes | None:
    """The septets, or None where the text needs UCS-2. A decomposed é counts as é: the canonical
    composition (NFC) is tried, since it is the same text by Unicode's own rule.
    """
    septets = gsm.DEFAULT.encode(text)
    if septets is None and not _is_heap_of_marks(text) and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
        septets = gsm.DEFAULT.encode(text)
    if septets is not None and alphabet is not Alphabet.GSM:
        try:
            text.encode(alphabet.value)
        except UnicodeEncodeError:
            return None
    return septets


def _is_heap_of_marks(text: str) -> bool:
    """Whether more combining marks than any writing has stand in a row somewhere in a long text (UAX #15,
    section 13: 30). They are sorted when a text is composed, by the square of their number.
    """
    if len(text) <= _SORTED_AT_ONCE:
        return False
    return b"\1" * (_MARKS_IN_A_ROW + 1) in bytes(map(_is_mark, text))


def _is_mark(char: str) -> bool:
    return unicodedata.combining(char) != 0 or char in _MARKS_IN_ONE


def _ucs2(text: str) -> bytes:
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError as error:
        raise TextError(f"character {error.start + 1} is half of a surrogate pair") from error


def _cut_septets(septets: bytes, room: int) -> list[bytes]:
    parts, position, end = [], 0, len(septets)
    while position < end:
        stop = position + room
        if stop < end and septets[stop - 1] == gsm.ESCAPE:
            stop -= 1
        parts.append(septets[position:stop])
        position = stop
        if len(parts) > MAX_SEGMENTS:
            raise _too_long()
    return parts


def _cut_ucs2(octets: bytes, room: int) -> list[bytes]:
    parts, position, end = [], 0, len(octets)
    while position < end:
        stop = position + room
        if stop < end and 0xD8 <= octets[stop - 2] <= 0xDB:  # a high surrogate stays with its low one
            stop -= 2
        parts.append(octets[position:stop])
        position = stop
        if len(parts) > MAX_SEGMENTS:
            raise _too_long()
    return parts


def _too_long() -> TextTooLong:
    return TextTooLong(f"the text takes more than {MAX_SEGMENTS} segments; shorten it or send it in pieces")


# Section 5.2.19; binary octets decode as ISO-8859-1, which loses none.
_CODECS: Final[dict[int, str]] = {
    DataCoding.ASCII: "ascii",
    DataCoding.OCTETS_TDMA: "latin-1",
    DataCoding.LATIN1: "latin-1",
    DataCoding.OCTETS: "latin-1",
    DataCoding.JIS: "shift_jis",
    DataCoding.CYRILLIC: "iso8859-5",
    DataCoding.HEBREW: "iso8859-8",
    DataCoding.UCS2: "utf-16-be",
    DataCoding.ISO_2022_JP: "iso2022_jp",
    DataCoding.EXTENDED_KANJI: "euc_jp",
    DataCoding.KS_C_5601: "euc_kr",
}


def decode(
    short_message: bytes, data_coding: int, *, udhi: bool = False, alphabet: Alphabet = Alphabet.GSM
) -> str:
    """The text of any octets, without their header; what cannot be read shows as U+FFFD."""
    octets = parse_user_data(short_message).octets if udhi else short_message
    codec = _codec(data_coding, alphabet)
    return octets.decode(codec, "replace") if codec else gsm.DEFAULT.decode(octets)


def _codec(data_coding: int, alphabet: Alphabet) -> str:
    """The Python codec of a data_coding, or "" for GSM septets (TS 23.038, section 4, for 0x10 and over)."""
    if data_coding == DataCoding.DEFAULT:
        return alphabet.value
    if data_coding < 0x10:
        return _CODECS.get(data_coding, "latin-1")
    group = data_coding >> 4
    if group == 0xE:
        return "utf-16-be"
    if group == 0xF:
        return "latin-1" if data_coding & 0x04 else ""
    if group < 0x8:
        return {0x00: "", 0x04: "latin-1", 0x08: "utf-16-be", 0x0C: "latin-1"}[data_coding & 0x0C]
    return ""


__all__ = ["MAX_SEGMENTS", "Alphabet", "Segments", "TextError", "TextTooLong", "UserData", "decode",
           "parse_user_data", "segments", "split"]  # fmt: skip
