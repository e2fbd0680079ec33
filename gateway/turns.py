"""Work that takes longer than the others may wait, done on the event loop in slices (A5).

A thread would not help: Python runs one thread at a time, so that pure Python work in one holds up the loop
just as well. Instead the work comes as a generator whose steps are short, and the loop goes round in between.
"""

import asyncio
from collections.abc import Generator
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")
SLICE_S = 0.002


class Turn:
    """How long one piece of work keeps the event loop before others have their turn."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._slice_s = slice_s
        self._end_s = self._loop.time() + slice_s

    @property
    def is_over(self) -> bool:
        """Whether it is the others' turn."""
        return self._loop.time() > self._end_s

    async def next(self) -> None:
        """Lets the others have theirs."""
        await asyncio.sleep(0)
        self._end_s = self._loop.time() + self._slice_s

    async def run(self, steps: Generator[None, None, T]) -> T:
        """What the steps come to. Raises what they raise."""
        try:
            while True:
                next(steps)
                if self.is_over:
                    await self.next()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the generator returned


class Slices:
    """Runs the sliced work of all accounts: one piece of each at a time, one slice in a round of the loop.

    So the loop is held for no more than a slice, however many ask, and an account that asks for much waits
    for itself.
    """

    def __init__(self) -> None:
        self._accounts: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slice = asyncio.Lock()  # first come, first served: the accounts take turns

    def busy(self, account_id: str) -> bool:
        """Whether a piece of this account's is under way."""
        lock = self._accounts.get(account_id)
        return lock is not None and lock.locked()

    async def run(self, account_id: str, steps: Generator[None, None, T]) -> T:
        """What the steps come to. Raises what they raise."""
        lock = self._accounts.get(account_id)
        if lock is None:
            lock = self._accounts[account_id] = asyncio.Lock()
        async with lock:
            while True:
                async with self._slice:
                    turn = Turn()
                    try:
                        while not turn.is_over:
                            next(steps)
                    except StopIteration as end:
                        return end.value  # type: ignore[no-any-return]  # what the generator returned
                await asyncio.sleep(0)
