"""The PROXY protocol, version 2: what a proxy says before the first octet of its client (haproxy's
`proxy-protocol.txt`, sections 2.2 and 2.2.3). Pure.

Taken are PROXY over TCP/IPv4 and TCP/IPv6, and LOCAL, by which a proxy speaks for itself. Whatever else a
header says (version 1, UDP, UNIX sockets, an unspecified family) is broken: its client would count as nobody.
Of the TLVs behind the addresses only a checksum is looked at, where there is one.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

START_OCTETS = 16
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the upper four bits
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES_OCTETS = {_TCP4: 12, _TCP6: 36}
_MOST_OCTETS = 2048  # behind the start; addresses take 36, the rest are TLVs
_CRC32C = 0x03
_TLV = struct.Struct(">BH")


class ProxyHeaderError(Exception):
    """This is no header that can be taken; says why."""


def rest_octets(start: bytes) -> int:
    """How many octets follow the first `START_OCTETS` of a header. Raises ProxyHeaderError."""
    if not start.startswith(_SIGNATURE):
        raise ProxyHeaderError("no PROXY header of version 2")
    command, family = start[12], start[13]
    (length,) = struct.unpack_from(">H", start, 14)
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("an unknown version or command")
    if length > _MOST_OCTETS:
        raise ProxyHeaderError("longer than 2,048 octets")
    if command == _PROXY and length < _ADDRESSES_OCTETS.get(family, _MOST_OCTETS + 1):
        raise ProxyHeaderError("no TCP addresses")
    return int(length)


def peer_of(start: bytes, rest: bytes) -> tuple[str, int] | None:
    """The client's address and port; None for LOCAL, where it is the proxy. Raises ProxyHeaderError.

    `start` has passed `rest_octets`, and `rest` is as long as that said.
    """
    if start[12] == _LOCAL:
        return None
    family = start[13]
    _check(start, rest, _ADDRESSES_OCTETS[family])
    if family == _TCP4:
        (port,) = struct.unpack_from(">H", rest, 8)
        return str(IPv4Address(rest[:4])), port
    (port,) = struct.unpack_from(">H", rest, 32)
    return str(IPv6Address(rest[:16])), port


def _check(start: bytes, rest: bytes, offset: int) -> None:
    """Every TLV ends within the header, and a checksum is right (section 2.2.3)."""
    while offset < len(rest):
        if len(rest) - offset < _TLV.size:
            raise ProxyHeaderError("a TLV without its length")
        kind, length = _TLV.unpack_from(rest, offset)
        value = offset + _TLV.size
        offset = value + length
        if offset > len(rest):
            raise ProxyHeaderError("a TLV beyond the header")
        if kind == _CRC32C:
            if length != 4:
                raise ProxyHeaderError("a checksum that is none")
            blank = start + rest[:value] + bytes(4) + rest[offset:]
            if crc32c(blank) != int.from_bytes(rest[value:offset]):
                raise ProxyHeaderError("a wrong checksum")


def crc32c(octets: bytes) -> int:
    """The checksum of RFC 4960 appendix B, which the header's TLV asks for."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc = _CRC_TABLE[(crc ^ octet) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_of(octet: int) -> int:
    for _ in range(8):
        octet = (octet >> 1) ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRC_TABLE = [_crc_of(octet) for octet in range(256)]
