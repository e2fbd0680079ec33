"""DNS as the checks of domains and webhooks ask it: TXT, MX and addresses, each answer with a time limit.

A name that does not exist and a name without such a record are both an empty list; no usable answer
(time-out, SERVFAIL, refused) is `DnsUnavailableError`.
"""

import asyncio
from typing import Any, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

TIMEOUT_S = 5.0
_TXT_MAX = 20  # records of one name that are looked at
_ADDRESSES_MAX = 16


class DnsUnavailableError(Exception):
    """Nobody could say: neither yes nor no."""


class Dns(Protocol):
    """The questions; a fake answers them in tests."""

    async def txt(self, name: str) -> list[str]:
        """The TXT records of `name`, the strings of each joined (RFC 7208 section 3.3)."""
        ...

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """The MX records of `name` as (preference, host); host "." is the null MX (RFC 7505)."""
        ...

    async def addresses(self, name: str) -> list[str]:
        """The IPv4 and IPv6 addresses of `name`."""
        ...


class SystemDns:
    """The resolvers that /etc/resolv.conf names. It does not read /etc/hosts."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def txt(self, name: str) -> list[str]:
        """See `Dns`."""
        records = await self._ask(name, "TXT")
        return [b"".join(record.strings).decode("utf-8", "replace") for record in records[:_TXT_MAX]]

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """See `Dns`."""
        records = await self._ask(name, "MX")
        return sorted((int(record.preference), _host(record.exchange)) for record in records)

    async def addresses(self, name: str) -> list[str]:
        """See `Dns`. One family that fails does not spoil the other."""
        if name.rstrip(".").lower() == "localhost":  # RFC 6761 section 6.3: never asked of the DNS
            return ["127.0.0.1", "::1"]
        families = (self._ask(name, "A"), self._ask(name, "AAAA"))
        answers = await asyncio.gather(*families, return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        found = [
            str(record.address)
            for answer in answers
            if not isinstance(answer, BaseException)
            for record in answer
        ]
        if failed and not found:
            raise failed[0]
        return found[:_ADDRESSES_MAX]

    # The records' attributes depend on their type, which dnspython's types do not tell.
    async def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
            answer = await self._resolver.resolve(name, kind, lifetime=self._timeout_s, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DnsUnavailableError(f"{kind} of {name}: {type(error).__name__}") from error
        return list(answer)


def _host(name: dns.name.Name) -> str:
    return str(name).rstrip(".").lower() or "."
