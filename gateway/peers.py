"""Who a peer is: what of an address counts as one, and which networks an address is in. Pure."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

_REMEMBERED = 4096
_PROXIES_MAX = 20  # behind one another


def peer_prefix(address: str) -> str:
    """What counts as one peer: an IPv4 address, or the /64 that one IPv6 site has to itself.

    What is no IP address stands for itself.
    """
    return _prefix_of_ipv6(address) if ":" in address else address


@lru_cache(_REMEMBERED)
def _prefix_of_ipv6(address: str) -> str:
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


class Networks:
    """Addresses as the configuration lists them; `address in networks` says whether one is among them."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(one) for one in networks]
        self._has = lru_cache(_REMEMBERED)(self._look)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._has(address)

    def _look(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._networks)


def forwarded_peer(address: str, forwarded: str, proxies: Networks) -> str:
    """Who is behind the proxies: from the connection's `address` on, each proxy's word about who came to it.

    `forwarded` is X-Forwarded-For, to which each proxy adds behind what it was told. So it is read from the
    right, until somebody is no proxy, whose own word counts for nothing. A word that is no address ends it.
    """
    for word in reversed(forwarded.rsplit(",", _PROXIES_MAX)):
        if address not in proxies:
            break
        found = _address_in(word.strip())
        if found is None:
            break
        address = found
    return address


def _address_in(word: str) -> str | None:
    """The address in `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`."""
    if word.startswith("["):
        word = word[1:].partition("]")[0]
    elif word.count(":") == 1:
        word = word.partition(":")[0]
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return None
