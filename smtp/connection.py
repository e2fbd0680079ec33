"""One connection to a mail server: the asyncio shell around `client.Session`.

`Connection.open` connects, secures and greets; `begin` runs one transaction (`deliver` is the same to await)
and may be called again and again; `close` says QUIT. Each message costs one write for its commands
(PIPELINING) and one for its content; content larger than a slice is written under flow control and never
copied whole.

With opportunistic TLS any certificate is taken, and a handshake that fails is followed by one attempt in
clear on a new connection: mail is never refused for a certificate. With a verifying context nothing falls
back.

`open` raises the `Temporary` or `Permanent` that kept the session from being ready. `deliver` raises nothing
but cancellation, which aborts the connection. Timeouts are those of RFC 5321 section 4.5.3.2. No retries, no
DNS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Self, cast

from smtp.client import Content, Session, State, Tls
from smtp.codes import Reply, Status, Temporary
from smtp.options import NEVER_LATE, Options, Peer
from smtp.outcome import Envelope, Outcome, Result, Stage
from smtp.tls import any_certificate

SLICE_OCTETS = 65_536  # of content given to the transport at a time
_END = b".\r\n"
_CLOCK_STEP_S = 0.001  # of the loop's timers


class Connection(asyncio.Protocol):
    """A connection that is ready for transactions, one after the other."""

    def __init__(self, peer: Peer, options: Options, *, tls: Tls) -> None:
        """Use `open`; `tls` is what this attempt does about STARTTLS."""
        self.peer = peer
        self._options = options
        self._timeouts = options.timeouts
        implicit = options.tls.implicit
        self.session = Session(
            options.helo,
            tls=Tls.OFF if implicit else tls,
            tls_active=implicit,
            credentials=options.credentials,
            auth_in_clear=ip_address(peer.address).is_loopback,
        )
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._closed = self._loop.create_future()
        self._step: asyncio.Future[None] | None = None  # open() waits for the next state
        self._done: Callable[[list[Outcome]], None] | None = None  # takes the outcomes of the transaction
        self._content = b""
        self._position = 0
        self._paused = False
        self._hung_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER_LATE
        self._deadline = NEVER_LATE

    @classmethod
    async def open(cls, peer: Peer, options: Options) -> Self:
        """A connection in state READY. Raises `Temporary` or `Permanent`."""
        policy = options.tls
        if not policy.falls_back:
            return await cls._attempt(peer, options, policy.mode)
        try:
            return await cls._attempt(peer, options, policy.mode)
        except _TlsFailedError:
            return await cls._attempt(peer, options, Tls.OFF)

    @property
    def is_ready(self) -> bool:
        """Whether a transaction can begin."""
        return self.session.state is State.READY

    @property
    def is_closed(self) -> bool:
        """Whether the transport is gone."""
        return self._closed.done()

    async def deliver(self, envelope: Envelope, content: bytes | Content) -> list[Outcome]:
        """Run one transaction: an outcome for each recipient, in the order of the envelope.

        `content` is the message with CRLF line ends. One with a bare CR or LF is FAILED unsent: two servers
        might disagree on where it ends.
        """
        outcomes: asyncio.Future[list[Outcome]] = self._loop.create_future()
        if isinstance(content, bytes):
            content = Content.of(content)
        self.begin(envelope, content, outcomes.set_result)
        try:
            return await outcomes
        except asyncio.CancelledError:
            self._done = None
            self.abort()
            raise

    def begin(self, envelope: Envelope, content: Content, done: Callable[[list[Outcome]], None]) -> None:
        """Begin one transaction; `done` is called once with its outcomes, maybe before this returns."""
        if content.bare_line_end:
            reply = Reply(554, Status.CONTENT, "The message holds a CR or LF outside CRLF")
            done(outcomes_of(envelope, Result.FAILED, reply, Stage.CONTENT))
        elif not self.is_ready:
            reply = Reply(451, Status.BAD_CONNECTION, "The connection is closed")
            done(outcomes_of(envelope, Result.DEFERRED, reply, Stage.CONNECT))
        else:
            self._content = content.wire
            self._position = 0
            self._done = done
            self.session.begin(envelope, content.size_octets)
            self._act()

    async def close(self) -> None:
        """Say QUIT where the session allows it, and wait for the transport to close, for `quit_s` at most."""
        self.session.quit()
        self._act()
        try:
            async with asyncio.timeout(self._timeouts.quit_s):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Drop the connection now."""
        self._give_up("The connection was given up")

    # Opening

    @classmethod
    async def _attempt(cls, peer: Peer, options: Options, tls: Tls) -> Self:
        connection = cls(peer, options, tls=tls)
        try:
            await connection._connect()
            await connection._greet()
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect(self) -> None:
        policy, timeouts, source = self._options.tls, self._timeouts, self._options.source_address
        context = (policy.context or any_certificate()) if policy.implicit else None
        try:
            async with asyncio.timeout(timeouts.connect_s + (timeouts.handshake_s if context else 0)):
                await self._loop.create_connection(
                    lambda: self,
                    self.peer.address,
                    self.peer.port,
                    ssl=context,
                    server_hostname=self._server_name() if context else None,
                    local_addr=(source, 0) if source else None,
                )
        except TimeoutError as error:
            raise self._unreachable("timed out") from error
        except ssl.SSLError as error:
            raise _TlsFailedError(
                Reply(454, Status.POLICY_TEMPORARY, _tls_words(self.peer, error))
            ) from error
        except OSError as error:
            raise self._unreachable(error.strerror or type(error).__name__) from error

    async def _greet(self) -> None:
        """Wait through greeting, EHLO, STARTTLS and AUTH."""
        session = self.session
        while session.state is not State.READY:
            if session.state is State.CLOSED:
                failure = session.failure or Temporary()
                if session.tls_active and not session.capabilities and failure.reply.code != 421:
                    raise _TlsFailedError(failure.reply)  # closed right after the handshake
                raise failure
            if session.state is State.TLS_HANDSHAKE:
                await self._start_tls()
                continue
            self._step = self._loop.create_future()
            await self._step

    async def _start_tls(self) -> None:
        transport = cast(asyncio.Transport, self._transport)
        if transport.is_closing():
            self.session.lost()
            return
        context = self._options.tls.context or any_certificate()
        try:
            secured = await self._loop.start_tls(
                transport,
                self,
                context,
                server_hostname=self._server_name(),
                ssl_handshake_timeout=self._timeouts.handshake_s,
            )
        except (OSError, ssl.SSLError) as error:
            raise _TlsFailedError(
                Reply(454, Status.POLICY_TEMPORARY, _tls_words(self.peer, error))
            ) from error
        if secured is None:  # the transport was closed meanwhile
            self.session.lost()
            return
        self._transport = secured
        self.session.tls_started()
        self._act()

    def _server_name(self) -> str:
        return self.peer.host.rstrip(".").strip("[]")

    def _unreachable(self, why: str) -> Temporary:
        return Temporary(Reply(451, Status.NO_ANSWER, f"Connecting to {self.peer}: {why}"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there; the greeting is awaited."""
        self._transport = cast(asyncio.Transport, transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Octets from the server."""
        session = self.session
        replies = session.replies
        session.receive(data)
        if session.replies != replies or session.state is State.CLOSED:
            self._act()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed."""
        why = "closed the connection" if exc is None else f"connection lost ({type(exc).__name__})"
        self.session.lost(Reply(451, Status.BAD_CONNECTION, f"{self.peer}: {why}"))
        self._transport = None
        if not self._closed.done():
            self._closed.set_result(None)
        self._act()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport's buffer has drained: go on with the content."""
        self._paused = False
        if self.session.state is State.CONTENT:
            self._act()

    # Acting on the state of the session

    def _act(self) -> None:
        """Write what is to be written, then do what the state asks for."""
        session, transport = self.session, self._transport
        output = session.take_output()
        if transport is not None:
            if output:
                transport.write(output)
            if session.state is State.CONTENT:
                self._send_content()
            elif session.state is State.CLOSED:
                self._hang_up(transport)
        self._arm()
        if self._content or self._done is not None:
            outcomes = session.take_outcomes()
            if outcomes is not None:
                done, self._done, self._content = self._done, None, b""
                if done is not None:
                    done(outcomes)
        if self._step is not None and not self._step.done():
            self._step.set_result(None)

    def _hang_up(self, transport: asyncio.Transport) -> None:
        """Close, without waiting for a server that has stopped reading what is still buffered."""
        if self._hung_up:
            return
        self._hung_up = True
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()

    def _send_content(self) -> None:
        """Hand the content to the transport, as much as it takes; the dot goes with the last of it, if the
        message is still ours to send.
        """
        transport, content = cast(asyncio.Transport, self._transport), self._content
        if len(content) <= SLICE_OCTETS:
            if not self._options.may_send():
                self._withhold(transport)
                return
            transport.write(content + _END)
        else:
            view = memoryview(content)
            while self._position < len(view):
                if self._paused:
                    return
                transport.write(view[self._position : self._position + SLICE_OCTETS])
                self._position += SLICE_OCTETS
            if not self._options.may_send():
                self._withhold(transport)
                return
            transport.write(_END)
        self.session.content_sent()

    def _withhold(self, transport: asyncio.Transport) -> None:
        self._hung_up = True
        self.session.withhold()
        transport.abort()

    def _arm(self) -> None:
        """Watch the time allowed in the present state, counted from now.

        The timer is moved when it fires, or where it would fire too late: most states last milliseconds.
        """
        seconds = self._timeouts.of(self.session.state)
        if seconds == NEVER_LATE:
            self._deadline = NEVER_LATE
            return
        self._deadline = self._loop.time() + seconds
        if self._deadline < self._timer_at:
            self._set_timer(self._deadline)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = NEVER_LATE
        if self._deadline == NEVER_LATE:
            return
        if self._loop.time() < self._deadline - _CLOCK_STEP_S:
            self._set_timer(self._deadline)
            return
        waited_for = self.session.state.name
        self._give_up(f"{self.peer}: no answer in time ({waited_for})")

    def _give_up(self, why: str) -> None:
        self.session.lost(Reply(451, Status.BAD_CONNECTION, why))
        if self._transport is not None:
            self._hung_up = True
            self._transport.abort()
        self._act()


class _TlsFailedError(Temporary):
    """The handshake failed, or the server hung up right after it."""


def _tls_words(peer: Peer, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return f"TLS with {peer} failed: {reason}"


def outcomes_of(envelope: Envelope, result: Result, reply: Reply, stage: Stage) -> list[Outcome]:
    """The same outcome for all recipients."""
    return [Outcome(recipient.address, result, reply, stage) for recipient in envelope.recipients]
