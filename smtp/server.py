"""The SMTP submission server: listeners, shared limits, drain. The sessions are in `server_session`.

Runs in the asyncio loop it is started in, whoever owns that. Raises OSError from `start` when the address is
taken. Knows nothing of accounts and messages: those are the `Application` it is given (`server_api`).
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from smtp.data import Budget
from smtp.server_api import (
    Application,
    Envelope,
    Identity,
    MailParameters,
    Recipient,
    ServerConfig,
    Session,
    TlsInfo,
)
from smtp.server_connection import ServerState
from smtp.server_session import SubmissionSession

__all__ = [
    "Application",
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


def _make_session_id() -> str:
    return secrets.token_hex(6)


class SmtpServer:
    """One server on any number of listeners, which share its limits and its application."""

    def __init__(
        self,
        config: ServerConfig,
        application: Application,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        make_session_id: Callable[[], str] = _make_session_id,
    ) -> None:
        self._state = ServerState(
            config=config,
            application=application,
            budget=Budget(config.max_inflight_octets),
            sleep=sleep,
            make_session_id=make_session_id,
        )
        self._listeners: list[asyncio.Server] = []

    async def start(
        self, host: str, port: int, *, implicit_tls: bool = False, reuse_port: bool | None = None
    ) -> int:
        """Listen on one more address and return its port; 0 lets the system choose.

        With `implicit_tls` the connection begins with the TLS handshake (RFC 8314 section 3.3).
        """
        if implicit_tls and self._state.config.tls_context is None:
            raise ValueError("implicit TLS needs a TLS context")
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: SubmissionSession(self._state, loop, implicit_tls=implicit_tls),
            host,
            port,
            backlog=1024,
            reuse_port=reuse_port,
        )
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        log.info("smtp_listener_started", host=host, port=bound, implicit_tls=implicit_tls)
        return bound

    @property
    def port(self) -> int:
        """The port of the first listener."""
        port: int = self._listeners[0].sockets[0].getsockname()[1]
        return port

    @property
    def connection_count(self) -> int:
        """Connections open now."""
        return len(self._state.connections)

    @property
    def inflight_octets(self) -> int:
        """Octets of messages being received or submitted now."""
        return self._state.budget.used_octets

    def reload_tls(self, context: ssl.SSLContext) -> None:
        """Use another certificate from the next handshake on; running connections keep theirs."""
        self._state.config = replace(self._state.config, tls_context=context)

    async def stop(self, drain_s: float) -> None:
        """Stop accepting, let running transactions finish for so long, answer 421 4.3.2 to all others.

        What is still running after `drain_s` is cut off: its client has no positive reply and tries again.
        """
        for listener in self._listeners:
            listener.close()
        self._state.draining = True
        connections = list(self._state.connections)
        for connection in connections:
            connection.drain()
        tasks = [connection.task for connection in connections if connection.task is not None]
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=drain_s)
            if running:
                log.warning("smtp_drain_cut_off", sessions=len(running))
            for connection in list(self._state.connections):
                connection.abort()
            await asyncio.gather(*running, return_exceptions=True)
        self._listeners.clear()
        log.info("smtp_server_stopped")
