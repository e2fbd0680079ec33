"""Look-ups held in memory: bounded, and emptied as soon as anything they hold has changed.

A hit reads no database. Our own changes go through `Caches.write`, which empties the caches right after
COMMIT; those of other processes (the command line, another daemon) are seen by `Caches.poll`, which reads the
revision. What the writer remembers (`gateway.store.remembered`) goes with them. So what was revoked stops
within the poll's interval. "Not there" is never held: a miss always asks the database, and a caller that
needs certainty about a "no" awaits `Caches.fresh` first, so what was made a moment ago works at once.

A look-up that was under way while the caches were emptied is answered, but not held: it may be older than the
change. All of this happens on the event loop, except `load`, which runs in a reader's thread.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import structlog

from gateway.store import revision
from gateway.store.errors import StoreBusy
from gateway.store.store import Store
from gateway.store.tx import Tx

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
log = structlog.get_logger(__name__)

POLL_S = 0.5


class Cache(Generic[K, V]):
    """One bounded look-up; the least recently used goes first. Made by `Caches.cache`."""

    def __init__(self, caches: "Caches", load: Callable[[Tx, K], V | None], size: int) -> None:
        self._caches = caches
        self._load = load
        self._size = size
        self._held: OrderedDict[K, V] = OrderedDict()
        self._loading: dict[K, asyncio.Task[V | None]] = {}

    def peek(self, key: K) -> V | None:
        """What is held for `key`, without a read; None says nothing about the database."""
        value = self._held.get(key)
        if value is not None:
            self._held.move_to_end(key)
        return value

    async def get(self, key: K) -> V | None:
        """What is held, or else what the database has. Raises what `Store.read` raises.

        Callers that miss at the same time share one read.
        """
        value = self.peek(key)
        if value is not None:
            return value
        task = self._loading.get(key)
        if task is None:
            task = self._caches.own(self._read(key))
            self._loading[key] = task
        return await asyncio.shield(task)

    def put(self, key: K, value: V, generation: int) -> None:
        """Holds `value`, unless the caches were emptied since `generation` was taken."""
        if generation != self._caches.generation:
            return
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > self._size:
            self._held.popitem(last=False)

    def __len__(self) -> int:
        """How many values are held."""
        return len(self._held)

    def clear(self) -> None:
        """Forgets everything; reads under way are not joined by new callers."""
        self._held.clear()
        self._loading.clear()

    async def _read(self, key: K) -> V | None:
        generation = self._caches.generation
        try:
            value = await self._caches.store.read(lambda tx: self._load(tx, key))
        finally:
            if self._loading.get(key) is asyncio.current_task():
                del self._loading[key]
        if value is not None:
            self.put(key, value, generation)
        return value


class Caches:
    """Every look-up of one process, and the watch over the revision that empties them."""

    def __init__(self, store: Store, *, poll_s: float = POLL_S) -> None:
        self.store = store
        self.generation = 0
        """Counted up each time the caches are emptied."""
        self.poll_s = poll_s
        self._known: int | None = None
        self._caches: list[Cache[Any, Any]] = []
        self._checking: asyncio.Task[bool] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def cache(self, load: Callable[[Tx, K], V | None], size: int) -> Cache[K, V]:
        """A new look-up of at most `size` values. `load` runs in a reader's thread; None is not held."""
        cache = Cache(self, load, size)
        self._caches.append(cache)
        return cache

    async def write(self, function: Callable[[Tx], T], *, urgent: bool = False) -> T:
        """`Store.write` for a change to what the caches hold: counts the revision and empties them."""

        def change(tx: Tx) -> tuple[T, int]:
            # Counted first: its row stays locked until COMMIT, so that what looks before it changes (a name
            # that is free, a limit) is alone among the processes on one database.
            value = revision.bump(tx)
            return function(tx), value

        result, value = await self.store.write(change, locks=revision.LOCK, urgent=urgent)
        self._empty()
        # Everything up to `value` is committed, and nothing read before it is still held.
        self._known = value if self._known is None else max(self._known, value)
        return result

    async def fresh(self) -> bool:
        """Compares with the database's revision now; True when the caches had to be emptied.

        Calls that come while one is under way share the next one: there is at most one read at a time.
        """
        running = self._checking
        if running is not None:
            await asyncio.wait([running])
            if self._checking is not None and self._checking is not running:
                return await asyncio.shield(self._checking)
        self._checking = self.own(self._check())
        return await asyncio.shield(self._checking)

    async def poll(self) -> None:
        """Compares with the database, as a job does every `poll_s` seconds. Raises what `fresh` raises."""
        try:
            await self.fresh()
        except Exception:
            self._empty()  # what is held cannot be trusted while nobody can say whether it changed
            raise

    async def close(self) -> None:
        """Ends reads under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def own(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Starts a task that outlives its first caller, so that others can share its answer."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the callers have it; one who left must not make the loop complain

    async def _check(self) -> bool:
        try:
            value = await self.store.read(revision.read)
        except StoreBusy:  # the readers are flooded; what was revoked must stop all the same
            if self.store.writer.away:
                raise
            value = await self.store.write(revision.read, urgent=True)
        if value == self._known:
            return False
        self._empty()
        self._known = value
        return True

    def _empty(self) -> None:
        self.generation += 1
        self.store.writer.forget()
        for cache in self._caches:
            cache.clear()
