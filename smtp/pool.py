"""Connections kept and shared: the nearest thing to a mail server's address book with open lines.

`ConnectionPool.deliver` takes a connection to the destination, kept or new, runs one transaction and keeps
the connection for the next. Bounded on every side: connections per destination and in all, messages per
connection, seconds a connection is kept idle, seconds a delivery waits for its turn.

The hosts of a destination are tried in the order given (RFC 5321 section 5.1); one that does not answer, or
does not want us, leaves the turn to the next. A kept connection that the server has dropped meanwhile is
replaced once, unseen, since nothing of the message had been heard.

Raises nothing but cancellation: what cannot be delivered comes back as DEFERRED with the last error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from smtp.client import Content
from smtp.codes import Reply, SmtpError, Status
from smtp.connection import Connection, outcomes_of
from smtp.options import Options, Peer
from smtp.outcome import Envelope, Outcome, Result, Stage

Done = Callable[[list[Outcome]], None]
_WITHDRAWN = Reply(451, Status.SHUTTING_DOWN, "This process stops; the message waits for the next")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where mail goes. Destinations of the same name and options share connections.

    The name is the caller's choice: a domain, or the host names of its MX records where several domains share
    them.
    """

    name: str
    peers: Sequence[Peer]
    options: Options

    @property
    def key(self) -> Hashable:
        """What connections are kept under."""
        return (self.name, self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a pool."""

    per_destination: int = 10
    total: int = 500
    messages_per_connection: int = 100
    idle_s: float = 30
    wait_s: float = 30
    peers_tried: int = 5  # RFC 5321 section 5.1: at least two


class _Turns:
    """So many at a time, in the order in which they came."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def any_left(self) -> bool:
        """Whether `take` would succeed."""
        return self._free > 0

    def take(self) -> None:
        """Without a wait, where `any_left`."""
        self._free -= 1

    async def wait(self) -> None:
        """Take one as soon as there is one."""
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it came at the same moment
            raise

    def release(self) -> None:
        """Pass it on, or keep it free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


@dataclass(slots=True)
class _Line:
    """What the pool knows of one destination: its turns, and its idle connections, the latest last."""

    key: Hashable
    turns: _Turns
    users: int = 0  # deliveries under way or waiting
    idle: deque[tuple[float, Connection]] = field(default_factory=deque)


class ConnectionPool:
    """All connections of one kind of delivery."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lines: dict[Hashable, _Line] = {}
        self._turns = _Turns(self._limits.total)
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # connections being closed, or replaced
        self._begun: set[Connection] = set()  # whose outcomes go to a callback
        self._opening: set[asyncio.Task[Any] | None] = set()  # who waits for a turn, or for a greeting
        self._withdrawn = self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None  # asking asyncio for it costs a system call
        self.opened = 0  # connections made since the start
        self.busy = 0  # deliveries under way

    @property
    def idle(self) -> int:
        """Connections kept idle."""
        return sum(len(line.idle) for line in self._lines.values())

    async def deliver(
        self, destination: Destination, envelope: Envelope, content: bytes | Content
    ) -> list[Outcome]:
        """One transaction at the destination: an outcome for each recipient, in the order of the envelope."""
        self._loop = asyncio.get_running_loop()
        key = destination.key
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key, _Turns(self._limits.per_destination))
        line.users += 1
        try:
            if not await self._turn(line):
                line.users -= 1
                self._drop_unused(line)
                reply = Reply(451, Status.SYSTEM_FULL, f"All connections to {destination.name} are busy")
                return outcomes_of(envelope, Result.DEFERRED, reply, Stage.CONNECT)
        except BaseException:
            line.users -= 1
            self._drop_unused(line)
            raise
        self.busy += 1
        try:
            return await self._deliver(line, destination, envelope, content)
        finally:
            self._leave(line)

    def begin(self, destination: Destination, envelope: Envelope, content: Content, done: Done) -> bool:
        """The same over a kept connection and without a task; `done` gets the outcomes.

        False where none is free: nothing was done, and `deliver` is to wait for one.
        """
        line = self._lines.get(destination.key)
        if line is None or not line.turns.any_left or not self._turns.any_left:
            return False
        connection = self._take_idle(line)
        if connection is None:
            return False
        line.turns.take()
        self._turns.take()
        line.users += 1
        self.busy += 1
        self._begun.add(connection)

        def ended(outcomes: list[Outcome]) -> None:
            self._begun.discard(connection)
            self._give_back(line, connection)
            if connection.is_ready or connection.session.heard or self._closed:
                self._leave(line)
                done(outcomes)
            else:
                self._own(self._begin_anew(line, destination, envelope, content, done))

        connection.begin(envelope, content, ended)
        return True

    async def _begin_anew(
        self, line: _Line, destination: Destination, envelope: Envelope, content: Content, done: Done
    ) -> None:
        """The kept connection was dead before the server had heard of this message."""
        try:
            outcomes = await self._deliver_anew(line, destination, envelope, content)
        except asyncio.CancelledError:
            if not self._withdrawn:
                raise
            outcomes = outcomes_of(envelope, Result.DEFERRED, _WITHDRAWN, Stage.WITHHELD)
        finally:
            self._leave(line)
        done(outcomes)

    def withdraw(self) -> None:
        """Cancel the deliveries of which no server has heard: they wait for a turn, or for a greeting."""
        self._withdrawn = True
        for task in self._opening:
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Say QUIT on all idle connections; those in use are closed as they become free.

        Whoever owns the deliveries ends them first and then closes the pool.
        """
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for line in self._lines.values():
            while line.idle:
                self._close(line.idle.popleft()[1])
        self._lines = {key: line for key, line in self._lines.items() if line.users}
        for connection in list(self._begun):
            connection.abort()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # One delivery

    async def _turn(self, line: _Line) -> bool:
        """Wait for a turn at the destination and in all, not longer than `wait_s`."""
        if line.turns.any_left and self._turns.any_left:  # the usual case, without a timer
            line.turns.take()
            self._turns.take()
            return True
        task = self._may_be_withdrawn()
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await line.turns.wait()
                try:
                    await self._turns.wait()
                except BaseException:
                    line.turns.release()
                    raise
        except TimeoutError:
            return False
        finally:
            self._opening.discard(task)
        return True

    def _may_be_withdrawn(self) -> asyncio.Task[Any] | None:
        task = asyncio.current_task()
        if self._withdrawn:
            raise asyncio.CancelledError
        self._opening.add(task)
        return task

    async def _deliver(
        self, line: _Line, destination: Destination, envelope: Envelope, content: bytes | Content
    ) -> list[Outcome]:
        kept = self._take_idle(line)
        if kept is not None:
            outcomes = await self._run(line, kept, envelope, content)
            if kept.is_ready or kept.session.heard:
                return outcomes
            # Else the server had hung up, or said 421, before it heard of this message.
        return await self._deliver_anew(line, destination, envelope, content)

    async def _deliver_anew(
        self, line: _Line, destination: Destination, envelope: Envelope, content: bytes | Content
    ) -> list[Outcome]:
        """Over a new connection."""
        task = self._may_be_withdrawn()
        try:
            connection = await self._open(destination)
        except SmtpError as error:
            # RFC 7504 section 4: 521 says that no mail is taken here, ever. All else may pass.
            result = Result.FAILED if error.reply.code == 521 else Result.DEFERRED
            return outcomes_of(envelope, result, error.reply, Stage.CONNECT)
        finally:
            self._opening.discard(task)
        return await self._run(line, connection, envelope, content)

    async def _run(
        self, line: _Line, connection: Connection, envelope: Envelope, content: bytes | Content
    ) -> list[Outcome]:
        try:
            return await connection.deliver(envelope, content)
        finally:
            self._give_back(line, connection)

    async def _open(self, destination: Destination) -> Connection:
        """A new connection to the first peer that takes us. Raises the last peer's error."""
        last = SmtpError(Reply(451, Status.ROUTING, f"{destination.name} has no hosts"))
        for peer in destination.peers[: self._limits.peers_tried]:
            self._make_room()
            try:
                connection = await Connection.open(peer, destination.options)
            except SmtpError as error:
                last = error
            else:
                self.opened += 1
                return connection
        raise last

    # Keeping

    def _leave(self, line: _Line) -> None:
        """A delivery is over."""
        self.busy -= 1
        self._turns.release()
        line.turns.release()
        line.users -= 1
        self._drop_unused(line)

    def _drop_unused(self, line: _Line) -> None:
        if not line.users and not line.idle and self._lines.get(line.key) is line:
            del self._lines[line.key]

    def _take_idle(self, line: _Line) -> Connection | None:
        while line.idle:
            _, connection = line.idle.pop()
            if connection.is_ready:
                return connection
        return None

    def _give_back(self, line: _Line, connection: Connection) -> None:
        limit = self._limits.messages_per_connection
        if not connection.is_ready or self._closed or connection.session.transactions >= limit:
            self._close(connection)
            return
        loop = self._loop or asyncio.get_running_loop()
        line.idle.append((loop.time() + self._limits.idle_s, connection))
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._limits.idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long or was closed by its server; come again while any is left."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        now, next_at = loop.time(), float("inf")
        for key, line in list(self._lines.items()):
            kept: deque[tuple[float, Connection]] = deque()
            for until, connection in line.idle:
                if until <= now or not connection.is_ready:
                    self._close(connection)
                else:
                    kept.append((until, connection))
                    next_at = min(next_at, until)
            line.idle = kept
            if not line.users and not kept:
                del self._lines[key]
        if next_at < float("inf"):
            self._sweeper = loop.call_at(next_at, self._sweep)

    def _make_room(self) -> None:
        """Close the longest idle connection of all where the new one would exceed the total."""
        if self.busy + self.idle <= self._limits.total:
            return
        oldest = min((line for line in self._lines.values() if line.idle), key=lambda line: line.idle[0][0])
        self._close(oldest.idle.popleft()[1])

    def _close(self, connection: Connection) -> None:
        if connection.is_closed:
            return
        self._own(connection.close())

    def _own(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
