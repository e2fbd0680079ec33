"""One SMPP v3.4 session for either role, sans-IO: octets and times in, events and octets out.

    events = session.receive_data(data, now)      what has arrived
    session.send(pdu, now), session.respond(pdu, now)
    transport.write(session.data_to_send())       after every call
    session.next_timer() → session.handle_timer(now)
    if session.finished: close the transport, then session.connection_lost()

States and who may send what in which: section 2.2 and 2.3; timers: section 7.2; sequence numbers: section
3.2. Raises StateError and WindowFull from `send`, PduError from `send` and `respond`. What a peer does wrong
is never raised: it is answered, and told by an event. Rates, queues and reconnects live in the shells.
"""

from dataclasses import dataclass
from typing import Any, Final

from smpp.constants import MAX_PDU_OCTETS, MAX_SEQUENCE_NUMBER, RESPONSE_BIT, CommandId, CommandStatus
from smpp.events import (
    Closed,
    Event,
    FaultReceived,
    LateResponse,
    RequestReceived,
    ResponseReceived,
    ResponseTimeout,
)
from smpp.pdu import (
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Pdu,
    PduError,
    Response,
    Splitter,
    Unbind,
    UnbindResp,
    decode,
    encode,
    response_class,
)
from smpp.states import (
    ANSWERS,
    BINDS,
    BOUND,
    CONTROL,
    MAY_SEND,
    NO_RESPONSE,
    Role,
    State,
    StateError,
    WindowFull,
    messages,
)

__all__ = ["Role", "Session", "SessionConfig", "State", "StateError", "WindowFull"]

_REMEMBERED_LATE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """Limits and timers (section 7.2); a timer of 0 is off."""

    window: int = 10
    response_timeout_s: float = 30.0
    enquire_link_s: float = 30.0
    inactivity_s: float = 0.0
    session_init_s: float = 30.0
    drain_s: float = 10.0
    max_pdu_octets: int = MAX_PDU_OCTETS


class Session:
    """See the module's docstring. `first_sequence_number` is for tests and resumed numbering."""

    def __init__(
        self, role: Role, config: SessionConfig, now: float, *, first_sequence_number: int = 1
    ) -> None:
        self.role = role
        self.reason = ""
        self._ours = MAY_SEND[role]
        self._theirs = MAY_SEND[Role.ESME if role is Role.SMSC else Role.SMSC]
        self._unbinding = False
        self._peer_unbind: int | None = None
        self._enter(State.OPEN)
        self._config = config
        self._window = config.window
        # No deadline that is set later comes sooner than this: of a bound session that is not draining.
        timers = (config.response_timeout_s, config.enquire_link_s, config.inactivity_s)
        self.shortest_timer_s = min((timer for timer in timers if timer), default=0.0)
        self._splitter = Splitter(config.max_pdu_octets)
        self._out: list[bytes] = []
        self._sequence_number = first_sequence_number - 1
        # sequence_number → (request, deadline, context), oldest first, which is the order of the deadlines.
        self._outstanding: dict[int, tuple[Pdu, float, Any]] = {}
        self._control: dict[int, tuple[Pdu, float, Any]] = {}
        self._late: dict[int, tuple[Pdu, Any]] = {}
        self._unanswered_inbound = 0
        self._binding: CommandId | None = None
        self._drain_deadline: float | None = None
        self._last_received = self._last_message = self._opened = now

    # --- what the shell asks ------------------------------------------------------------------------------

    def _enter(self, state: State) -> None:
        self.state = state
        # True between a good bind_resp and the end, draining included.
        self.bound = state in BOUND
        # True once the transport is to be closed, after what `data_to_send` still gives.
        self.finished = state in {State.UNBOUND, State.CLOSED}
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Work out once what the hot path asks for each PDU: the messages that either side may send now."""
        state = self.state
        self._we_may = frozenset(command for command, states in self._ours.items() if state in states)
        self._they_may = frozenset(command for command, states in self._theirs.items() if state in states)
        self.draining = self._unbinding or self._peer_unbind is not None
        # By class, because the hash of an enumeration's member is slow.
        self._we_may_at_once = frozenset() if self.draining else messages(self._we_may)
        self._they_may_at_once = frozenset() if self._peer_unbind is not None else messages(self._they_may)

    @property
    def outstanding(self) -> int:
        """Requests of ours in the window."""
        return len(self._outstanding)

    @property
    def window_free(self) -> int:
        """How many requests `send` takes before WindowFull."""
        return self._window - len(self._outstanding)

    def may_send(self, command_id: CommandId) -> bool:
        """True if state and role allow this request now (section 2.3) and no unbind has begun."""
        return command_id in self._we_may and not (self.draining and command_id not in CONTROL)

    def may_send_at_once(self, kind: type[Pdu]) -> bool:
        """As `may_send`, for messages: False for what keeps the link itself (bind, unbind, enquire_link)."""
        return kind in self._we_may_at_once

    def data_to_send(self) -> bytes:
        """Everything to write, once."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # --- sending ------------------------------------------------------------------------------------------

    def send(self, request: Pdu, now: float, context: Any = None) -> int:
        """Queue a request; gives its sequence_number. Raises StateError, WindowFull, PduError."""
        if type(request) not in self._we_may_at_once:
            return self._send_rare(request, now, context)
        outstanding = self._outstanding
        if len(outstanding) >= self._window:
            raise WindowFull(f"{self._window} requests are unanswered")
        sequence_number = self._next_sequence_number()
        self._out.append(encode(request, sequence_number))
        self._sequence_number = sequence_number
        outstanding[sequence_number] = (request, now + self._config.response_timeout_s, context)
        self._last_message = now
        return sequence_number

    def _send_rare(self, request: Pdu, now: float, context: Any) -> int:
        """What keeps the link itself, has no response, or is not allowed."""
        command_id = request.command_id
        if not self.may_send(command_id) or (command_id in BINDS and self._binding):
            raise StateError(f"{command_id.name.lower()} is not allowed in state {self.state.value}")
        sequence_number = self._next_sequence_number()
        self._out.append(encode(request, sequence_number))
        self._sequence_number = sequence_number
        if command_id in NO_RESPONSE:
            return sequence_number
        self._control[sequence_number] = (request, now + self._config.response_timeout_s, context)
        if command_id in BINDS:
            self._binding = command_id
        return sequence_number

    def respond(self, response: Response, now: float) -> None:
        """Answer a RequestReceived; the response carries the request's sequence_number. Raises PduError.

        Nothing is sent if the session has ended meanwhile.
        """
        if self.finished:
            return
        self._out.append(encode(response))
        self._unanswered_inbound -= 1
        self._last_message = now
        if self._binding is not None and response.command_id & ~RESPONSE_BIT == self._binding:
            self._bind_answered(response, now)
        if self.draining:
            self._continue_unbind(now)

    def forgo(self) -> None:
        """One RequestReceived will never be answered; an unbind no longer waits for it."""
        self._unanswered_inbound -= 1

    def unbind(self, now: float, drain_s: float | None = None) -> None:
        """Stop sending, let what is in flight be answered within `drain_s`, then unbind (section 4.2)."""
        if self._unbinding or self.finished:
            return
        if not self.bound:
            self._finish("closed before a bind")
            return
        self._unbinding = True
        self._look_ahead()
        self._drain_deadline = now + (self._config.drain_s if drain_s is None else drain_s)
        self._continue_unbind(now)

    def _next_sequence_number(self) -> int:
        number, outstanding, control = self._sequence_number, self._outstanding, self._control
        while True:
            number = number + 1 if number < MAX_SEQUENCE_NUMBER else 1
            if number not in outstanding and number not in control:
                return number

    def _continue_unbind(self, now: float, *, overdue: bool = False) -> None:
        """The next step of an unbind, ours or the peer's, once nothing is in flight or time is up."""
        if self._peer_unbind is not None:
            # The peer sends no more; what we owe it goes out before unbind_resp.
            if not self._unanswered_inbound or overdue:
                self._out.append(encode(UnbindResp(self._peer_unbind)))
                self._finish("unbound by the peer")
        elif self._unbinding and not any(type(entry[0]) is Unbind for entry in self._control.values()):
            in_flight = bool(self._outstanding or self._unanswered_inbound)
            if (overdue or not in_flight) and self.bound:
                self._drain_deadline = None
                self.send(Unbind(), now)

    def _finish(self, reason: str) -> None:
        if not self.finished:
            self._enter(State.UNBOUND)
            self.reason = reason

    # --- receiving ----------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """What these octets mean. Never raises."""
        events: list[Event] = []
        try:
            for frame in self._splitter.feed(data):
                self._last_received = now  # a whole PDU: an octet now and then is no sign of life
                if self.finished:
                    return events
                self._receive_frame(frame, now, events)
        except PduError as error:
            # Section 3.2: the stream cannot be followed after a wrong command_length.
            if not self.finished:
                self._out.append(encode(GenericNack(error.sequence_number, error.command_status)))
                self._finish("wrong command_length")
            events.append(FaultReceived(_bare(error)))
        return events

    def _receive_frame(self, frame: bytes, now: float, events: list[Event]) -> None:
        try:
            pdu = decode(frame)
        except PduError as error:
            events.append(FaultReceived(_bare(error)))
            if not error.command_id & RESPONSE_BIT:  # a response is never answered
                self._refuse(error.command_id, error.sequence_number, error.command_status)
            return
        if isinstance(pdu, Response):
            self._receive_response(pdu, now, events)
        elif type(pdu) in self._they_may_at_once:
            self._last_message = now
            self._unanswered_inbound += 1
            events.append(RequestReceived(pdu))
        elif isinstance(pdu, EnquireLink):
            self._out.append(encode(EnquireLinkResp(pdu.sequence_number)))
        else:
            self._receive_rare(pdu, now, events)

    def _receive_rare(self, pdu: Pdu, now: float, events: list[Event]) -> None:
        """What keeps the link itself, has no response, or is not allowed."""
        command_id = pdu.command_id
        if command_id not in self._theirs:
            self._refuse(command_id, pdu.sequence_number, CommandStatus.ESME_RINVCMDID)
        elif command_id in BINDS and (self.state is not State.OPEN or self._binding):
            self._refuse(command_id, pdu.sequence_number, CommandStatus.ESME_RALYBND)
        elif command_id not in self._they_may:
            self._refuse(command_id, pdu.sequence_number, CommandStatus.ESME_RINVBNDSTS)
        elif command_id == CommandId.UNBIND:
            self._peer_unbind = pdu.sequence_number
            self._look_ahead()
            self._drain_deadline = now + self._config.drain_s
            self._continue_unbind(now)
        elif self._peer_unbind is not None:
            # Section 4.2: after its unbind the peer may send no more requests.
            self._refuse(command_id, pdu.sequence_number, CommandStatus.ESME_RINVBNDSTS)
        else:
            self._last_message = now
            if command_id in BINDS:
                self._binding = command_id
            if command_id not in NO_RESPONSE:
                self._unanswered_inbound += 1
            events.append(RequestReceived(pdu))

    def _refuse(self, command_id: int, sequence_number: int, status: int) -> None:
        """The request's own response if it has one, else generic_nack (section 4.3)."""
        if command_id in NO_RESPONSE:
            return
        cls = response_class(command_id) or GenericNack
        self._out.append(encode(cls(sequence_number, status)))

    def _receive_response(self, response: Response, now: float, events: list[Event]) -> None:
        number = response.sequence_number
        entry = self._outstanding.get(number)
        control = entry is None
        if entry is None:
            entry = self._control.get(number)
        answer = type(response)
        if entry is None or (answer is not ANSWERS[type(entry[0])] and answer is not GenericNack):
            request, context = self._late.pop(number, (None, None))
            events.append(LateResponse(request, response, context))
            return
        request, _deadline, context = entry
        if control:
            del self._control[number]
            self._control_answered(request, response, now)
        else:
            del self._outstanding[number]
            self._last_message = now
        events.append(ResponseReceived(request, response, context))
        if self.draining:
            self._continue_unbind(now)

    def _control_answered(self, request: Pdu, response: Response, now: float) -> None:
        if request.command_id in BINDS:
            self._bind_answered(response, now)
        elif request.command_id == CommandId.UNBIND:
            self._finish("unbound")

    def _bind_answered(self, response: Response, now: float) -> None:
        bind, self._binding = self._binding, None
        if bind and response.status == CommandStatus.ESME_ROK:
            self._enter(BINDS[bind])
            self._last_message = now

    # --- time ---------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called, at the latest, or None."""
        if self.finished:
            return None
        times = [deadline for deadline, _act in self._deadlines()]
        return min(times) if times else None

    def _deadlines(self) -> list[tuple[float, str]]:
        config, waiting = self._config, (self._outstanding, self._control)
        due = [(next(iter(entries.values()))[1], "response") for entries in waiting if entries]
        if self._drain_deadline is not None:
            due.append((self._drain_deadline, "drain"))
        if not self.bound:
            if config.session_init_s:
                due.append((self._opened + config.session_init_s, "session_init"))
            return due
        if config.enquire_link_s and not self._control:
            due.append((self._last_received + config.enquire_link_s, "enquire_link"))
        if config.inactivity_s and not self._unbinding:
            due.append((self._last_message + config.inactivity_s, "inactivity"))
        return due

    def handle_timer(self, now: float) -> list[Event]:
        """Do what is due at `now`; calling too early does nothing."""
        events: list[Event] = []
        if self.finished:
            return events
        due = {name for deadline, name in self._deadlines() if deadline <= now}
        if "response" in due:
            self._time_out(now, events)
        if "session_init" in due:
            self._finish("no bind in time")
        if "drain" in due:
            self._drain_deadline = None
            self._continue_unbind(now, overdue=True)
        if "inactivity" in due:
            self.unbind(now)
        if "enquire_link" in due and self.bound and not self._control:
            self.send(EnquireLink(), now)
        return events

    def _time_out(self, now: float, events: list[Event]) -> None:
        for waiting in (self._outstanding, self._control):
            for number, (request, deadline, context) in list(waiting.items()):
                if deadline > now:
                    break
                del waiting[number]
                if waiting is self._control:
                    self._finish(f"{request.command_id.name.lower()} was not answered in time")
                    continue
                self._late[number] = (request, context)
                if len(self._late) > _REMEMBERED_LATE:
                    del self._late[next(iter(self._late))]
                events.append(ResponseTimeout(request, context))
        self._continue_unbind(now)

    def connection_lost(self, reason: str = "connection lost") -> list[Event]:
        """The transport is gone: one Closed event, and nothing after it."""
        if self.state is State.CLOSED:
            return []
        self._enter(State.CLOSED)
        self.reason = reason = self.reason or reason
        unanswered = tuple((request, context) for request, _, context in self._outstanding.values())
        self._outstanding.clear()
        self._control.clear()
        self._out.clear()
        return [Closed(reason, unanswered)]


def _bare(error: PduError) -> PduError:
    """The error without its way here: that holds the frames it passed, and they the events that hold it, so
    that a flood of broken PDUs would be left to the garbage collector.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
