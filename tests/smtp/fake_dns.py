"""The DNS for tests: a dictionary behind the port, and a real server for UDP and TCP on loopback."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from smtp.resolver import Answer, LookupFailedError, NoSuchName

SERVFAIL = "SERVFAIL"


class FakeDns:
    """`mx` and `hosts` by name; SERVFAIL as a value fails the question; an unknown name does not exist."""

    def __init__(self, mx: Mapping[str, object], hosts: Mapping[str, object], ttl_s: float = 300) -> None:
        self.mx_records = mx
        self.hosts = hosts
        self.ttl_s = ttl_s
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None  # questions wait for it where it is set

    async def mx(self, name: str) -> Answer[tuple[int, str]]:
        self.asked.append(name)
        if self.gate is not None:
            await self.gate.wait()
        if name not in self.mx_records and name in self.hosts:
            return Answer((), self.ttl_s)
        return self._answer(self.mx_records, name)

    async def addresses(self, name: str) -> Answer[str]:
        self.asked.append(name)
        return self._answer(self.hosts, name)

    async def txt(self, name: str) -> Answer[bytes]:
        raise NoSuchName(name)

    def _answer(self, table: Mapping[str, object], name: str) -> Answer[Any]:
        values = table.get(name)
        if values is None:
            raise NoSuchName(name)
        if values == SERVFAIL:
            raise LookupFailedError(name)
        assert isinstance(values, list)
        return Answer(tuple(values), self.ttl_s)


class DnsServer:
    """Answers from a zone of (name, type) to records; CNAMEs are followed; SERVFAIL as a record fails."""

    def __init__(self, zone: Mapping[tuple[str, str], list[str]]) -> None:
        self.zone = zone
        self.names = {name for name, _ in zone}
        self.port = 0
        self.asked_over_tcp = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, zone: Mapping[tuple[str, str], list[str]]) -> AsyncIterator[DnsServer]:
        served = cls(zone)
        loop = asyncio.get_running_loop()
        tcp = await asyncio.start_server(served._serve_tcp, "127.0.0.1", 0)
        served.port = tcp.sockets[0].getsockname()[1]
        udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(served), local_addr=("127.0.0.1", served.port)
        )
        try:
            yield served
        finally:
            udp.close()
            tcp.close()

    def answer(self, octets: bytes, *, udp: bool) -> bytes:
        query = dns.message.from_wire(octets)
        response = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        while (name, kind) not in self.zone and (name, "CNAME") in self.zone:
            target = self.zone[name, "CNAME"]
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *target))
            name = target[0]
        values = self.zone.get((name, kind), [])
        if values == [SERVFAIL]:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif values:
            response.answer.append(dns.rrset.from_text(name, 300, "IN", kind, *values))
        elif name not in self.names:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if udp and len(values) > 10:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response.to_wire(max_size=65_535)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length), udp=False)
        self.asked_over_tcp += 1
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.server.answer(data, udp=True), addr)
