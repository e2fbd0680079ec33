"""How guessing is slowed: per address and per user, by delays that grow and never become a lock.

- An *address* that fails too often waits before each further attempt.
- A *user* whose secret is being guessed (from however many addresses) makes every address that has not
  succeeded for it before wait once before each attempt. The wait belongs to the pair of address and user, so
  an attacker's attempts do not prolong it: who comes back after the delay is heard, always.
- For secrets too long to be guessed, the wait of the address belongs to the pair too: applications that
  share an address (one host, a proxy) are not kept out by a neighbour with an old key.

Attempts made too early are not looked at and count for nothing. Failures are forgotten after a while;
success does not erase them, or a guesser could pay for each guess with a login of their own. Pure: the
caller gives the time; memory is bounded, the entry least recently touched goes first.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from config.schema import Limits

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Remembered(OrderedDict[K, V], Generic[K, V]):
    """A dictionary of bounded size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def keep(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._size:
            self.popitem(last=False)


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class Guessing:
    """The failures that are remembered and the delays that follow from them. Times are monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._free = limits.auth_free_failures
        self._first_s = limits.auth_delay_first_s
        self._max_s = limits.auth_delay_max_s
        self._forget_s = limits.auth_forget_s
        size = limits.auth_remembered
        self._addresses: _Remembered[str, _Failures] = _Remembered(size)
        self._users: _Remembered[str, _Failures] = _Remembered(size)
        self._ready_s: _Remembered[tuple[str, str], float] = _Remembered(size)
        self._trusted: _Remembered[tuple[str, str], bool] = _Remembered(size)

    def delay_s(self, peer: str, user: str, now_s: float, *, guessable: bool = True) -> float:
        """How many seconds until an attempt by `peer` for `user` is looked at; 0: now.

        `guessable`: a secret short enough to be guessed. For long ones the caller may look all the same at
        the attempts of an address that it `trusts`.
        """
        address = address_of(peer)
        penalty_s = self._penalty_s(self._addresses.get(address), now_s)
        wait_s = 0.0
        if guessable and penalty_s > 0:
            wait_s = self._addresses[address].last_s + penalty_s - now_s
        pair = (address, user)
        if not guessable or pair not in self._trusted:
            pair_penalty_s = self._penalty_s(self._users.get(user), now_s)
            if not guessable:
                pair_penalty_s = max(pair_penalty_s, penalty_s)
            wait_s = max(wait_s, self._pair_wait_s(pair, pair_penalty_s, now_s))
        return max(0.0, wait_s)

    def failed(self, peer: str, user: str, now_s: float) -> None:
        """Counts a wrong secret (or an unknown user: it must look the same)."""
        address = address_of(peer)
        failures = (self._count(self._addresses, address, now_s), self._count(self._users, user, now_s))
        penalty_s = max(self._penalty_s(one, now_s) for one in failures)
        if penalty_s > 0:
            self._ready_s.keep((address, user), now_s + penalty_s)

    def succeeded(self, peer: str, user: str) -> None:
        """From now on this address is known to have the user's secret."""
        pair = (address_of(peer), user)
        self._trusted.keep(pair, True)
        self._ready_s.pop(pair, None)

    def trusts(self, peer: str, user: str) -> bool:
        """Whether this address has succeeded for this user before."""
        return (address_of(peer), user) in self._trusted

    def __len__(self) -> int:
        """The number of entries in memory."""
        return len(self._addresses) + len(self._users) + len(self._ready_s) + len(self._trusted)

    def _pair_wait_s(self, pair: tuple[str, str], penalty_s: float, now_s: float) -> float:
        if penalty_s == 0:
            return 0.0
        ready_s = self._ready_s.get(pair)
        if ready_s is None:
            ready_s = now_s + penalty_s
            self._ready_s.keep(pair, ready_s)
        return ready_s - now_s

    def _penalty_s(self, failures: _Failures | None, now_s: float) -> float:
        if failures is None or now_s - failures.last_s > self._forget_s:
            return 0.0
        beyond = failures.count - self._free
        return min(self._max_s, self._first_s * 2.0 ** min(beyond - 1, 64)) if beyond > 0 else 0.0

    def _count(self, failures: "_Remembered[str, _Failures]", key: str, now_s: float) -> _Failures:
        entry = failures.get(key)
        if entry is None or now_s - entry.last_s > self._forget_s:
            entry = _Failures(0, now_s)
        entry.count += 1
        entry.last_s = now_s
        failures.keep(key, entry)
        return entry


def address_of(peer: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 site has to itself."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
