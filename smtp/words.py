"""Encoded words (RFC 2047) of others, decoded for human eyes and for nothing else.

One pass: each octet is looked at once, and no more is decoded than is kept. Charsets are those that mail
uses; the rest of Python's (among them some that take quadratic time) are unknown here, and a name that is not
in the list is never looked up: the interpreter would remember it for ever. What cannot be decoded stands as
it came. Raises nothing.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp
from collections.abc import Iterator

_HEAD = re.compile(r"=\?([!->@-~]{1,40})\?([bBqQ])\?")  # RFC 2047 section 2: charset and encoding
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_ISO_8859 = {f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))}
_WINDOWS = {f"{vendor}{number}" for vendor in ("windows-", "cp") for number in range(1250, 1259)}
_CHARSETS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16be", "utf-16le", "latin1", "latin-1"}
    | {"koi8-r", "koi8-u", "macintosh", "tis-620", "cp437", "cp850", "cp866", "cp874", "windows-874"}
    | {"gb2312", "gbk", "gb18030", "big5", "big5-hkscs", "euc-jp", "shift-jis", "iso-2022-jp", "cp932"}
    | {"euc-kr", "ks-c-5601-1987", "iso-2022-kr", "cp949"}
    | {"big5-tw", "eucgb2312-cn"}  # as Python itself writes them
    | _ISO_8859
    | _WINDOWS
)
_ALIASES = {
    "ks-c-5601-1987": "cp949", "windows-874": "cp874", "macintosh": "mac-roman", "gb2312": "gbk",
    "big5-tw": "big5", "eucgb2312-cn": "gbk",
}  # fmt: skip
_WORD_CHARS = 80  # an encoded word has 75 (RFC 2047 section 2), and shows a character at least


def charset(name: str) -> str | None:
    """The name by which Python knows a charset of mail, or None for any other."""
    wanted = name.lower().replace("_", "-")
    if wanted not in _CHARSETS:
        return None
    return _ALIASES.get(wanted, wanted)


def readable(text: str, chars: int) -> str:
    """The first `chars` characters of a field's text with its encoded words decoded.

    Blanks between two encoded words do not count (section 6.2), and a character may be cut in two between
    them, against section 5. Control characters that come out of a word become U+FFFD.
    """
    if "=?" not in text:
        return text[:chars]
    text = text[: chars * _WORD_CHARS]
    shown = _Shown()
    at = 0
    for number, (start, end, name, octets) in enumerate(_words(text)):
        if shown.size >= chars or number >= chars:  # as many empty words show nothing either
            break
        between = text[at:start]
        if at == 0 or not shown.after_word or between.strip(" \t"):
            shown.plain(between)
        shown.word(name, octets)
        at = end
    if shown.size < chars:
        shown.plain(text[at:])
    return shown.text()[:chars]


def hides_control(text: str) -> bool:
    """Whether an encoded word of the text holds a control character, a line end or NUL above all.

    Programs cut a name at what it becomes there, so that two of them show two addresses ("Mailsploit").
    """
    return any(_CONTROL.search(octets.decode(name, "replace")) for _, _, name, octets in _words(text))


def without_controls(text: str) -> str:
    """The text with U+FFFD for each control character but the tabulator."""
    return _CONTROL.sub("\ufffd", text)


class _Shown:
    """What has been decoded; octets of neighbouring words in one charset are decoded together."""

    def __init__(self) -> None:
        self.size = 0  # in characters, at least
        self.after_word = False
        self._pieces: list[str] = []
        self._name = ""
        self._octets: list[bytes] = []
        self._held = 0

    def plain(self, text: str) -> None:
        self._flush()
        self._pieces.append(text)
        self.size += len(text)
        self.after_word = False

    def word(self, name: str, octets: bytes) -> None:
        if name != self._name:
            self._flush()
        self._name = name
        self._octets.append(octets)
        self._held += len(octets)
        if self._held >= 4:  # a character has four octets at most
            self.size += self._held // 4
            self._held %= 4
        self.after_word = True

    def text(self) -> str:
        self._flush()
        return "".join(self._pieces)

    def _flush(self) -> None:
        if self._octets:
            decoded = b"".join(self._octets).decode(self._name, "replace")
            self._pieces.append(without_controls(decoded))
            self._octets = []
        self._name = ""


def _words(text: str) -> Iterator[tuple[int, int, str, bytes]]:
    """Start, end, charset and octets of each word that can be decoded, in order."""
    at = 0
    while (start := text.find("=?", at)) >= 0:
        head = _HEAD.match(text, start)
        if head is None:
            at = start + 2
            continue
        end = text.find("?=", head.end())
        if end < 0:
            return
        at = end + 2
        name = charset(head[1].partition("*")[0])  # RFC 2231 section 5: a language may follow
        octets = _octets(head[2], text[head.end() : end])
        if name is not None and octets is not None:
            yield start, at, name, octets


def _octets(encoding: str, text: str) -> bytes | None:
    """What an encoded text stands for (sections 4.1, 4.2), or None where it is broken."""
    if not text.isascii():
        return None
    if encoding in "qQ":
        return a2b_qp(text, header=True)
    try:
        return b64decode(text + "=" * (-len(text) % 4))
    except Base64Error:
        return None
