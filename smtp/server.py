"""The SMTP submission server: listeners, shared limits, drain. Its connections are `server_connection`.

Runs in the asyncio loop it is started in, whoever owns that. Raises OSError from `start` when the address is
taken. Knows nothing of accounts and messages, nor of other doors: those are the `Application` and the `Door`
that it is given (`server_api`).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable

import structlog

from smtp.data import Budget
from smtp.server_api import (
    Application,
    Door,
    Envelope,
    Identity,
    Listening,
    MailParameters,
    Peer,
    Recipient,
    ServerConfig,
    Session,
    TlsInfo,
)
from smtp.server_connection import Connection
from smtp.server_state import ServerState

__all__ = [
    "Application",
    "Door",
    "Envelope",
    "Identity",
    "MailParameters",
    "Recipient",
    "ServerConfig",
    "Session",
    "SmtpServer",
    "TlsInfo",
]

log = structlog.get_logger(__name__)


def _session_ids() -> Callable[[], str]:
    """Ids for log lines: a word that no other process has, and a number."""
    ids = map(f"{secrets.token_hex(4)}{{:x}}".format, itertools.count(1))
    return ids.__next__


class SmtpServer:
    """One server on any number of listeners, which share its limits and its application."""

    def __init__(
        self,
        config: ServerConfig,
        application: Application,
        door: Door,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        make_session_id: Callable[[], str] | None = None,
    ) -> None:
        self._state = ServerState(
            config=config,
            application=application,
            door=door,
            budget=Budget(config.max_inflight_octets),
            sleep=sleep,
            make_session_id=make_session_id or _session_ids(),
        )
        self._listeners: list[Listening] = []

    async def start(
        self, host: str, port: int, *, implicit_tls: bool = False, reuse_port: bool = False
    ) -> int:
        """Listen on one more address and return its port; 0 lets the system choose.

        With `implicit_tls` the connection begins with the TLS handshake (RFC 8314 section 3.3).
        """
        context = self._state.config.tls_context if implicit_tls else None
        if implicit_tls and context is None:
            raise ValueError("implicit TLS needs a TLS context")
        state, loop = self._state, asyncio.get_running_loop()

        def session(peer: Peer | None) -> Connection:
            return Connection(state, loop, peer, implicit_tls=implicit_tls)

        listening = await state.door.listen(session, host, port, tls=context, reuse_port=reuse_port)
        self._listeners.append(listening)
        log.info("smtp_listener_started", host=host, port=listening.port, implicit_tls=implicit_tls)
        return listening.port

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self._listeners[0].port

    @property
    def connection_count(self) -> int:
        """Connections open now."""
        return len(self._state.connections)

    @property
    def inflight_octets(self) -> int:
        """Octets of messages being received or submitted now."""
        return self._state.budget.used_octets

    async def stop(self, drain_s: float) -> None:
        """Stop accepting, let running transactions finish for so long, answer 421 4.3.2 to all others.

        What is still running after `drain_s` is cut off: its client has no positive reply and tries again.
        """
        for listener in self._listeners:
            listener.close()
        state = self._state
        state.draining = True
        for connection in list(state.connections):
            connection.drain()
        if not await state.emptied(drain_s):
            left = list(state.connections)
            running = [connection.running for connection in left if connection.running is not None]
            if running:
                log.warning("smtp_drain_cut_off", sessions=len(running))
            for connection in left:
                connection.abort()
            await asyncio.gather(*running, return_exceptions=True)
        state.close()
        self._listeners.clear()
        log.info("smtp_server_stopped")
