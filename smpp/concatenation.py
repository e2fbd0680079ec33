"""User data headers, and the parts of a long message put together again; pure, time is passed in.

3GPP TS 23.040, section 9.2.3.24: a header is a length octet and elements (identifier, length, data);
elements 0x00 and 0x08 tell the part of a concatenated message with an 8- or 16-bit reference. The same three
numbers may come as sar_* TLVs instead (SMPP v3.4, sections 5.3.2.22 to 24). Broken headers are no error:
the octets stay part of the message.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from smpp.constants import Tag
from smpp.pdu import DataSm, ShortMessage, tlv

CONCATENATION_8_BIT: Final = 0x00
CONCATENATION_16_BIT: Final = 0x08


class Concatenation(NamedTuple):
    """Part `sequence` (from 1) of `total`."""

    reference: int
    total: int
    sequence: int


# SMPP v3.4, sections 5.3.2.22 to 5.3.2.24: each has one size; another is no number of a part.
_SAR_OCTETS = {Tag.SAR_MSG_REF_NUM: 2, Tag.SAR_TOTAL_SEGMENTS: 1, Tag.SAR_SEGMENT_SEQNUM: 1}


class UserData(NamedTuple):
    """A payload without its header. `elements` are all (identifier, data) pairs, known or not."""

    octets: bytes
    elements: tuple[tuple[int, bytes], ...] = ()
    concatenation: Concatenation | None = None


def header(concatenation: Concatenation, *, reference_octets: int = 1) -> bytes:
    """A user data header with this one element: 6 octets, or 7 with a 16-bit reference."""
    identifier = CONCATENATION_8_BIT if reference_octets == 1 else CONCATENATION_16_BIT
    reference = (concatenation.reference % (1 << (8 * reference_octets))).to_bytes(reference_octets, "big")
    data = reference + bytes((concatenation.total, concatenation.sequence))
    return bytes((len(data) + 2, identifier, len(data))) + data


def parse_user_data(payload: bytes) -> UserData:
    """The payload of a PDU with UDHI, cut into header elements and message octets."""
    end = payload[0] + 1 if payload else 0
    if not payload or end > len(payload):
        return UserData(payload)
    elements: list[tuple[int, bytes]] = []
    concatenation, position = None, 1
    while position + 2 <= end:
        identifier, length = payload[position], payload[position + 1]
        data = payload[position + 2 : min(position + 2 + length, end)]
        if len(data) < length:
            break
        elements.append((identifier, data))
        # The last one of a kind counts (TS 23.040, section 9.2.3.24).
        concatenation = _concatenation(identifier, data) or concatenation
        position += 2 + length
    return UserData(payload[end:], tuple(elements), concatenation)


def _concatenation(identifier: int, data: bytes) -> Concatenation | None:
    sizes = {CONCATENATION_8_BIT: 3, CONCATENATION_16_BIT: 4}
    if sizes.get(identifier) != len(data):
        return None
    return _checked(int.from_bytes(data[:-2], "big"), data[-2], data[-1])


def _checked(reference: int, total: int, sequence: int) -> Concatenation | None:
    """TS 23.040, section 9.2.3.24.1: an element with a zero or a sequence over the total is ignored."""
    return Concatenation(reference, total, sequence) if 0 < sequence <= total else None


def user_data(pdu: ShortMessage | DataSm) -> UserData:
    """The message octets of a PDU and which part they are; UDHI goes before sar_* TLVs."""
    if pdu.udhi:
        return parse_user_data(pdu.payload)
    numbers = [tlv(pdu, tag) or b"" for tag in _SAR_OCTETS]
    part = None
    if [len(number) for number in numbers] == list(_SAR_OCTETS.values()):
        part = _checked(*(int.from_bytes(number, "big") for number in numbers))
    return UserData(pdu.payload, (), part)


@dataclass(slots=True)
class Incomplete:
    """A long message of which parts are missing. `parts` maps the sequence to its octets."""

    key: tuple[object, ...]
    total: int
    first_seen: float
    parts: dict[int, bytes]

    @property
    def octets(self) -> bytes:
        """What has arrived, in order."""
        return b"".join(self.parts[sequence] for sequence in sorted(self.parts))


class Reassembler:
    """Collects parts in any order, at most `limit` unfinished messages for `ttl_s` seconds each.

    What runs out of time or is pushed out by newer messages is handed back by `expire`, never dropped. The
    push-out list is bounded by `limit` too: call `expire` now and then.
    """

    def __init__(self, *, limit: int = 1000, ttl_s: float = 3600.0) -> None:
        self._limit = limit
        self._ttl_s = ttl_s
        self._waiting: dict[tuple[object, ...], Incomplete] = {}
        self._evicted: list[Incomplete] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, address: tuple[object, ...], part: Concatenation, octets: bytes, now: float
    ) -> bytes | None:
        """The whole message once its last part is in, else None. `address` tells source and destination.

        A repeated part changes nothing, so that a redelivered deliver_sm does no harm.
        """
        key = (*address, part.reference, part.total)
        message = self._waiting.get(key)
        if message is None:
            if len(self._waiting) >= self._limit:
                self._evict(next(iter(self._waiting)))
            message = self._waiting[key] = Incomplete(key, part.total, now, {})
        message.parts.setdefault(part.sequence, octets)
        if len(message.parts) < message.total:
            return None
        del self._waiting[key]
        return message.octets

    def expire(self, now: float) -> list[Incomplete]:
        """The messages that are given up: over their time, or pushed out since the last call."""
        while self._waiting:
            key = next(iter(self._waiting))
            if self._waiting[key].first_seen + self._ttl_s > now:
                break
            self._evict(key)
        evicted, self._evicted = self._evicted, []
        return evicted

    def _evict(self, key: tuple[object, ...]) -> None:
        self._evicted.append(self._waiting.pop(key))
        del self._evicted[: -self._limit]
