"""One connection of the submission server below the session: octets in and out, deadlines, waiting, the end.

A connection has no task. Commands run in the callback that brings them, and where the application has its
answer at hand, the reply leaves in that callback too; else the connection is *busy* (`running`) and keeps
what comes (`server_input`) until the answer is there. Only AUTH and TLS, which are conversations, run as
tasks.

- What may be said when is the session's state (`server_order`). Here are the transport's own facts: whether
  the client reads (`_writable`) and still sends (`_ended`), and `_direct`, worked out from all others once
  for the next piece that comes.
- Replies gather in the session and leave in one write when no complete command is left to read (RFC 2920).
- Deadlines are a number per connection, looked at by one ticking timer of the server; none runs while the
  application is asked.
- Nothing cancels a question because the client went away; only `abort` (the end of a drain) does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

import structlog

from smtp.codes import Reply
from smtp.server_api import Identity, Peer
from smtp.server_auth import log_in
from smtp.server_commands import execute
from smtp.server_input import LONGEST_LINE_OCTETS, InputBuffer
from smtp.server_order import CLOSED, OVER, TLS
from smtp.server_replies import APPLICATION_FAILED, DISMISSED, SHUTTING_DOWN, TIMED_OUT
from smtp.server_session import (
    ConnectionClosed,
    Handshake,
    Login,
    Pending,
    Question,
    SubmissionSession,
    Then,
    client_of,
)
from smtp.server_state import NEVER, ServerState
from smtp.server_tls import start_tls, tls_info

log = structlog.get_logger(__name__)

_COMMANDS_PER_TURN = 64  # then their replies leave, and the other sessions come first (A5)
_CLOSE_S = 5.0  # for the last replies to leave; who does not read them is cut off


class Connection(asyncio.Protocol):
    """See the module. `peer` is whom the client's proxy names, else the transport tells."""

    session: SubmissionSession
    transport: asyncio.Transport | None = None
    deadline = NEVER
    running: asyncio.Future[Any] | None = None  # what keeps the connection busy
    _line: asyncio.Future[bytes] | None = None  # what the AUTH conversation waits for
    _direct = False  # what comes can be used at once: not busy, writable, not over, no unread input
    _writable = True
    _ended = False  # the client sends no more

    def __init__(
        self,
        server: ServerState,
        loop: asyncio.AbstractEventLoop,
        peer: Peer | None = None,
        *,
        implicit_tls: bool = False,
    ) -> None:
        self.loop = loop
        self._server = server
        self._peer = peer
        self._implicit_tls = implicit_tls
        self._input = InputBuffer()

    # Life of the connection: asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client and greet, or turn it away. With implicit TLS, that is there already."""
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        self._input.attach(transport)
        server = self._server
        peer = self._peer or transport.get_extra_info("peername") or ("unknown", 0)
        client = client_of(server.make_session_id(), peer, implicit_tls=self._implicit_tls)
        session = self.session = SubmissionSession(server, client, self._input, self.loop.time)
        refusal = server.admit(self, peer[0])
        if refusal is not None:
            session.close()
            transport.write(refusal.render())
            transport.close()
            return
        server.watch(self.loop)
        if self._implicit_tls:
            client.tls = tls_info(transport)
        session.out.append(server.greeting)
        self._settle()

    def data_received(self, data: bytes) -> None:
        """Use the octets at once where nothing is in their way: one command, or a piece of a message."""
        direct, self._direct = self._direct, False  # `_settle` finds out anew
        session = self.session
        if direct and session.reader is not None:
            self.deadline = NEVER
            rest = self._guarded(session.reader, data)
            if rest:
                self._input.give_back(rest)
                self._go_on()
            else:
                self._settle()
        elif direct and data.find(b"\n") == len(data) - 1 < LONGEST_LINE_OCTETS:
            self.deadline = NEVER
            self._guarded(execute, data)
            self._settle()
        elif session.state not in OVER:
            self._input.feed(data)
            if self._line is not None:
                self._offer_line()
            elif self.running is None:
                self._go_on()

    def eof_received(self) -> bool:
        """Let what was sent still get its replies; TLS knows no half-closed connections."""
        self._end()
        if self not in self._server.connections or self.session.client.tls is not None:
            return False
        if self.running is None:
            self._go_on()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the client; an answer that is still to come ends the session itself."""
        self.session.state = CLOSED
        self._direct = False
        self._end()
        if self.running is None:
            self._finish()

    def pause_writing(self) -> None:
        """The client does not read its replies: stop making more."""
        self._writable = self._direct = False

    def resume_writing(self) -> None:
        """It does again."""
        self._writable = True
        if self.running is None:
            self._go_on()

    def _end(self) -> None:
        self._ended = True
        if self._line is not None and not self._line.done():
            self._line.set_exception(ConnectionClosed())

    # Working off what has come

    def _go_on(self) -> None:
        """Use the unread input until it is used up or something has to be waited for."""
        self._direct = False
        unread, session = self._input, self.session
        turn = 0
        while self.running is None and self._writable and session.state not in OVER:
            if session.reader is not None:
                if not len(unread):
                    break
                self.deadline = NEVER
                unread.give_back(self._guarded(session.reader, unread.take()) or b"")
                continue
            line = unread.take_line(LONGEST_LINE_OCTETS)
            if line is None:
                break
            self.deadline = NEVER
            self._guarded(execute, line)
            turn += 1
            if turn == _COMMANDS_PER_TURN and self.running is None:
                self._write_out()
                self._give_way()
            elif self._server.draining:
                self._settle()
        self._settle()

    def _settle(self) -> None:
        """Let the replies leave, and wait for what comes next, or close."""
        if self.running is not None:
            return
        session = self.session
        if self._server.draining and not session.over and not session.in_transaction:
            session.answer(SHUTTING_DOWN)
            session.close()
        if session.out:
            self._write_out()
        if session.state in OVER or (self._ended and self._writable):
            self._close()
            return
        if self._writable:
            self._direct = self._input.resume()
        if session.reader is not None:
            self.deadline = session.buffers.deadline(session.config.data_timeout_s)
        elif self.deadline == NEVER:  # else half a line has come, which does not earn more time
            self.deadline = self.loop.time() + session.config.idle_timeout_s

    def _guarded(self, work: Callable[[SubmissionSession, Any], Any], argument: object) -> Any:
        """What `work` returns. A7: a defect ends this session, never the process."""
        session = self.session
        try:
            done = work(session, argument)
        except Exception:  # noqa: BLE001 - logged there, and answered
            self._failed()
            return None
        if session.pending is not None:
            pending, session.pending = session.pending, None
            self._wait_for(pending)
        return done

    def _failed(self, error: BaseException | None = None) -> None:
        log.error("smtp_session_failed", session=self.session.client.id, exc_info=error or True)
        self.session.answer(APPLICATION_FAILED)
        self.session.close()

    def _finish(self) -> None:
        """Give everything back; may be called again."""
        self.deadline = NEVER
        self.session.reader = None
        self.session.buffers.clear()
        if self in self._server.connections:
            self._server.forget(self)

    # Waiting: for the application, for a conversation, for the others' turn

    def _wait_for(self, pending: Pending) -> None:
        self.deadline = NEVER
        if isinstance(pending, Question):
            self.running = asyncio.ensure_future(pending.answer)
            self.running.add_done_callback(partial(self._answered, pending.about, pending.then))
        elif isinstance(pending, Login):
            self._run(log_in(self.session, pending, self))
        else:
            self._write_out()
            self._run(self._protect(pending))

    def _answered(self, about: str, then: Then, done: asyncio.Future[Any]) -> None:
        self.running = None
        session = self.session
        answer: object = APPLICATION_FAILED
        if not done.cancelled():  # which only the end of a drain does
            error = done.exception()
            answer = done.result() if error is None else session.failure(about, error)
        if session.over:  # nobody is there to be told
            session.buffers.clear()
        else:
            self._guarded(then, answer)
        if self.running is None:  # `then` may have asked something else
            self._free()

    def _run(self, conversation: Coroutine[Any, Any, None]) -> None:
        """Be busy with `conversation` until it ends."""
        self.running = self.loop.create_task(conversation)
        self.running.add_done_callback(self._ran)

    def _ran(self, done: asyncio.Future[None]) -> None:
        self.running = None
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, ConnectionClosed | ConnectionError):
            self.session.close()
        elif error is not None:
            self._failed(error)
        self._free()

    def _give_way(self) -> None:
        """Be busy until the others have had their turn."""
        self.running = self.loop.create_future()
        self.running.add_done_callback(self._turn_came)
        self.running.set_result(None)

    def _turn_came(self, _done: asyncio.Future[None]) -> None:
        self.running = None
        self._free()

    def _free(self) -> None:
        """No longer busy: see to what came meanwhile."""
        if self.session.state is CLOSED:
            self._finish()
        else:
            self._go_on()

    async def _protect(self, handshake: Handshake) -> None:
        assert self.transport is not None  # noqa: S101 - a command has come over it
        session, door = self.session, self._server.door
        door.handshaking(self, session.client.peer_host)
        try:
            upgraded = await start_tls(session, handshake, self, self.transport)
        finally:
            door.handshaken(self)
        self.transport = upgraded
        # It may have brought a command already, with the end of the handshake.
        self._input.attach(upgraded)

    async def next_line(self) -> bytes:
        """The next line of a conversation, which has `idle_timeout_s` to come whole."""
        line = self._input.take_line(LONGEST_LINE_OCTETS)
        if line is not None:
            return line
        if self._ended:
            raise ConnectionClosed
        self._write_out()
        self._input.resume()
        self.deadline = self.loop.time() + self.session.config.idle_timeout_s
        self._line = self.loop.create_future()
        try:
            return await self._line
        finally:
            self._line = None
            self.deadline = NEVER

    def _offer_line(self) -> None:
        if self._line is not None and not self._line.done():
            line = self._input.take_line(LONGEST_LINE_OCTETS)
            if line is not None:
                self._line.set_result(line)

    def recognised(self, identity: Identity) -> None:
        """The door lets a member keep its place."""
        self._server.door.recognise(self, identity.owner or identity.name)

    # Octets out, and the end

    def _write_out(self) -> None:
        out, transport = self.session.out, self.transport
        if out and transport is not None and not transport.is_closing():
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def drain(self) -> None:
        """Say goodbye at once when idle; a transaction under way ends first."""
        if not self.session.in_transaction and (self.running is None or self._line is not None):
            self.hang_up(SHUTTING_DOWN)

    def expire(self) -> None:
        """The deadline has passed: close with 421, or at once where a close takes too long."""
        if self.session.over and self.transport is not None:
            self.transport.abort()
            self.deadline = NEVER
            return
        log.info("smtp_session_timed_out", session=self.session.client.id)
        self.hang_up(TIMED_OUT)

    def hang_up(self, reply: Reply) -> None:
        """Answer 421 and close."""
        if not self.session.over:
            self.session.answer(reply)
            self._write_out()
        self._close()

    def dismiss(self) -> None:
        """Another client has this one's place: 421 where that can leave at once, and the end."""
        session, transport = self.session, self.transport
        if transport is None:
            return
        in_clear = session.client.tls is None and session.state is not TLS
        session.close()
        self._direct = False
        if in_clear and not transport.get_write_buffer_size():
            transport.write(DISMISSED)
            transport.close()
            self.deadline = self.loop.time() + _CLOSE_S
        else:
            transport.abort()

    def abort(self) -> None:
        """The drain is over: end whatever is running."""
        self.hang_up(SHUTTING_DOWN)
        if self.running is not None:
            self.running.cancel()
        if self.transport is not None:
            self.loop.call_later(_CLOSE_S, self.transport.abort)
        self._finish()

    def _close(self) -> None:
        self.session.close()
        self._direct = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self.deadline = self.loop.time() + _CLOSE_S
