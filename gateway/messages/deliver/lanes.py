"""Lanes: the works that wait in memory, a lane per destination, fair across the accounts of each lane.

Memory is bounded over all lanes together (A6), and no lane can take it all (A5): a lane may grow only while
it holds less than what is still free, so a dozen dead destinations share the room and the next one still
finds some. What gets no room waits in the database instead. Pure: no clock, no loop.
"""

from collections import deque
from collections.abc import Iterator

from gateway.messages.model import Message, Work


class Lane:
    """The works of one destination: one deque per account, served in turn."""

    __slots__ = ("_accounts", "_turn", "deliveries", "destination", "octets", "works")

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._accounts: dict[str, deque[Work]] = {}
        self._turn: deque[str] = deque()
        self.works = 0
        """How many works wait."""
        self.deliveries = 0
        """Deliveries that count for this lane: waiting and under way."""
        self.octets = 0

    def put(self, work: Work) -> None:
        """Adds `work` behind the others of its account."""
        account_id = work.message.account_id
        waiting = self._accounts.get(account_id)
        if waiting is None:
            waiting = self._accounts[account_id] = deque()
            self._turn.append(account_id)
        waiting.append(work)
        self.works += 1

    def take(self) -> Work | None:
        """The next work of the account whose turn it is."""
        if not self._turn:
            return None
        account_id = self._turn.popleft()
        waiting = self._accounts[account_id]
        work = waiting.popleft()
        if waiting:
            self._turn.append(account_id)
        else:
            del self._accounts[account_id]
        self.works -= 1
        return work

    def drain(self) -> Iterator[Work]:
        """Takes everything that waits."""
        while (work := self.take()) is not None:
            yield work


class Lanes:
    """All lanes and the memory they share: `deliveries_max` deliveries and `octets_max` of content."""

    def __init__(self, *, deliveries_max: int, octets_max: int) -> None:
        self._deliveries_max = deliveries_max
        self._octets_max = octets_max
        self._lanes: dict[str, Lane] = {}
        self.deliveries = 0
        self.octets = 0

    @property
    def free_octets(self) -> int:
        """How much more content there is memory for."""
        return max(0, self._octets_max - self.octets)

    def lane(self, destination: str) -> Lane:
        """The lane of `destination`, made when it is new."""
        lane = self._lanes.get(destination)
        if lane is None:
            lane = self._lanes[destination] = Lane(destination)
        return lane

    def find(self, destination: str) -> Lane | None:
        """The lane of `destination`, if it holds anything."""
        return self._lanes.get(destination)

    def room(self, destination: str) -> int:
        """How many more deliveries the lane may take just now."""
        lane = self._lanes.get(destination)
        held, octets = (lane.deliveries, lane.octets) if lane is not None else (0, 0)
        if octets > self._octets_max - self.octets:
            return 0
        room = self._deliveries_max - self.deliveries - held
        return max(0, room)

    def reserve(self, message: Message) -> bool:
        """Takes memory for all deliveries of `message`, or none at all (then it waits in the database).

        The content counts once for the whole and once for each lane that shares it. A message larger than
        everything is let in while nothing else is held: it has to pass at some time.
        """
        octets = len(message.content)
        if self.octets and self.octets + octets > self._octets_max:
            return False
        wanted: dict[str, int] = {}
        for delivery in message.deliveries:
            wanted[delivery.destination] = wanted.get(delivery.destination, 0) + 1
        for destination, count in wanted.items():
            if self.room(destination) < count:
                return False
        for destination, count in wanted.items():
            lane = self.lane(destination)
            lane.deliveries += count
            lane.octets += octets
        self.deliveries += len(message.deliveries)
        self.octets += octets
        message.held = wanted
        return True

    def release(self, message: Message, destination: str, deliveries: int) -> None:
        """Gives back the memory of `deliveries` deliveries that are settled or went back to the store."""
        lane = self._lanes[destination]
        lane.deliveries -= deliveries
        self.deliveries -= deliveries
        message.held[destination] -= deliveries
        if message.held[destination] == 0:
            del message.held[destination]
            lane.octets -= len(message.content)
            if not message.held:
                self.octets -= len(message.content)
        if lane.deliveries == 0:
            del self._lanes[destination]

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))
