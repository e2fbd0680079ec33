"""One TCP connection of either role: `smpp.session` joined to an asyncio transport.

`request` queues a PDU and gives a future of its `Result`; `tell` calls a function with it instead. It waits,
in order and within bounds, for window, rate and a writable transport. What is said in one tick of the loop
leaves in one write, what is read in one comes to the `Handler` at once, and one timer serves all. A peer that
does not read is not read either, once `unsent_octets` wait for it.

Raises nothing after construction: every failure is a Result. No reconnects (`smpp.esme`), no binds
(`smpp.smsc`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol, cast

import msgspec

from smpp.constants import THROTTLE_STATUSES, CommandStatus, status_name
from smpp.events import (
    Closed,
    Event,
    FaultReceived,
    LateResponse,
    RequestReceived,
    ResponseReceived,
    ResponseTimeout,
)
from smpp.pacing import PROBES, Throttle
from smpp.pdu import Pdu, PduError, Response
from smpp.session import Session, StateError

NO_ANSWER: Final = "no answer in time"
"""The detail of UNKNOWN on a link that goes on; on one that has ended it is the reason of the end."""
_ROK: Final = int(CommandStatus.ESME_ROK)
_CLOSE_S: Final = 5.0
_TURN_OCTETS: Final = 16_384  # received at once: some 20 ms if all of it is tiny and broken PDUs


class RequestOutcome(Enum):
    """What became of a request; UNKNOWN means the peer may or may not have taken it.

    THROTTLED: offer it again. STUCK: it was throttled again and again while others passed, so it is the
    request itself that the peer does not take for now.
    """

    OK = "ok"
    REFUSED = "refused"
    THROTTLED = "throttled"
    STUCK = "stuck"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


class Result(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one request. `command_status` is the peer's, or ours for a PDU that does not encode."""

    outcome: RequestOutcome
    command_status: int = 0
    message_id: str = ""
    detail: str = ""


SubmitFuture = asyncio.Future[Result]
Told = Callable[[Result], None]
"""Is called once with the result, in the loop, and must return at once.

One that is given again with the same request after THROTTLED has an attribute `message`: equal for the parts
of one message. Without it every request is a message of its own.
"""


MaySend = Callable[[], bool]
"""Whether requests may still go: asked right before each, after which nothing calls it back."""


def always() -> bool:
    """For whom nobody else can send the same message."""
    return True


class Handler(Protocol):
    """Who owns a link. All are called in the loop and must return at once."""

    def connected(self, link: "Link") -> None:
        """The transport, TLS included, is up. Only a link that was connected is ever closed."""

    def requests_received(self, requests: Sequence[Pdu]) -> None:
        """The requests of one read, to answer with `Link.respond`; what was answered in it comes first."""

    def bind_answered(self, response: Response) -> None:
        """The answer to our bind."""

    def late_response(self, request: Pdu | None, response: Response, told: Told | None) -> None:
        """An answer to a request that was reported UNKNOWN to `told`; None if nothing is known of it."""

    def fault_received(self, error: PduError) -> None:
        """The peer sent something broken, which has been answered."""

    def closed(self, reason: str) -> None:
        """The connection is gone; every future has its result."""


class Link(asyncio.Protocol):
    """See the module's docstring. `queue_limit` requests wait at most `wait_s` each for their turn."""

    def __init__(
        self,
        session: Session,
        handler: Handler,
        clock: Callable[[], float],
        *,
        random: Callable[[], float],
        throttle: Throttle | None = None,
        may_send: MaySend = always,
        queue_limit: int = 1000,
        wait_s: float = 30.0,
        unsent_octets: int = 1 << 20,
    ) -> None:
        self.session = session
        self.throttled = 0
        self._handler = handler
        self._clock = clock
        self._random = random
        self._throttle = throttle or Throttle()
        self._pace = self._throttle.pace
        self._may_send = may_send
        self._queue_limit = queue_limit
        self._wait_s = wait_s
        self._unsent_octets = unsent_octets
        self._waiting: deque[tuple[Pdu, Told, float, SubmitFuture | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._writable = True
        self._flush_scheduled = False
        self._unread = bytearray()  # of a flood, until its turn comes
        self._turn_scheduled = False
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # --- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # TCP and TLS give these; uvloop's are no subclasses.
        self._transport = cast(asyncio.Transport, transport)
        self._handler.connected(self)
        self._schedule_flush()

    def data_received(self, data: bytes) -> None:
        if not self._unread and len(data) <= _TURN_OCTETS:
            self._handle(self.session.receive_data(data, self._clock()))
            return
        # A flood: other links have their turns in between (A5), and no more of it is read meanwhile.
        self._unread += data
        if self._transport is not None:
            self._transport.pause_reading()
        self._schedule_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unread.clear()
        if self._timer:
            self._timer.cancel()
        self._handle(self.session.connection_lost(f"connection lost: {exc}" if exc else "connection closed"))

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._unread:
            self._schedule_turn()
        elif self._transport is not None:
            self._transport.resume_reading()
        self._pump(self._clock())

    # --- for the owner ------------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport while there is one."""
        return self._transport

    @property
    def waiting(self) -> int:
        """Requests that have not been sent yet."""
        return len(self._waiting)

    def request(self, pdu: Pdu) -> SubmitFuture:
        """Send when the window, the rate and the peer allow it. Cancelling the future takes back only what
        has not been sent.
        """
        future: SubmitFuture = self._loop.create_future()

        def told(result: Result) -> None:
            if not future.done():
                future.set_result(result)

        self.tell(pdu, told, future)
        return future

    def tell(self, pdu: Pdu, told: Told, future: SubmitFuture | None = None, *, first: bool = False) -> None:
        """As `request`, but calls `told`; perhaps before this returns, if nothing can be sent. `first`: ahead
        of all that wait.
        """
        now = self._clock()
        if not self.session.may_send_at_once(type(pdu)):
            told(Result(RequestOutcome.NOT_SENT, detail=f"the link is {self.session.state.value}"))
        elif not self._waiting and self._ready(now):
            self._send(pdu, told, now)
        elif len(self._waiting) >= self._queue_limit:
            told(Result(RequestOutcome.NOT_SENT, detail="too many requests are waiting"))
        else:
            one = (pdu, told, now + self._wait_s, future)
            if first:
                self._waiting.appendleft(one)
            else:
                self._waiting.append(one)
            self._schedule_flush()

    def respond(self, response: Response) -> None:
        """Answer a request of the peer; a response that does not encode becomes ESME_RSYSERR."""
        self.respond_many((response,))

    def respond_many(self, responses: Sequence[Response]) -> None:
        """As `respond`, for all of them."""
        session, now = self.session, self._clock()
        for response in responses:
            try:
                session.respond(response, now)
            except PduError:
                session.respond(type(response)(response.sequence_number, CommandStatus.ESME_RSYSERR), now)
        self._schedule_flush()

    def send_control(self, pdu: Pdu) -> None:
        """Send a bind, at once. Raises StateError, PduError."""
        self.session.send(pdu, self._clock())
        self._schedule_flush()

    def unbind(self, drain_s: float) -> None:
        """Send nothing more, let what is in flight finish within `drain_s`, unbind and close."""
        self.session.unbind(self._clock(), drain_s)
        self._drop_waiting("the link is being unbound")
        self._schedule_flush()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # --- inside -------------------------------------------------------------------------------------------

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """The next piece of a flood, unless its answers are not read; then `resume_writing` goes on."""
        self._turn_scheduled = False
        transport, unread = self._transport, self._unread
        if transport is None or self._closing or transport.get_write_buffer_size() > self._unsent_octets:
            return
        data = bytes(unread[:_TURN_OCTETS])
        del unread[:_TURN_OCTETS]
        self._handle(self.session.receive_data(data, self._clock()))
        if unread:
            self._schedule_turn()
        elif not transport.is_closing():
            transport.resume_reading()

    def _has_room(self) -> bool:
        return (
            self._writable
            and self.session.window_free > 0
            and not (self._throttle.probing and self.session.outstanding >= PROBES)
        )

    def _ready(self, now: float) -> bool:
        return (
            now >= self._throttle.until
            and self._has_room()
            and (not self._pace.limited or now >= self._pace.ready_at(probing=self._throttle.probing))
        )

    def _pump(self, now: float) -> None:
        """Send what may go, oldest first; give up what has waited too long."""
        waiting = self._waiting
        while waiting:
            pdu, told, deadline, future = waiting[0]
            if future is not None and future.done():
                waiting.popleft()
            elif self._ready(now):
                waiting.popleft()
                self._send(pdu, told, now)
            elif deadline <= now:
                waiting.popleft()
                told(Result(RequestOutcome.NOT_SENT, detail="waited too long for its turn"))
            else:
                break

    def _send(self, pdu: Pdu, told: Told, now: float) -> None:
        if not self._may_send():
            told(Result(RequestOutcome.NOT_SENT, detail="the message is no longer ours to send"))
            return
        try:
            self.session.send(pdu, now, told)
        except PduError as error:
            told(Result(RequestOutcome.REFUSED, error.command_status, detail=str(error)))
        except StateError as error:
            told(Result(RequestOutcome.NOT_SENT, detail=str(error)))
        else:
            if self._pace.limited:
                self._pace.sent(now)
            if not self._flush_scheduled:
                self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Once a tick: one write, then the timer."""
        self._flush_scheduled = False
        transport = self._transport
        if transport is None or self._closing:
            return
        data = self.session.data_to_send()
        if data:
            transport.write(data)
            if transport.get_write_buffer_size() > self._unsent_octets:
                transport.pause_reading()
        if self.session.finished:
            self._closing = True
            self._drop_waiting(self.session.reason)
            transport.close()
            # What a peer does not read must not keep the connection for ever.
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._arm(self._clock() + _CLOSE_S)
        elif self._timer is None or self._waiting or self.session.draining or not self.session.bound:
            self._arm(self._next_timer())
        # Else the running timer fires before whatever deadline this tick has added.

    def _next_timer(self) -> float | None:
        due = self.session.next_timer()
        if due is not None and self.session.bound and self.session.shortest_timer_s:
            due = min(due, self._clock() + self.session.shortest_timer_s)
        if self._waiting:
            turn = self._waiting[0][2]
            if self._has_room():
                paced = self._pace.ready_at(probing=self._throttle.probing)
                turn = min(turn, max(paced, self._throttle.until))
            due = turn if due is None else min(due, turn)
        return due

    def _arm(self, due: float | None) -> None:
        """A running timer that fires earlier is left alone: it looks again."""
        if due is None or (self._timer is not None and self._timer_at <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._closing:
            self.abort()
            return
        self._handle(self.session.handle_timer(self._clock()))

    def _handle(self, events: list[Event]) -> None:
        now = self._clock()
        requests: list[Pdu] = []
        for event in events:
            if isinstance(event, RequestReceived):
                requests.append(event.request)
            elif isinstance(event, ResponseReceived):
                self._answered(event, now)
            else:
                self._handle_rare(event)
        if requests:
            self._handler.requests_received(requests)
        if self._throttle.passes != self._throttle.counted:
            self._throttle.count(now)
        if self._waiting:
            self._pump(now)
        self._schedule_flush()

    def _handle_rare(self, event: Event) -> None:
        match event:
            case ResponseTimeout(context=told):
                told(Result(RequestOutcome.UNKNOWN, detail=NO_ANSWER))
            case LateResponse(request=request, response=response, context=told):
                self._handler.late_response(request, response, told)
            case FaultReceived(error=error):
                self._handler.fault_received(error)
            case Closed(reason=reason, unanswered=unanswered):
                for _request, told in unanswered:
                    told(Result(RequestOutcome.UNKNOWN, detail=reason))
                self._drop_waiting(reason)
                self._handler.closed(reason)
            case _:
                pass

    def _answered(self, event: ResponseReceived, now: float) -> None:
        response, told = event.response, event.context
        status = response.command_status
        if told is None:
            if "BIND_" in event.request.command_id.name:
                self._handler.bind_answered(response)
        elif status == _ROK:
            self._throttle.passes += 1
            if self._throttle.watchful:
                self._throttle.passed(told, now)
            told(Result(RequestOutcome.OK, 0, getattr(response, "message_id", "")))
        elif status in THROTTLE_STATUSES:
            self.throttled += 1
            message = getattr(told, "message", None)
            stuck = self._throttle.throttled(told, message, now, self._random())
            told(
                Result(
                    RequestOutcome.STUCK if stuck else RequestOutcome.THROTTLED,
                    status,
                    detail=status_name(status),
                )
            )
        else:
            told(Result(RequestOutcome.REFUSED, status, detail=status_name(status)))

    def _drop_waiting(self, reason: str) -> None:
        while self._waiting:
            _pdu, told, _deadline, future = self._waiting.popleft()
            if future is None or not future.done():
                told(Result(RequestOutcome.NOT_SENT, detail=reason))
