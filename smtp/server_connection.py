"""One connection of the submission server below the commands: octets in and out, timers, TLS, its one task.

From aiosmtpd's `SMTP` comes the AUTH conversation (`server_auth`). What it does for each connection and for
each octet is replaced here: its constructor looks up every hook again, it reads through a StreamReader that
pauses after 2,002 octets, writes each reply alone, cancels the running command when a client half-closes,
and upgrades to TLS with a protocol class that not every event loop knows.

- Replies gather in `_out` and leave in one write when no complete command is left to read (RFC 2920).
- One timer per connection, moved lazily; it rests while the application is asked.
- The handler task ends by itself when the input ends; only `abort` (the end of a drain) cancels it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import structlog
from aiosmtpd.smtp import SMTP

from smtp.codes import Reply, SmtpError
from smtp.data import Budget
from smtp.server_api import Application, ServerConfig, Session, TlsInfo
from smtp.server_input import InputBuffer
from smtp.server_replies import (
    APPLICATION_FAILED,
    SHUTTING_DOWN,
    TIMED_OUT,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_FROM_PEER,
)

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

_FLUSH_OCTETS = 16_384  # replies held back at most, however much is pipelined
_NEVER = float("inf")
_CLOSE_S = 5.0  # for the last replies to leave; who does not read them is cut off


class ConnectionClosed(Exception):
    """The client is gone; the session ends without a word."""


@dataclass(slots=True, kw_only=True)
class ServerState:
    """What all connections of one server share."""

    config: ServerConfig
    application: Application
    budget: Budget
    sleep: Callable[[float], Awaitable[None]]
    make_session_id: Callable[[], str]
    draining: bool = False
    connections: set[Connection] = field(default_factory=set)
    per_peer: dict[str, int] = field(default_factory=dict)

    def admit(self, connection: Connection, peer: str) -> Reply | None:
        """Count one more connection, or say why not."""
        if self.draining:
            return SHUTTING_DOWN
        if len(self.connections) >= self.config.max_connections:
            return TOO_MANY_CONNECTIONS
        if self.per_peer.get(peer, 0) >= self.config.max_connections_per_peer:
            return TOO_MANY_FROM_PEER
        self.connections.add(connection)
        self.per_peer[peer] = self.per_peer.get(peer, 0) + 1
        return None

    def forget(self, connection: Connection, peer: str) -> None:
        """One connection less."""
        self.connections.discard(connection)
        left = self.per_peer.pop(peer, 0) - 1
        if left > 0:
            self.per_peer[peer] = left


class Connection(SMTP):
    """Transport, timers and task of one session; `_serve` is the subclass's part."""

    client: Session

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        # SMTP.__init__ is left out on purpose, see above.
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self._state = state
        self._config = state.config
        self._accepted: socket.socket | None = None
        self._input = InputBuffer(loop)
        self._out: list[bytes] = []
        self._out_octets = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._deadline = _NEVER
        self._waiting = False  # for a command, with nothing pending
        self._writable = asyncio.Event()
        self._writable.set()
        self._closing = False

    # What the subclass provides

    async def _serve(self) -> None:
        """Greet, and execute commands until the session ends."""
        raise NotImplementedError

    @property
    def in_transaction(self) -> bool:
        """Whether a message is under way, which a drain lets finish."""
        raise NotImplementedError

    # Life of the connection: asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client and start its task, or turn it away. With implicit TLS, both are done already."""
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        self._input.attach(transport)
        if self._accepted is not None:
            return
        peer = transport.get_extra_info("peername") or ("unknown", 0)
        refusal = self._admit(peer[0], peer[1])
        if refusal is not None:
            transport.write(refusal.render())
            transport.close()

    def accept(self, accepted: socket.socket, peer_host: str, peer_port: int) -> None:
        """Take over a connection on which the client speaks TLS from the first octet (RFC 8314 section 3)."""
        self._accepted = accepted
        if self._admit(peer_host, peer_port) is not None:
            accepted.close()  # nothing can be said before the handshake

    def _admit(self, peer_host: str, peer_port: int) -> Reply | None:
        refusal = self._state.admit(self, peer_host)
        if refusal is not None:
            log.info("smtp_connection_refused", reply=refusal.line())
            return refusal
        self.client = Session(
            id=self._state.make_session_id(),
            peer_host=peer_host,
            peer_port=peer_port,
            is_loopback=_is_loopback(peer_host),
            implicit_tls=self._accepted is not None,
        )
        self.task = self.loop.create_task(self._handle_client())
        return None

    def data_received(self, data: bytes) -> None:
        """Keep the octets until somebody reads them."""
        self._input.feed(data)

    def eof_received(self) -> bool:
        """Let what was sent still get its replies; TLS knows no half-closed connections."""
        self._input.end()
        return self.task is not None and self.client.tls is None

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """End the input; the task sees it and ends itself."""
        self._input.end()
        self._writable.set()

    def pause_writing(self) -> None:
        """The client does not read its replies: stop making more."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()

    async def _handle_client(self) -> None:
        """The task of the connection, from greeting to close."""
        try:
            if self._accepted is None or await self._handshake(self._accepted):
                await self._serve()
                await self._flush()
        except (ConnectionError, ConnectionClosed):
            pass
        except Exception:  # A7: a defect ends this session, never the process
            log.exception("smtp_session_failed", session=self.client.id)
            self._answer(APPLICATION_FAILED)
            self._write_out()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._state.forget(self, self.client.peer_host)
            self._close()

    def drain(self) -> None:
        """Say goodbye at once when idle; a transaction under way ends first, then `_serve` sees the drain."""
        if self._waiting and not self.in_transaction:
            self.hang_up(SHUTTING_DOWN)

    def hang_up(self, reply: Reply) -> None:
        """Answer 421 and close."""
        self._answer(reply)
        self._write_out()
        self._close()
        self._input.end()

    def _close(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self.loop.call_later(_CLOSE_S, self.transport.abort)

    def abort(self) -> None:
        """The drain is over: end whatever is running."""
        self.hang_up(SHUTTING_DOWN)
        if self.task is not None:
            self.task.cancel()

    # Octets

    async def push(self, status: str | bytes) -> None:
        """Queue a reply line given as text; aiosmtpd's AUTH conversation answers through this."""
        self._queue((status.encode("ascii") if isinstance(status, str) else status) + b"\r\n")

    def _answer(self, reply: Reply) -> None:
        self._queue(reply.render())

    def _queue(self, data: bytes) -> None:
        self._out.append(data)
        self._out_octets += len(data)

    def _write_out(self) -> None:
        if self._out and self.transport is not None and not self.transport.is_closing():
            self.transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()
        self._out_octets = 0

    async def _flush(self) -> None:
        """Send all replies in one write, and wait where the client does not read them."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionClosed
        self._write_out()
        if not self._writable.is_set():
            self._set_deadline(self._config.idle_timeout_s)
            await self._writable.wait()

    async def _next_line(self, limit_octets: int) -> bytes:
        """The next line, which has `idle_timeout_s` to come whole; replies leave before it is awaited."""
        waits = False
        while True:
            line = self._input.take_line(limit_octets)
            if line is not None:
                if self._out_octets > _FLUSH_OCTETS:
                    await self._flush()
                return line
            if not waits:
                await self._flush()
                self._set_deadline(self._config.idle_timeout_s)
                waits = True
            self._waiting = True
            alive = await self._input.wait()
            self._waiting = False
            if not alive:
                raise ConnectionClosed

    # Timers

    def _set_deadline(self, seconds: float) -> None:
        """Close with 421 unless the deadline is moved within so many seconds."""
        self._deadline = self.loop.time() + seconds
        if self._deadline < self._timer_at:
            self._arm(self._deadline)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self.loop.call_at(when, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        if self._deadline == _NEVER:
            return
        if self.loop.time() < self._deadline - 0.001:
            self._arm(self._deadline)
            return
        log.info("smtp_session_timed_out", session=self.client.id)
        self.hang_up(TIMED_OUT)

    async def _ask(self, question: Awaitable[Answer], about: str) -> Answer | Reply:
        """The application's answer. Whatever it raises becomes a reply, with the details in the log (A7)."""
        self._deadline = _NEVER
        try:
            return await question
        except SmtpError as error:
            log.info(
                "smtp_application_refused",
                session=self.client.id,
                about=about,
                reply=error.reply.line(),
                **error.log_fields,
            )
            return error.reply
        except Exception:
            log.exception("smtp_application_failed", session=self.client.id, about=about)
            return APPLICATION_FAILED

    # TLS

    async def _start_tls(self) -> bool:
        """Put TLS between socket and session (RFC 3207 section 4). False when the handshake fails."""
        context = self._state.config.tls_context
        transport = self.transport
        if context is None or transport is None:
            return False
        limit_s = self._config.tls_handshake_timeout_s
        try:
            upgraded = await self.loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=limit_s
            )
        except OSError as error:
            self._log_tls_failure(error)
            transport.abort()
            return False
        if upgraded is None:  # the client left during the handshake
            return False
        self.transport = upgraded
        self._input.attach(
            upgraded
        )  # which may have brought a command already, with the end of the handshake
        self._note_tls(upgraded)
        return True

    async def _handshake(self, accepted: socket.socket) -> bool:
        """The same for implicit TLS, where no octet may be read before TLS is there."""
        context = self._state.config.tls_context
        limit_s = self._config.tls_handshake_timeout_s
        try:
            transport, _ = await self.loop.connect_accepted_socket(
                lambda: self, accepted, ssl=context, ssl_handshake_timeout=limit_s
            )
        except OSError as error:
            self._log_tls_failure(error)
            accepted.close()
            return False
        self._note_tls(transport)
        return True

    def _log_tls_failure(self, error: OSError) -> None:
        """Note it: ssl.SSLError, TimeoutError and ConnectionError are OSErrors, and all are the client's."""
        log.info("smtp_tls_failed", session=self.client.id, reason=type(error).__name__)

    def _note_tls(self, transport: asyncio.BaseTransport) -> None:
        ssl_object = transport.get_extra_info("ssl_object")
        cipher = ssl_object.cipher()
        self.client.tls = TlsInfo(version=ssl_object.version() or "", cipher=cipher[0] if cipher else "")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
