"""The PROXY protocol's header, octet by octet; the sections are those of haproxy's specification."""

import struct
from ipaddress import ip_address

import pytest

from gateway.doors.proxy_header import START_OCTETS, ProxyHeaderError, crc32c, peer_of, rest_octets

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def header(command: int = 0x21, family: int = 0x11, rest: bytes = b"", length: int | None = None) -> bytes:
    return (
        SIGNATURE
        + bytes((command, family))
        + struct.pack(">H", len(rest) if length is None else length)
        + rest
    )


def addresses(source: str, port: int) -> bytes:
    """Of a connection to port 25 of the same family's loopback."""
    address = ip_address(source)
    target = ip_address("127.0.0.1" if address.version == 4 else "::1")
    return address.packed + target.packed + struct.pack(">HH", port, 25)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def read(octets: bytes) -> tuple[str, int] | None:
    start, rest = octets[:START_OCTETS], octets[START_OCTETS:]
    assert rest_octets(start) == len(rest)
    return peer_of(start, rest)


def with_checksum(octets: bytes, wrong: int = 0) -> bytes:
    """The header with a checksum behind its other TLVs (section 2.2.4)."""
    start, rest = octets[:START_OCTETS], octets[START_OCTETS:] + tlv(3, bytes(4))
    blank = start[:14] + struct.pack(">H", len(rest)) + rest
    return blank[:-4] + struct.pack(">I", crc32c(blank) ^ wrong)


IPV4 = header(rest=addresses("198.51.100.7", 4711))


def test_a_clients_address_is_read() -> None:
    assert read(IPV4) == ("198.51.100.7", 4711)
    assert read(header(family=0x21, rest=addresses("2001:db8::7", 1))) == ("2001:db8::7", 1)


def test_what_stands_behind_the_addresses_is_passed_over() -> None:
    assert read(header(rest=addresses("198.51.100.7", 4711) + tlv(2, b"mx.example") + tlv(4, b""))) == (
        "198.51.100.7",
        4711,
    )


def test_a_proxy_that_speaks_for_itself_names_nobody() -> None:
    assert read(header(command=0x20, family=0)) is None
    assert read(header(command=0x20, family=0x11, rest=b"whatever")) is None


def test_a_checksum_counts_where_there_is_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of this polynomial
    assert read(with_checksum(IPV4)) == ("198.51.100.7", 4711)
    with pytest.raises(ProxyHeaderError, match="checksum"):
        read(with_checksum(IPV4, wrong=1))
    with pytest.raises(ProxyHeaderError, match="checksum"):
        read(header(rest=addresses("198.51.100.7", 1) + tlv(3, b"abc")))


@pytest.mark.parametrize(
    "octets",
    [
        b"PROXY TCP4 198.51.100.7 ",  # version 1
        b"EHLO client.exam",
        SIGNATURE[:11] + b"\r" + bytes(4),
        header(command=0x11, rest=bytes(12)),
        header(command=0x22, rest=bytes(12)),
        header(family=0x00),
        header(family=0x12, rest=bytes(12)),
        header(family=0x31, rest=bytes(216)),
        header(rest=bytes(11)),
        header(family=0x21, rest=bytes(35)),
        header(length=2049),
        header(length=65_535),
        header(rest=bytes(12) + b"\x02\0"),
        header(rest=bytes(12) + b"\x02\0\x05abcd"),
    ],
)
def test_what_is_no_header_of_a_tcp_client_is_refused(octets: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read(octets)
