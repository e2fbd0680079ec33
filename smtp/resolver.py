"""Where a domain's mail goes: MX, A and AAAA records as RFC 5321 section 5.1 reads them.

`Resolver.resolve` gives the hosts of a domain, best first, each with its addresses, or raises

- `Permanent` 5.1.2 for a domain that does not exist, 5.1.10 for a null MX (RFC 7505), 5.4.4 for one without
  hosts, 5.4.6 where the best host is ourselves;
- `Temporary` 4.4.3 where the DNS does not tell.

Answers are kept for their time to live within bounds, the least used forgotten first, and any number of
callers share one question. Everything the DNS sends is capped. `Dns` is the port to the DNS; `DnsPython` asks
for real. Clock and random numbers are injected. MTA-STS and DANE are not looked at.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from random import Random
from typing import Generic, Protocol, TypeVar

from smtp.address import parse_domain
from smtp.codes import Permanent, Reply, Status, Temporary

MAX_HOSTS = 16  # MX records looked at
MAX_ADDRESSES = 8  # of one host
CACHED_NAMES = 10_000

T = TypeVar("T")


class NoSuchName(Exception):
    """NXDOMAIN: the name does not exist."""


class LookupFailedError(Exception):
    """No answer in time, SERVFAIL, REFUSED, or an answer that makes no sense."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """Records, and for how long they hold. No values: the name exists without such records."""

    values: tuple[T, ...]
    ttl_s: float


class Dns(Protocol):
    """The DNS as delivery needs it. Each method raises `NoSuchName` or `LookupFailedError`.

    Implementers follow CNAMEs, bound their own time, and give names in lower case without the final dot.
    """

    async def mx(self, name: str) -> Answer[tuple[int, str]]:
        """Preference and host of each MX record; the root (null MX) as ""."""

    async def addresses(self, name: str) -> Answer[str]:
        """The A and AAAA records."""

    async def txt(self, name: str) -> Answer[bytes]:
        """The TXT records, the strings of each joined."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host that takes a domain's mail."""

    preference: int
    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTimes:
    """Bounds on how long an answer is kept, in seconds."""

    least_s: float = 30
    most_s: float = 3600
    negative_s: float = 60  # for a Permanent; a Temporary is not kept


# IPv4-compatible and -mapped (RFC 4291 section 2.5.5), NAT64 (RFC 6052): the IPv4 address stands at the end.
_WRAPPING = (IPv6Network("::/96"), IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")

_Kept = tuple[float, "list[Host] | Permanent"]


def is_public(address: str) -> bool:
    """Whether mail may be sent there: not loopback, private, link-local, multicast or reserved.

    An IPv6 address that stands for an IPv4 one is what that one is.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        if any(parsed in network for network in _WRAPPING):
            parsed = IPv4Address(parsed.packed[12:])
        elif parsed.sixtofour is not None:  # RFC 3056
            parsed = parsed.sixtofour
        elif parsed in _LOCAL_NAT64 or parsed.is_site_local:  # RFC 8215, RFC 3879
            return False
    return parsed.is_global and not parsed.is_multicast


class Resolver:
    """Domains to hosts, with a cache."""

    def __init__(
        self,
        dns: Dns,
        *,
        rng: Random,
        clock: Callable[[], float],
        own_names: Collection[str] = (),
        is_allowed: Callable[[str], bool] = is_public,
        times: CacheTimes | None = None,
        cached_names: int = CACHED_NAMES,
    ) -> None:
        """`own_names` are the host names of this system, which mail must not loop back to (RFC 5321 5.1)."""
        self._dns = dns
        self._rng = rng
        self._clock = clock
        self._own_names = frozenset(name.lower() for name in own_names)
        self._is_allowed = is_allowed
        self._times = times or CacheTimes()
        self._cached_names = cached_names
        self._cache: OrderedDict[str, _Kept] = OrderedDict()
        self._pending: dict[str, asyncio.Task[list[Host]]] = {}

    async def resolve(self, domain: str) -> list[Host]:
        """The hosts of the domain, by preference; those of equal preference in a new order at each call."""
        domain = parse_domain(domain)
        if domain.startswith("["):
            return [self._literal(domain)]
        hosts = self._recall(domain)
        if hosts is None:
            task = self._pending.get(domain)
            if task is None:
                task = self._pending[domain] = asyncio.create_task(self._look_up(domain))
                task.add_done_callback(lambda _: self._pending.pop(domain, None))
            hosts = await asyncio.shield(task)  # one caller's cancellation is not the others'
        return sorted(hosts, key=lambda host: (host.preference, self._rng.random()))

    def _literal(self, domain: str) -> Host:
        address = domain[1:-1].removeprefix("IPv6:")
        if not self._is_allowed(address):
            raise _no_route(domain, "is not a public address")
        return Host(0, domain, (address,))

    # The cache

    def _recall(self, domain: str) -> list[Host] | None:
        kept = self._cache.get(domain)
        if kept is None:
            return None
        until, hosts = kept
        if until <= self._clock():
            del self._cache[domain]
            return None
        self._cache.move_to_end(domain)
        if isinstance(hosts, Permanent):
            raise Permanent(hosts.reply, hosts.log_fields)
        return hosts

    def _keep(self, domain: str, hosts: list[Host] | Permanent, ttl_s: float) -> None:
        self._cache[domain] = (self._clock() + ttl_s, hosts)
        self._cache.move_to_end(domain)
        while len(self._cache) > self._cached_names:
            self._cache.popitem(last=False)

    # The questions

    async def _look_up(self, domain: str) -> list[Host]:
        try:
            hosts, ttl_s = await self._hosts(domain)
        except Permanent as error:
            self._keep(domain, error, self._times.negative_s)
            raise
        self._keep(domain, hosts, max(self._times.least_s, min(ttl_s, self._times.most_s)))
        return hosts

    async def _hosts(self, domain: str) -> tuple[list[Host], float]:
        try:
            answer = await self._dns.mx(domain)
        except NoSuchName:
            raise Permanent(
                Reply(550, Status.NO_SUCH_DOMAIN, f"The domain {domain} does not exist")
            ) from None
        except LookupFailedError as error:
            raise _unknown(domain, error) from error
        targets = sorted(answer.values)[:MAX_HOSTS]
        if not targets:  # RFC 5321 section 5.1: the implicit MX
            targets = [(0, domain)]
        elif all(name == "" for _, name in targets):
            raise Permanent(Reply(556, Status.NULL_MX, f"The domain {domain} takes no mail"))
        targets = self._before_ourselves(domain, [target for target in targets if target[1]])
        return await self._with_addresses(domain, targets, answer.ttl_s)

    async def _with_addresses(
        self, domain: str, targets: list[tuple[int, str]], ttl_s: float
    ) -> tuple[list[Host], float]:
        questions = [self._dns.addresses(name) for _, name in targets]
        found = await asyncio.gather(*questions, return_exceptions=True)
        hosts: list[Host] = []
        failure, hidden = None, False
        for (preference, name), result in zip(targets, found, strict=True):
            if isinstance(result, Answer):
                allowed = tuple(address for address in result.values if self._is_allowed(address))
                hidden = hidden or len(allowed) < len(result.values)
                if allowed:
                    hosts.append(Host(preference, name, allowed[:MAX_ADDRESSES]))
                    ttl_s = min(ttl_s, result.ttl_s)
            elif isinstance(result, LookupFailedError):
                failure = result
            elif not isinstance(result, NoSuchName):
                raise result
        if hosts:
            return hosts, ttl_s
        if failure is not None:
            raise _unknown(domain, failure)
        raise _no_route(domain, "has no public mail host" if hidden else "has no mail host with an address")

    def _before_ourselves(self, domain: str, targets: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Only the hosts that are preferred to us, where we are one of them (RFC 5321 section 5.1)."""
        ours = [preference for preference, name in targets if name in self._own_names]
        if not ours:
            return targets
        before = [target for target in targets if target[0] < min(ours)]
        if not before:
            raise Permanent(Reply(554, "5.4.6", f"Mail for {domain} would come back to this system"))
        return before


def _unknown(domain: str, error: LookupFailedError) -> Temporary:
    return Temporary(Reply(451, "4.4.3", f"The DNS does not answer for {domain}"), {"dns_error": str(error)})


def _no_route(domain: str, why: str) -> Permanent:
    return Permanent(Reply(550, "5.4.4", f"{domain} {why}"))
