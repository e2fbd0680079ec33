"""The operations that wait for a batch: in the order in which they came, fair across accounts (A5).

Where everything fits into the next batch it is simply taken. Where it does not, accounts take turns, an
operation each, and none has more than half of a batch while others wait: ten thousand operations of one
account put nobody else's off to a later batch. What is urgent and nobody's goes first: lease renewals.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from gateway.store.operation import Operation

_Waiting = deque[Operation[Any]]


class Gathered:
    """Bounded by its owner. `batch_max` operations are taken at once at most."""

    def __init__(self, batch_max: int) -> None:
        self._batch_max = batch_max
        self._share = max(1, batch_max // 2)
        self._first: _Waiting = deque()
        self._accounts: dict[str, _Waiting] = {}
        self._turn: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, account_id: str) -> int:
        """How many wait for this account."""
        waiting = self._accounts.get(account_id)
        return 0 if waiting is None else len(waiting)

    def put(self, operation: Operation[Any]) -> None:
        """Adds `operation` behind the others of its account."""
        self._count += 1
        account_id = operation.account_id
        if not account_id and operation.urgent:
            self._first.append(operation)
            return
        waiting = self._accounts.get(account_id)
        if waiting is None:
            waiting = self._accounts[account_id] = deque()
            self._turn.append(account_id)
        waiting.append(operation)

    def take(self) -> list[Operation[Any]]:
        """The next batch."""
        if self._count > self._batch_max:
            return self._take_fairly()
        batch = list(self._first)
        for account_id in self._turn:
            batch += self._accounts[account_id]
        self._first.clear()
        self._accounts.clear()
        self._turn.clear()
        self._count = 0
        return batch

    def _take_fairly(self) -> list[Operation[Any]]:
        first = self._first
        batch = [first.popleft() for _ in range(min(len(first), self._batch_max))]
        batch += self._by_turns(self._batch_max - len(batch))
        self._count -= len(batch)
        return batch

    def _by_turns(self, room: int) -> list[Operation[Any]]:
        turn, accounts = self._turn, self._accounts
        share = self._share if len(turn) > 1 else room
        taken: list[Operation[Any]] = []
        counts = dict.fromkeys(turn, 0)
        passed = 0
        while len(taken) < room and passed < len(turn):
            account_id = turn.popleft()
            if counts[account_id] == share:
                turn.append(account_id)
                passed += 1
                continue
            passed = 0
            waiting = accounts[account_id]
            taken.append(waiting.popleft())
            counts[account_id] += 1
            if waiting:
                turn.append(account_id)
            else:
                del accounts[account_id]
        return taken

    def drop(self) -> list[Operation[Any]]:
        """Takes away everything that is not urgent."""
        waiting = list(self)
        self._first.clear()
        self._accounts.clear()
        self._turn.clear()
        self._count = 0
        for operation in waiting:
            if operation.urgent:
                self.put(operation)
        return [operation for operation in waiting if not operation.urgent]

    def __iter__(self) -> Iterator[Operation[Any]]:
        yield from self._first
        for account_id in self._turn:
            yield from self._accounts[account_id]
