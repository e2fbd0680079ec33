"""DNS as the checks of domains and webhooks ask it, on top of the port that delivery uses.

Here a name that does not exist and a name without such a record are both an empty list; no usable answer
(time-out, SERVFAIL, refused) is `DnsUnavailableError`. Nothing is kept: who has just published a record
wants it seen.
"""

from typing import Protocol

from smtp import resolver
from smtp.resolver import LookupFailedError, NoSuchName

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


class DnsQuestions:
    """`Dns` asked of the port of `smtp.resolver`."""

    def __init__(self, port: resolver.Dns) -> None:
        self._port = port

    async def txt(self, name: str) -> list[str]:
        """See `Dns`."""
        try:
            answer = await self._port.txt(name)
        except NoSuchName:
            return []
        except LookupFailedError as error:
            raise DnsUnavailableError(str(error)) from error
        return [text.decode("utf-8", "replace") for text in answer.values[:_TXT_MAX]]

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """See `Dns`."""
        try:
            answer = await self._port.mx(name)
        except NoSuchName:
            return []
        except LookupFailedError as error:
            raise DnsUnavailableError(str(error)) from error
        return sorted(answer.values)

    async def addresses(self, name: str) -> list[str]:
        """See `Dns`. `localhost` is never asked of the DNS (RFC 6761 section 6.3)."""
        if name.rstrip(".").lower() == "localhost":
            return ["127.0.0.1", "::1"]
        try:
            answer = await self._port.addresses(name)
        except NoSuchName:
            return []
        except LookupFailedError as error:
            raise DnsUnavailableError(str(error)) from error
        return list(answer.values)
