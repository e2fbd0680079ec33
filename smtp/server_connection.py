"""One connection of the submission server below the commands: octets in and out, deadlines, answers.

A connection has no task. Commands run in the callback that brings them, and where the application has its
answer at hand, the reply leaves in that callback too; else the connection is *busy* and keeps what comes
(`server_input`) until the answer is there. Only AUTH and TLS, which are conversations, run as tasks.

- Replies gather in `_out` and leave in one write when no complete command is left to read (RFC 2920).
- Deadlines are a number per connection, looked at by one ticking timer of the server; none runs while the
  application is asked.
- Nothing cancels a question because the client went away; only `abort` (the end of a drain) does.
"""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache, partial
from typing import Any, cast

import structlog

from smtp.codes import Reply, SmtpError
from smtp.server_api import Identity, Peer, Session
from smtp.server_input import InputBuffer
from smtp.server_replies import APPLICATION_FAILED, DISMISSED, SHUTTING_DOWN, TIMED_OUT
from smtp.server_state import NEVER, ServerState

log = structlog.get_logger(__name__)

LONGEST_LINE_OCTETS = 12_288  # RFC 4954 section 4, which outdoes every other command
_COMMANDS_PER_TURN = 64  # then their replies leave, and the other sessions come first (A5)
_CLOSE_S = 5.0  # for the last replies to leave; who does not read them is cut off


class ConnectionClosed(Exception):
    """The client is gone; the session ends without a word."""


class Connection(asyncio.Protocol, ABC):
    """Transport, unread input and deadline of one session; what the octets mean is the subclasses' part."""

    client: Session
    transport: asyncio.Transport | None = None
    deadline = NEVER
    running: asyncio.Future[Any] | None = None  # what keeps the connection busy, where that is one
    _reader: Callable[[bytes], bytes] | None = None  # takes a message's octets, returns the rest
    _line: asyncio.Future[bytes] | None = None  # what the AUTH conversation waits for
    _admitted = False
    _in_clear = True  # what is written now is read as it is
    _direct = False  # what comes can be used at once: no busyness, no unread input
    _busy = False
    _writable = True
    _ended = False  # the client sends no more
    _lost = False  # and does not read either
    _closing = False

    def __init__(
        self,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        peer: Peer | None = None,
        *,
        implicit_tls: bool = False,
    ) -> None:
        self.loop = loop
        self._peer = peer
        self._implicit_tls = implicit_tls
        self._state = state
        self._config = state.config
        self._input = InputBuffer()
        self._out: list[bytes] = []

    # What the subclasses provide

    @abstractmethod
    def _greet_client(self) -> None:
        """Queue the greeting."""

    @abstractmethod
    def _note_tls(self, transport: asyncio.BaseTransport) -> None:
        """Tell the session what protects it."""

    @abstractmethod
    def _execute(self, line: bytes) -> None:
        """Answer one command line, or become busy."""

    @abstractmethod
    def _content_deadline(self) -> float:
        """Until when the rest of a message has to come."""

    @abstractmethod
    def _reset_transaction(self) -> None:
        """Forget the message under way, and give back the memory it has taken."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a message is under way, which a drain lets finish."""

    # Life of the connection: asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client and greet, or turn it away. With implicit TLS, that is there already."""
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        self._input.attach(transport)
        peer = self._peer or transport.get_extra_info("peername") or ("unknown", 0)
        refusal = self._state.admit(self, peer[0])
        if refusal is not None:
            self._closing = True
            transport.write(refusal.render())
            transport.close()
            return
        self._admitted = True
        self.client = Session(
            id=self._state.make_session_id(),
            peer_host=peer[0],
            peer_port=peer[1],
            is_loopback=_is_loopback(peer[0]),
            implicit_tls=self._implicit_tls,
        )
        self._state.watch(self.loop)
        if self._implicit_tls:
            self._in_clear = False
            self._note_tls(transport)
        self._greet_client()
        self._settle()

    def data_received(self, data: bytes) -> None:
        """Use the octets at once where nothing is in their way: one command, or a piece of a message."""
        direct, self._direct = self._direct, False  # `_settle` finds out anew
        if direct and self._reader is not None:
            self.deadline = NEVER
            rest = self._guarded(self._reader, data)
            if rest:
                self._input.give_back(rest)
                self._go_on()
            else:
                self._settle()
        elif direct and data.find(b"\n") == len(data) - 1 < LONGEST_LINE_OCTETS:
            self.deadline = NEVER
            self._guarded(self._execute, data)
            self._settle()
        elif not self._closing:
            self._input.feed(data)
            if self._line is not None:
                self._offer_line()
            elif not self._busy:
                self._go_on()

    def eof_received(self) -> bool:
        """Let what was sent still get its replies; TLS knows no half-closed connections."""
        self._end()
        if not self._admitted or self.client.tls is not None:
            return False
        if not self._busy:
            self._go_on()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the client; an answer that is still to come ends the session itself."""
        self._lost = self._closing = True
        self._direct = False
        self._end()
        if not self._busy:
            self._finish()

    def pause_writing(self) -> None:
        """The client does not read its replies: stop making more."""
        self._writable = self._direct = False

    def resume_writing(self) -> None:
        """It does again."""
        self._writable = True
        if not self._busy:
            self._go_on()

    def _end(self) -> None:
        self._ended = True
        if self._line is not None and not self._line.done():
            self._line.set_exception(ConnectionClosed())

    # Working off what has come

    def _go_on(self) -> None:
        """Use the unread input until it is used up or something has to be waited for."""
        self._direct = False
        unread = self._input
        turn = 0
        while not self._busy and self._writable and not self._closing:
            if self._reader is not None:
                if not len(unread):
                    break
                self.deadline = NEVER
                unread.give_back(self._guarded(self._reader, unread.take()) or b"")
                continue
            line = unread.take_line(LONGEST_LINE_OCTETS)
            if line is None:
                break
            self.deadline = NEVER
            self._guarded(self._execute, line)
            turn += 1
            if turn == _COMMANDS_PER_TURN and not self._busy:
                self._write_out()
                self._busy = True
                self.loop.call_soon(self._free)
            elif self._state.draining:
                self._settle()
        self._settle()

    def _free(self) -> None:
        """No longer busy: see to what came meanwhile."""
        self._busy = False
        if self._lost:
            self._finish()
        else:
            self._go_on()

    def _settle(self) -> None:
        """Let the replies leave, and wait for what comes next, or close."""
        if self._busy:
            return
        if self._state.draining and not self._closing and not self.in_transaction:
            self._answer(SHUTTING_DOWN)
            self._closing = True
        if self._out:
            self._write_out()
        if self._closing or (self._ended and self._writable):
            self._close()
            return
        if self._writable:
            self._direct = self._input.resume()
        if self._reader is not None:
            self.deadline = self._content_deadline()
        elif self.deadline == NEVER:  # else half a line has come, which does not earn more time
            self.deadline = self.loop.time() + self._config.idle_timeout_s

    def _guarded(self, work: Callable[[Any], Any], argument: object) -> Any:
        """What `work` returns. A7: a defect ends this session, never the process."""
        try:
            return work(argument)
        except ConnectionClosed:
            self._close()
        except Exception:
            log.exception("smtp_session_failed", session=self.client.id)
            self._answer(APPLICATION_FAILED)
            self._closing = True
        return None

    def _finish(self) -> None:
        """Give everything back; may be called again."""
        self.deadline = NEVER
        self._reader = None
        self._reset_transaction()
        if self._admitted:
            self._admitted = False
            self._state.forget(self)

    # Questions and conversations

    def _ask(
        self, about: str, then: Callable[[Any], None], question: Callable[..., Any], *arguments: object
    ) -> None:
        """Hand the application's answer to `then`: at once where it has it, or when it comes.

        Whatever it raises becomes a reply, with the details in the log (A7).
        """
        try:
            answer = question(*arguments)
        except Exception as error:  # noqa: BLE001 - logged there, and answered
            answer = self._failure(about, error)
        if answer is None or isinstance(answer, Reply | Identity):
            then(answer)
            return
        self._busy = True
        self.deadline = NEVER
        self.running = asyncio.ensure_future(cast("Awaitable[object]", answer))
        self.running.add_done_callback(partial(self._answered, about, then))

    def _answered(self, about: str, then: Callable[[Any], None], done: asyncio.Future[Any]) -> None:
        self.running = None
        answer: object = APPLICATION_FAILED
        if not done.cancelled():  # which only the end of a drain does
            error = done.exception()
            answer = done.result() if error is None else self._failure(about, error)
        self._busy = False
        self._guarded(then, answer)
        if not self._busy:  # `then` may have asked something else
            self._free()

    def _failure(self, about: str, error: BaseException) -> Reply:
        if isinstance(error, SmtpError):
            log.info(
                "smtp_application_refused",
                session=self.client.id,
                about=about,
                reply=error.reply.line(),
                **error.log_fields,
            )
            return error.reply
        log.error("smtp_application_failed", session=self.client.id, about=about, exc_info=error)
        return APPLICATION_FAILED

    def _run(self, conversation: Coroutine[Any, Any, None]) -> None:
        """Be busy with `conversation` until it ends."""
        self._busy = True
        self.deadline = NEVER
        task = self.loop.create_task(conversation)
        self.running = task
        task.add_done_callback(self._ran)

    def _ran(self, done: asyncio.Future[None]) -> None:
        self.running = None
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, ConnectionClosed | ConnectionError):
            self._closing = True
        elif error is not None:
            log.error("smtp_session_failed", session=self.client.id, exc_info=error)
            self._answer(APPLICATION_FAILED)
            self._closing = True
        self._free()

    async def next_line(self) -> bytes:
        """The next line of a conversation, which has `idle_timeout_s` to come whole."""
        line = self._input.take_line(LONGEST_LINE_OCTETS)
        if line is not None:
            return line
        if self._ended:
            raise ConnectionClosed
        self._write_out()
        self._input.resume()
        self.deadline = self.loop.time() + self._config.idle_timeout_s
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

    # Octets out, and the end

    def _answer(self, reply: Reply) -> None:
        self._queue(reply.render())

    def _queue(self, data: bytes) -> None:
        self._out.append(data)

    def _write_out(self) -> None:
        out, transport = self._out, self.transport
        if out and transport is not None and not transport.is_closing():
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def drain(self) -> None:
        """Say goodbye at once when idle; a transaction under way ends first."""
        if not self.in_transaction and (not self._busy or self._line is not None):
            self.hang_up(SHUTTING_DOWN)

    def expire(self) -> None:
        """The deadline has passed: close with 421, or at once where a close takes too long."""
        if self._closing and self.transport is not None:
            self.transport.abort()
            self.deadline = NEVER
            return
        log.info("smtp_session_timed_out", session=self.client.id)
        self.hang_up(TIMED_OUT)

    def hang_up(self, reply: Reply) -> None:
        """Answer 421 and close."""
        if not self._closing:
            self._answer(reply)
            self._write_out()
        self._close()

    def dismiss(self) -> None:
        """Another client has this one's place: 421 where that can leave at once, and the end."""
        transport = self.transport
        if transport is None:
            return
        self._closing = True
        self._direct = False
        if self._in_clear and not transport.get_write_buffer_size():
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
        self._closing = True
        self._direct = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self.deadline = self.loop.time() + _CLOSE_S


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
