"""Submission without AUTH: networks that the operator trusts to send for an account (RFC 6409 section 3.3).

For programs that cannot log in. Everything else holds as for a login: sender domains, credits, limits.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from config.sections.listeners import SmtpTrusted
from gateway.accounts.auth import Principal, principal_of
from gateway.accounts.service import AccountStatus
from gateway.store.cache import Caches

_PEERS_REMEMBERED = 1024


class Trusted:
    """Addresses to principals; the most specific network that fits wins."""

    def __init__(self, caches: Caches, trusted: Sequence[SmtpTrusted]) -> None:
        networks = [(ipaddress.ip_network(one.network), one.account) for one in trusted]
        self._networks = sorted(networks, key=lambda pair: -pair[0].prefixlen)
        self._accounts = caches.cache(principal_of, max(1, len(networks)))
        self.account = lru_cache(_PEERS_REMEMBERED)(self._match)
        """The account that an IP address may send for, as the configuration names it; None: log in."""

    def __bool__(self) -> bool:
        return bool(self._networks)

    def peek(self, peer: str) -> Principal | None:
        """Whom `peer` (an IP address) may send for, as far as is known without a read; None: ask."""
        account = self.account(peer)
        principal = None if account is None else self._accounts.peek(account)
        return principal if principal is not None and _is_active(principal) else None

    async def principal(self, peer: str) -> Principal | None:
        """Whom `peer` may send for; None when it has to log in."""
        account = self.account(peer)
        principal = None if account is None else await self._accounts.get(account)
        return principal if principal is not None and _is_active(principal) else None

    def _match(self, peer: str) -> str | None:
        """The account as the configuration names it."""
        if not self._networks:
            return None
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None)
        for network, account in self._networks:
            if (mapped or address) in network:
                return account
        return None


def _is_active(principal: Principal) -> bool:
    return principal.account.status is AccountStatus.ACTIVE
