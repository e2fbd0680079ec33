"""Who has to make room when too many are inside. Pure, and of constant cost for each connection.

A guest that has not shown who it is (a *stranger*) counts for its peer (`peers.peer_prefix`). At the peer's
limit its oldest stranger leaves and the new one is taken: who opens connections and says nothing loses them
again, and who opens one and logs in gets through. When the whole room is full, the oldest stranger of the
peer that has the most of them leaves, not the oldest of all: against a thousand connections from ten
addresses, renewed without end, the one of an eleventh would be the oldest within a moment.

A guest that has shown who it is (a *member*) leaves for nobody and counts for no peer, but its account may
have at most half of the room in such places; its further guests stay what they were.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.peers import Networks, peer_prefix

PEER_LIMIT = "peer_limit"
DOOR_LIMIT = "door_limit"
_SHARE = 2  # an account's members may have one in so many of all places

G = TypeVar("G")


class Room(Generic[G]):
    """At most `most` guests, at most `per_peer` strangers of one peer among them.

    `turn_out` is called with a guest that has left to make room, and why; it is not inside any more. Peers in
    `proxies` stand for many and have no limit of their own.
    """

    def __init__(
        self, most: int, per_peer: int, turn_out: Callable[[G, str], None], proxies: Networks | None = None
    ) -> None:
        self._most = most
        self._per_peer = per_peer
        self._turn_out = turn_out
        self._proxies = proxies or Networks()
        self._strangers: dict[G, str] = {}  # their peers
        self._members: dict[G, str] = {}  # their accounts
        self._places: dict[str, int] = {}  # by account
        self._queues: dict[str, OrderedDict[G, None]] = {}  # the strangers of each peer, the oldest first
        self._ranks: dict[int, OrderedDict[str, None]] = {}  # the peers that have so many strangers
        self._highest = 0

    def __len__(self) -> int:
        return len(self._strangers) + len(self._members)

    def enter(self, guest: G, peer: str) -> bool:
        """Takes a stranger in, for another where it has to be; False: no room, and nobody to leave."""
        prefix = peer_prefix(peer)
        queue = self._queues.get(prefix)
        if queue is not None and len(queue) >= self._per_peer and peer not in self._proxies:
            self._make_room(queue, PEER_LIMIT)
        elif len(self) >= self._most:
            if not self._highest:
                return False
            crowd = next(iter(self._ranks[self._highest]))
            self._make_room(self._queues[crowd], DOOR_LIMIT)
        self._strangers[guest] = prefix
        queue = self._queues.get(prefix)
        if queue is None:
            queue = self._queues[prefix] = OrderedDict()
        queue[guest] = None
        self._rank(prefix, len(queue) - 1, len(queue))
        return True

    def recognise(self, guest: G, account: str) -> bool:
        """Makes it a member, if it is inside and its account has a place for it."""
        places = self._places.get(account, 0)
        if guest not in self._strangers or places >= max(1, self._most // _SHARE):
            return False
        self.leave(guest)
        self._members[guest] = account
        self._places[account] = places + 1
        return True

    def leave(self, guest: G) -> None:
        """Gives its place back; one that has none gives none."""
        prefix = self._strangers.pop(guest, None)
        if prefix is not None:
            queue = self._queues[prefix]
            del queue[guest]
            self._rank(prefix, len(queue) + 1, len(queue))
            if not queue:
                del self._queues[prefix]
            return
        account = self._members.pop(guest, None)
        if account is not None:
            self._places[account] -= 1
            if not self._places[account]:
                del self._places[account]

    def _make_room(self, queue: "OrderedDict[G, None]", reason: str) -> None:
        oldest = next(iter(queue))
        self.leave(oldest)
        self._turn_out(oldest, reason)

    def _rank(self, prefix: str, before: int, now: int) -> None:
        """The peer has one stranger more, or one less."""
        if before:
            rank = self._ranks[before]
            del rank[prefix]
            if not rank:
                del self._ranks[before]
        if now:
            self._ranks.setdefault(now, OrderedDict())[prefix] = None
        if now > self._highest or self._highest not in self._ranks:
            self._highest = now
