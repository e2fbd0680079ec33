"""What all connections of one submission server share: limits, counts, the ticking of their deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from smtp.codes import Code, Reply
from smtp.data import Budget
from smtp.server_api import Application, Door, ServerConfig
from smtp.server_replies import SHUTTING_DOWN, TOO_MANY_CONNECTIONS

NEVER = float("inf")
_LONGEST_TICK_S = 1.0  # how late a deadline is noticed at most
_TICKS_PER_TIMEOUT = 4


class Watched(Protocol):
    """A connection, as far as it is counted and watched from here."""

    deadline: float
    """Loop time from which it is late; `NEVER` while nothing is expected of the client."""
    running: asyncio.Future[Any] | None
    """What keeps it busy: a question to the application, a conversation."""

    def expire(self) -> None:
        """Its deadline has passed."""

    def drain(self) -> None:
        """No more messages after the one under way."""

    def abort(self) -> None:
        """End now."""

    def dismiss(self) -> None:
        """Another has its place."""


@dataclass(slots=True, kw_only=True, eq=False)
class ServerState:
    """The shared part. `config` may be replaced while connections are open (another certificate)."""

    config: ServerConfig
    application: Application
    door: Door
    budget: Budget
    sleep: Callable[[float], Awaitable[None]]
    make_session_id: Callable[[], str]
    draining: bool = False
    connections: set[Watched] = field(default_factory=set)
    greeting: bytes = b""
    _ehlo_replies: dict[tuple[bool, bool], bytes] = field(default_factory=dict)
    _ticker: asyncio.TimerHandle | None = None
    _emptied: asyncio.Future[None] | None = None

    def __post_init__(self) -> None:
        """What every client is told first."""
        self.greeting = Reply(Code.READY, "", f"{self.config.hostname} ESMTP").render()

    def ehlo_reply(self, *, starttls: bool, auth: bool) -> bytes:
        """The extensions offered to a client in this position, rendered once."""
        reply = self._ehlo_replies.get((starttls, auth))
        if reply is None:
            lines = [self.config.hostname, "PIPELINING", f"SIZE {self.config.size_limit_octets}", "8BITMIME"]
            lines += ["SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES"]
            lines += ["STARTTLS"] if starttls else []
            lines += ["AUTH PLAIN LOGIN"] if auth else []
            lines.append("HELP")
            reply = Reply(Code.OK, "", "\n".join(lines)).render()
            self._ehlo_replies[starttls, auth] = reply
        return reply

    def admit(self, connection: Watched, peer: str) -> Reply | None:
        """Count one more connection, or say why not."""
        if self.draining:
            return SHUTTING_DOWN
        if not self.door.enter(connection, peer):
            return TOO_MANY_CONNECTIONS
        self.connections.add(connection)
        return None

    def forget(self, connection: Watched) -> None:
        """One connection less."""
        self.connections.discard(connection)
        self.door.leave(connection)
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the deadlines every so often, as long as there are connections."""
        if self._ticker is None:
            shortest = min(self.config.idle_timeout_s, self.config.data_timeout_s)
            self._ticker = loop.call_later(
                min(_LONGEST_TICK_S, shortest / _TICKS_PER_TIMEOUT), self._tick, loop
            )

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticker = None
        now = loop.time()
        for connection in [one for one in self.connections if one.deadline <= now]:
            connection.expire()
        if self.connections:
            self.watch(loop)

    async def emptied(self, within_s: float) -> bool:
        """Whether the last connection has gone within so many seconds."""
        if not self.connections:
            return True
        self._emptied = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                await self._emptied
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Stop watching."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
