"""How guessing is slowed: per address and per user, by delays that grow and never become a lock.

- An *address* that fails too often waits before each further attempt.
- A *user* whose secret is being guessed (from however many addresses) makes every address wait once before
  each attempt. The wait belongs to the pair of address and user, so an attacker's attempts do not prolong
  it: who comes back after the delay is heard, always.
- For secrets too long to be guessed, the wait of the address belongs to the pair too.
- A *known pair*, which has logged in before, may have its secret *looked at* by a digest whatever the delay
  is: so many wrong ones a second as a mean over a day. They are tokens in a bucket that holds a day's, for a
  guesser cannot be told from the client behind the same address but by the secret itself: a rate per second
  alone would be the guesser's to use up.

Each door (smtp, http, smpp) has failures of its own. Attempts made too early count for nothing. Failures are
forgotten after a while; success does not erase them, or a guesser could pay for each guess with a login of
their own. Pure: the caller gives the time; memory is bounded, the entry least recently touched goes first.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from config.sections.limits import Limits

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LOOKS_PER_S: Final = 20.0
"""Wrong secrets of a known pair that are looked at: half of 40 bits takes 870 years."""
LOOKS_SAVED: Final = 86_400 * LOOKS_PER_S
"""So many may come at once: 500 wrong ones a second for an hour. They add a day to those years."""


class Pair(NamedTuple):
    """An attempt: at which door, from which prefix (see `peers.peer_prefix`), for whom."""

    door: str
    prefix: str
    user: str


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
        self._addresses: _Remembered[tuple[str, str], _Failures] = _Remembered(size)
        self._users: _Remembered[tuple[str, str], _Failures] = _Remembered(size)
        self._ready_s: _Remembered[Pair, float] = _Remembered(size)
        self._looks_full_s: _Remembered[Pair, float] = _Remembered(size)  # when a bucket will be full again

    def delay_s(self, pair: Pair, now_s: float, *, guessable: bool = True) -> float:
        """How many seconds an attempt is to wait; 0: not at all.

        `guessable`: a secret short enough to be guessed is not looked at before. For a long one the delay is
        the answer to a wrong secret, and a good one is never kept waiting.
        """
        address = (pair.door, pair.prefix)
        penalty_s = self._penalty_s(self._addresses.get(address), now_s)
        wait_s = 0.0
        if guessable and penalty_s > 0:
            wait_s = self._addresses[address].last_s + penalty_s - now_s
        pair_penalty_s = self._penalty_s(self._users.get((pair.door, pair.user)), now_s)
        if not guessable:
            pair_penalty_s = max(pair_penalty_s, penalty_s)
        return max(0.0, wait_s, self._pair_wait_s(pair, pair_penalty_s, now_s))

    def failed(self, pair: Pair, now_s: float) -> None:
        """Counts a wrong secret (or an unknown user: it must look the same)."""
        failures = (
            self._count(self._addresses, (pair.door, pair.prefix), now_s),
            self._count(self._users, (pair.door, pair.user), now_s),
        )
        penalty_s = max(self._penalty_s(one, now_s) for one in failures)
        if penalty_s > 0:
            self._ready_s.keep(pair, now_s + penalty_s)

    def may_look(self, pair: Pair, now_s: float) -> bool:
        """Whether one more secret of a known pair may be looked at, right or wrong."""
        return self._looks_spent(pair, now_s) + 1 <= LOOKS_SAVED

    def looked(self, pair: Pair, now_s: float) -> None:
        """Takes one look away: the secret was wrong. Right ones cost nothing."""
        self._looks_full_s.keep(pair, now_s + (self._looks_spent(pair, now_s) + 1) / LOOKS_PER_S)

    def __len__(self) -> int:
        """The number of entries in memory."""
        return len(self._addresses) + len(self._users) + len(self._ready_s) + len(self._looks_full_s)

    def _looks_spent(self, pair: Pair, now_s: float) -> float:
        return max(0.0, self._looks_full_s.get(pair, now_s) - now_s) * LOOKS_PER_S

    def _pair_wait_s(self, pair: Pair, penalty_s: float, now_s: float) -> float:
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

    def _count(
        self, failures: "_Remembered[tuple[str, str], _Failures]", key: tuple[str, str], now_s: float
    ) -> _Failures:
        entry = failures.get(key)
        if entry is None or now_s - entry.last_s > self._forget_s:
            entry = _Failures(0, now_s)
        entry.count += 1
        entry.last_s = now_s
        failures.keep(key, entry)
        return entry
