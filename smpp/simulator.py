"""The sandbox SMSC: takes every message, answers with receipts, and acts up on magic numbers.

Built on `smpp.smsc`; the numbers are in `smpp.magic`. It keeps the last messages for the sandbox view, joined
where they came in parts. Nothing is durable and every list is bounded: the oldest entry goes first. Receipts
go to the bind that submitted, else to another receiving bind of the same system_id, else they wait for one.
Raises OSError from `start`.
"""

import asyncio
import hmac
import random as random_module
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Final

import msgspec

from smpp import text as sms_text
from smpp.concatenation import Incomplete, Reassembler, user_data
from smpp.constants import CommandStatus, EsmClass, MessageState, RegisteredDelivery, Tag
from smpp.limit import Limit
from smpp.link import RequestOutcome, Result
from smpp.magic import Behaviour, Form, Response, behaviour
from smpp.pdu import DataSm, DeliverSm, SubmitSm, SubmitSmResp, encode
from smpp.receipt import Receipt, deliver_sm
from smpp.smsc import Application, BindRequest, Bound, SmscConfig, SmscServer

_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """`credentials` maps system_id to password; `memory` bounds each list of messages and receipts."""

    credentials: Mapping[str, str] = field(default_factory=lambda: {"sandbox": "sandbox"})
    smsc: SmscConfig = field(default_factory=lambda: SmscConfig(system_id="sandbox"))
    receipt_delay_s: float = 0.2
    late_response_s: float = 60.0
    alphabet: sms_text.Alphabet = sms_text.Alphabet.GSM
    memory: int = 1000


class ReceivedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as the handset would show it. `complete` is false if parts never came."""

    time: datetime
    system_id: str
    source_addr_ton: int
    source_addr_npi: int
    source_addr: str
    destination_addr: str
    data_coding: int
    text: str
    parts: int = 1
    message_ids: tuple[str, ...] = ()
    complete: bool = True


class Simulator(Application):
    """See the module's docstring. `clock` runs the delays, `now` dates what is shown; what `limit` does not
    take is answered ESME_RTHROTTLED.
    """

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        on_message: Callable[[ReceivedMessage], None] | None = None,
        limit: Limit | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: random_module.Random | None = None,
    ) -> None:
        self._config = config
        self._on_message = on_message
        self._limit = limit
        self.throttled = 0
        self._clock = clock
        self._now = now
        # Ids start anywhere, so that a restarted sandbox does not repeat those of yesterday.
        self._last_id = (random or random_module.Random()).getrandbits(47)  # noqa: S311 - an id, no secret
        self._server = SmscServer(self, config.smsc, clock=clock)
        self._binds: list[Bound] = []
        self._messages: deque[ReceivedMessage] = deque(maxlen=config.memory)
        self._reassembler = Reassembler(limit=config.memory)
        self._parts: dict[tuple[object, ...], list[ReceivedMessage]] = {}
        self._refused_once: dict[tuple[str, str], None] = {}
        self._undelivered: deque[tuple[str, DeliverSm | DataSm]] = deque(maxlen=config.memory)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._agenda_number = 0
        self._timer: asyncio.TimerHandle | None = None

    # --- for the owner ------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        await self._server.start()

    async def stop(self, drain_s: float = 1.0) -> None:
        """Unbind the clients and forget what was planned."""
        self._agenda.clear()
        if self._timer is not None:
            self._timer.cancel()
        await self._server.stop(drain_s)

    def messages(self) -> list[ReceivedMessage]:
        """The last messages, oldest first; parts that wait for others are not in it yet."""
        for incomplete in self._reassembler.expire(self._clock()):
            self._remember(incomplete, complete=False)
        return list(self._messages)

    def inject(self, source_addr: str, destination_addr: str, text: str, *, system_id: str) -> None:
        """Send a message from a handset (MO) to the client; it waits for a receiving bind."""
        self._last_id += 1
        segments = sms_text.split(text, reference=self._last_id)
        for part in segments.parts:
            pdu = DeliverSm(
                source_addr_ton=1,
                source_addr_npi=1,
                source_addr=source_addr,
                destination_addr=destination_addr,
                esm_class=int(EsmClass.UDHI) if segments.udhi else 0,
                data_coding=segments.data_coding,
                short_message=part,
            )
            self._deliver(system_id, pdu)

    # --- smpp.smsc.Application ----------------------------------------------------------------------------

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        """Let in whom the configuration names."""
        expected = self._config.credentials.get(request.system_id)
        if expected is None:
            return CommandStatus.ESME_RINVSYSID
        if not hmac.compare_digest(expected.encode(), request.password.encode()):
            return CommandStatus.ESME_RINVPASWD
        return request.accept()

    def ready(self, bound: Bound) -> None:
        """Hand out what has waited for a receiver."""
        self._binds.append(bound)
        self._deliver_waiting()

    def unbound(self, bound: Bound, reason: str) -> None:  # noqa: ARG002 - the port's signature
        """Forget the bind."""
        if bound in self._binds:
            self._binds.remove(bound)

    def submit(self, bound: Bound, submit_sm: SubmitSm) -> asyncio.Future[tuple[int, str] | None]:
        """What the destination number asks for; see `smpp.magic`."""
        asked = behaviour(submit_sm.destination_addr)
        answer: asyncio.Future[tuple[int, str] | None] = asyncio.get_running_loop().create_future()
        if asked.refuse and not (asked.refuse_once and self._was_refused(submit_sm)):
            answer.set_result((asked.refuse, ""))
            return answer
        if self._limit is not None and not self._limit.take(self._clock()):
            self.throttled += 1
            answer.set_result((CommandStatus.ESME_RTHROTTLED, ""))
            return answer
        self._last_id += 1
        message_id = f"{self._last_id:012x}"
        self._record(bound, submit_sm, message_id)
        self._plan_receipts(bound, submit_sm, message_id, asked)
        verdict = (CommandStatus.ESME_ROK, message_id)
        match asked.response:
            case Response.AT_ONCE:
                answer.set_result(verdict)
            case Response.LATE:
                self._later(self._config.late_response_s, lambda: _resolve(answer, verdict))
            case Response.AFTER_RECEIPT:
                # Its receipt has just been written.
                self._later(self._config.receipt_delay_s, lambda: _resolve(answer, verdict))
            case Response.CUT:
                whole = encode(SubmitSmResp(submit_sm.sequence_number, 0, message_id))
                bound.cut_off(whole[: len(whole) // 2])
                answer.set_result(None)
            case Response.NEVER:
                answer.set_result(None)
        return answer

    # --- inside -------------------------------------------------------------------------------------------

    def _was_refused(self, submit_sm: SubmitSm) -> bool:
        """True on the second try of the same message."""
        key = (submit_sm.source_addr, submit_sm.destination_addr)
        if key in self._refused_once:
            del self._refused_once[key]
            return True
        self._refused_once[key] = None
        if len(self._refused_once) > self._config.memory:
            del self._refused_once[next(iter(self._refused_once))]
        return False

    def _record(self, bound: Bound, submit_sm: SubmitSm, message_id: str) -> None:
        data = user_data(submit_sm)
        part = ReceivedMessage(
            time=self._now(),
            system_id=bound.system_id,
            source_addr_ton=submit_sm.source_addr_ton,
            source_addr_npi=submit_sm.source_addr_npi,
            source_addr=submit_sm.source_addr,
            destination_addr=submit_sm.destination_addr,
            data_coding=submit_sm.data_coding,
            text=sms_text.decode(data.octets, submit_sm.data_coding, alphabet=self._config.alphabet),
            message_ids=(message_id,),
        )
        if data.concatenation is None:
            self._show(part)
            return
        address = (bound.system_id, submit_sm.source_addr, submit_sm.destination_addr)
        key = (*address, data.concatenation.reference, data.concatenation.total)
        parts = self._parts.setdefault(key, [])
        if len(parts) < sms_text.MAX_SEGMENTS:  # a client that repeats a part for ever
            parts.append(part)
        whole = self._reassembler.add(address, data.concatenation, data.octets, self._clock())
        if whole is not None:
            self._remember(Incomplete(key, data.concatenation.total, 0.0, {1: whole}), complete=True)
        for incomplete in self._reassembler.expire(self._clock()):
            self._remember(incomplete, complete=False)

    def _remember(self, message: Incomplete, *, complete: bool) -> None:
        parts = self._parts.pop(message.key, None)
        if parts:
            first = parts[0]
            text = sms_text.decode(message.octets, first.data_coding, alphabet=self._config.alphabet)
            ids = tuple(message_id for part in parts for message_id in part.message_ids)
            self._show(
                msgspec.structs.replace(
                    first, text=text, parts=message.total, message_ids=ids, complete=complete
                )
            )

    def _show(self, message: ReceivedMessage) -> None:
        self._messages.append(message)
        if self._on_message is not None:
            self._on_message(message)

    def _plan_receipts(self, bound: Bound, submit_sm: SubmitSm, message_id: str, asked: Behaviour) -> None:
        wanted = submit_sm.registered_delivery & RegisteredDelivery.RECEIPT_MASK
        failure_only = wanted == RegisteredDelivery.FAILURE
        system_id, delay_s = bound.system_id, self._config.receipt_delay_s
        if asked.answer:
            answer = f"Answer from {submit_sm.destination_addr}"
            self._later(
                delay_s,
                lambda: self.inject(
                    submit_sm.destination_addr, submit_sm.source_addr, answer, system_id=system_id
                ),
            )
        if not wanted or (failure_only and asked.state is MessageState.DELIVERED):
            return
        receipt = Receipt(
            message_id=str(int(message_id, 16)) if asked.decimal_id else message_id,
            state=asked.state,
            error=asked.error,
            submit_date=self._now(),
            done_date=self._now(),
        )
        if asked.notify:
            on_the_way = msgspec.structs.replace(receipt, state=MessageState.ENROUTE, intermediate=True)
            self._deliver(system_id, _as_pdu(on_the_way, submit_sm, asked.form))
        pdu = _as_pdu(receipt, submit_sm, asked.form)
        if asked.response is Response.AFTER_RECEIPT:
            delay_s = 0.0
        elif asked.response is Response.LATE:
            delay_s += self._config.late_response_s
        for _ in range(asked.receipts):
            if delay_s:
                self._later(delay_s, lambda: self._deliver(system_id, pdu, prefer=bound))
            else:
                self._deliver(system_id, pdu, prefer=bound)

    def _deliver(self, system_id: str, pdu: DeliverSm | DataSm, *, prefer: Bound | None = None) -> None:
        receivers = [bound for bound in self._binds if bound.system_id == system_id and bound.can_receive]
        if not receivers:
            self._undelivered.append((system_id, pdu))
            return
        receiver = prefer if prefer in receivers else receivers[0]
        assert receiver is not None  # noqa: S101 - `receivers` is not empty
        receiver.deliver(pdu).add_done_callback(lambda done: self._delivered(system_id, pdu, done))

    def _delivered(self, system_id: str, pdu: DeliverSm | DataSm, done: asyncio.Future[Result]) -> None:
        """Keep what the client has not taken; it is offered again."""
        if not done.cancelled() and done.result().outcome not in {RequestOutcome.OK, RequestOutcome.REFUSED}:
            self._undelivered.append((system_id, pdu))
            self._later(_RETRY_S, self._deliver_waiting)

    def _deliver_waiting(self) -> None:
        waiting = tuple(self._undelivered)
        self._undelivered.clear()
        for system_id, pdu in waiting:
            self._deliver(system_id, pdu)

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do it after `delay_s`; one timer serves all."""
        self._agenda_number += 1
        heappush(self._agenda, (self._clock() + delay_s, self._agenda_number, act))
        if self._agenda[0][1] == self._agenda_number:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._agenda:
            delay_s = max(0.0, self._agenda[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._run_agenda)

    def _run_agenda(self) -> None:
        self._timer = None
        now = self._clock()
        while self._agenda and self._agenda[0][0] <= now:
            heappop(self._agenda)[2]()
        self._set_timer()


def _resolve(answer: asyncio.Future[tuple[int, str] | None], verdict: tuple[CommandStatus, str]) -> None:
    if not answer.done():
        answer.set_result(verdict)


def _as_pdu(receipt: Receipt, submit_sm: SubmitSm, form: Form) -> DeliverSm | DataSm:
    """The receipt in the form that is asked for."""
    pdu = deliver_sm(receipt, submit_sm, with_text=form is not Form.TLVS)
    if form is Form.TEXT:
        text = pdu.short_message.replace(b"DELIVRD", b"DELIVERED")
        return msgspec.structs.replace(pdu, short_message=text, tlvs=())
    if form is not Form.DATA_SM:
        return pdu
    return DataSm(
        service_type=pdu.service_type,
        source_addr_ton=pdu.source_addr_ton,
        source_addr_npi=pdu.source_addr_npi,
        source_addr=pdu.source_addr,
        dest_addr_ton=pdu.dest_addr_ton,
        dest_addr_npi=pdu.dest_addr_npi,
        destination_addr=pdu.destination_addr,
        esm_class=pdu.esm_class,
        tlvs=(*pdu.tlvs, (int(Tag.MESSAGE_PAYLOAD), pdu.short_message)),
    )
