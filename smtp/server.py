"""The SMTP submission server: listeners, shared limits, drain. The sessions are in `server_session`.

Runs in the asyncio loop it is started in, whoever owns that. Raises OSError from `start` when the address is
taken. Knows nothing of accounts and messages: those are the `Application` it is given (`server_api`).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

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
from smtp.server_session import SubmissionSession
from smtp.server_state import ServerState

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

_BACKLOG = 1024


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
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        make_session_id: Callable[[], str] | None = None,
    ) -> None:
        self._state = ServerState(
            config=config,
            application=application,
            budget=Budget(config.max_inflight_octets),
            sleep=sleep,
            make_session_id=make_session_id or _session_ids(),
        )
        self._listeners: list[asyncio.Server] = []
        self._accepting: dict[asyncio.Task[None], socket.socket] = {}
        self._ports: list[int] = []

    async def start(
        self, host: str, port: int, *, implicit_tls: bool = False, reuse_port: bool = False
    ) -> int:
        """Listen on one more address and return its port; 0 lets the system choose.

        With `implicit_tls` the connection begins with the TLS handshake (RFC 8314 section 3.3).
        """
        if implicit_tls and self._state.config.tls_context is None:
            raise ValueError("implicit TLS needs a TLS context")
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        bound = port
        for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
            listening = _listen(family, (address[0], bound, *address[2:]), reuse_port=reuse_port)
            bound = listening.getsockname()[1]
            if implicit_tls:
                self._accepting[loop.create_task(self._accept(loop, listening))] = listening
            else:
                factory = partial(SubmissionSession, self._state, loop)
                self._listeners.append(await loop.create_server(factory, sock=listening, backlog=_BACKLOG))
        self._ports.append(bound)
        log.info("smtp_listener_started", host=host, port=bound, implicit_tls=implicit_tls)
        return bound

    async def _accept(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        """Hand over each connection before anything is read from it; `create_server` would read at once."""
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:  # out of descriptors: others are still served
                log.warning("smtp_accept_failed", reason=str(error))
                await self._state.sleep(1.0)
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            SubmissionSession(self._state, loop).accept(accepted, peer[0], peer[1])

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self._ports[0]

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
        for task, listening in self._accepting.items():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            listening.close()
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
        self._accepting.clear()
        log.info("smtp_server_stopped")


def _listen(family: int, address: tuple[str | int | bytes, ...], *, reuse_port: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the IPv4 one is its own
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
