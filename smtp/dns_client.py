"""The DNS by dnspython: the real implementation of the port `resolver.Dns`, and a blocking one for pyspf.

Name servers and port can be given (tests run one on loopback); else those of the system are asked. Truncated
answers are asked for again over TCP. Nothing is cached here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from smtp.resolver import Answer, LookupFailedError, NoSuchName

MAX_RECORDS = 64  # of one answer; what comes after is not looked at


class DnsPython:
    """Asks over UDP and TCP, on the running asyncio loop."""

    def __init__(
        self, nameservers: Sequence[str] = (), *, port: int = 53, timeout_s: float = 10, ipv6: bool = True
    ) -> None:
        """`ipv6`: whether AAAA records are of use, that is, whether this machine can send over IPv6."""
        self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        _configure(self._resolver, nameservers, port, timeout_s)
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._ipv6 = ipv6

    async def mx(self, name: str) -> Answer[tuple[int, str]]:
        """See `resolver.Dns`."""
        records, ttl_s = await self._ask(name, "MX")
        return Answer(tuple((record.preference, _text(record.exchange)) for record in records), ttl_s)

    async def addresses(self, name: str) -> Answer[str]:
        """See `resolver.Dns`. One family failing is no failure where the other answers."""
        kinds = ("A", "AAAA") if self._ipv6 else ("A",)
        results = await asyncio.gather(*[self._ask(name, kind) for kind in kinds], return_exceptions=True)
        values: list[str] = []
        ttl_s, failure = float("inf"), None
        for result in results:
            if isinstance(result, BaseException):
                failure = result
            else:
                values += [record.address for record in result[0]]
                ttl_s = min(ttl_s, result[1])
        if failure is not None and not values:
            raise failure
        return Answer(tuple(values), ttl_s)

    async def txt(self, name: str) -> Answer[bytes]:
        """See `resolver.Dns`."""
        records, ttl_s = await self._ask(name, "TXT")
        return Answer(tuple(b"".join(record.strings) for record in records), ttl_s)

    async def _ask(self, name: str, kind: str) -> tuple[list[Any], float]:
        try:
            answer = await self._resolver.resolve(
                _absolute(name), kind, raise_on_no_answer=False, backend=self._backend, search=False
            )
        except Exception as error:
            raise _mapped(error) from error
        records = [] if answer.rrset is None else list(answer.rrset)[:MAX_RECORDS]
        return records, float(answer.chaining_result.minimum_ttl)


class BlockingDns:
    """The same questions for code that cannot await; to be used in a thread."""

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53, timeout_s: float = 10) -> None:
        """Like `DnsPython`."""
        self._resolver = dns.resolver.Resolver(configure=not nameservers)
        _configure(self._resolver, nameservers, port, timeout_s)

    def __call__(self, name: str, kind: str) -> list[Any]:
        """The records of this kind as dnspython gives them. Raises `NoSuchName` or `LookupFailedError`."""
        try:
            answer = self._resolver.resolve(_absolute(name), kind, raise_on_no_answer=False, search=False)
        except Exception as error:
            raise _mapped(error) from error
        return [] if answer.rrset is None else list(answer.rrset)[:MAX_RECORDS]


def _configure(
    resolver: dns.resolver.BaseResolver, nameservers: Sequence[str], port: int, timeout_s: float
) -> None:
    if nameservers:
        resolver.nameservers = list(nameservers)
        resolver.port = port
    resolver.lifetime = timeout_s


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _mapped(error: Exception) -> Exception:
    """dnspython's errors as the port's; a name that cannot be asked for does not exist."""
    if isinstance(
        error, dns.resolver.NXDOMAIN | dns.name.LabelTooLong | dns.name.NameTooLong | dns.name.EmptyLabel
    ):
        return NoSuchName(str(error))
    if isinstance(error, dns.exception.DNSException | OSError):
        return LookupFailedError(f"{type(error).__name__}: {error}"[:500])
    return error
