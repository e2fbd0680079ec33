"""A fuzzer's octets read as decisions, so that any octets at all reach deep into a protocol.

Short input is not an error: where the octets end, every decision is the first one.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_RAW_FROM = 224  # an octet from here on announces raw octets; those below it choose a word


class Octets:
    """What is left of the fuzzer's octets."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    def raw(self, count: int) -> bytes:
        """The next octets, fewer at the end."""
        start = self._at
        self._at = min(len(self._data), start + count)
        return self._data[start : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        return self.raw(len(self))

    def number(self, limit: int) -> int:
        """A number below the limit."""
        octets = self.raw(1 if limit <= 256 else 4)
        return int.from_bytes(octets, "big") % limit

    def choice(self, among: Sequence[T]) -> T:
        """One of these."""
        return among[self.number(len(among))]

    def sized(self, most: int = 64) -> bytes:
        """Raw octets whose number is itself an octet."""
        return self.raw(self.number(most + 1))

    def text(self, most: int = 64) -> str:
        """A text: UTF-8 where the octets are, else one character per octet."""
        octets = self.sized(most)
        try:
            return octets.decode()
        except UnicodeDecodeError:
            return octets.decode("latin-1")

    def words(self, words: Sequence[bytes], most: int = 400) -> bytes:
        """Up to `most` of these words and raw octets, one after the other, until the octets end."""
        out: list[bytes] = []
        while len(self) and len(out) < most:
            octet = self.number(256)
            out.append(words[octet % len(words)] if octet < _RAW_FROM else self.raw(octet - _RAW_FROM + 1))
        return b"".join(out)

    def cut(self, count: int = 6) -> "Cuts":
        """How to cut a stream; to be asked for before `words` takes the rest."""
        return Cuts(self.raw(count))


class Cuts:
    """Where to cut a stream into the pieces that a network might make of it."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def pieces(self, stream: bytes) -> list[bytes]:
        """The stream in pieces; none is empty. A seed octet of 0 gives the rest as one piece."""
        pieces: list[bytes] = []
        position = turn = 0
        while position < len(stream):
            size = self._seed[turn % len(self._seed)] if self._seed else 0
            turn += 1
            if not size:
                pieces.append(stream[position:])
                break
            # Small sizes are the usual, large ones so that long streams come to an end.
            size = size if size < 128 else (size - 127) * 64
            pieces.append(stream[position : position + size])
            position += size
        return pieces
