"""DNS as the checks of domains and webhooks ask it, on top of the port that delivery uses.

Here a name that does not exist and a name without such a record are both an empty list; no usable answer
(time-out, SERVFAIL, refused) is `DnsUnavailableError`. Nothing is kept: who has just published a record
wants it seen.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from dns.exception import DNSException

from smtp import resolver
from smtp.dns_client import DnsPython
from smtp.resolver import Answer, LookupFailedError, NoSuchName

T = TypeVar("T")
_TIMEOUT_S = 5.0
_TXT_MAX = 20  # records of one name that are looked at


class DnsUnavailableError(Exception):
    """Nobody could say: neither yes nor no."""


class Dns(Protocol):
    """The questions; a fake answers them in tests."""

    async def txt(self, name: str) -> list[str]:
        """The TXT records of `name`, the strings of each joined (RFC 7208 section 3.3)."""
        ...

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """The MX records of `name` as (preference, host), sorted; host "" is the null MX (RFC 7505)."""
        ...

    async def addresses(self, name: str) -> list[str]:
        """The IPv4 and IPv6 addresses of `name`."""
        ...


class SystemDns:
    """`Dns` by the port of `smtp.resolver`; by the system's resolvers unless a port is given."""

    def __init__(self, port: resolver.Dns | None = None) -> None:
        self._port = port

    async def txt(self, name: str) -> list[str]:
        """See `Dns`."""
        records = await self._values(lambda port: port.txt(name))
        return [text.decode("utf-8", "replace") for text in records[:_TXT_MAX]]

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """See `Dns`."""
        return sorted(await self._values(lambda port: port.mx(name)))

    async def addresses(self, name: str) -> list[str]:
        """See `Dns`. `localhost` is never asked of the DNS (RFC 6761 section 6.3)."""
        if name.rstrip(".").lower() == "localhost":
            return ["127.0.0.1", "::1"]
        return list(await self._values(lambda port: port.addresses(name)))

    async def _values(self, ask: Callable[[resolver.Dns], Awaitable[Answer[T]]]) -> tuple[T, ...]:
        try:
            if self._port is None:
                self._port = DnsPython(timeout_s=_TIMEOUT_S)
            return (await ask(self._port)).values
        except NoSuchName:
            return ()
        except (LookupFailedError, DNSException) as error:  # the latter where no resolver is configured
            raise DnsUnavailableError(str(error)) from error
