"""An SMPP operator: here we are the ESME. One or more binds, each with a real window.

A work is one recipient; all its segments are submitted together, each asks for a receipt, and the delivery is
settled when every receipt has come. A link that is down or throttled costs the message nothing: it waits.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from config.schema_upstreams import SmppUpstream
from gateway.messages.model import Deferred, Delivered, Failed, Outcome, Submitted, Unknown, Work
from gateway.messages.receipts import PartReceipt
from gateway.ports import Clock
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.upstreams.binds import LeasedBind, Leases
from gateway.upstreams.submit_sm import SubmitSmBuilder
from smpp import receipt as receipts
from smpp.constants import CommandStatus, MessageState, status_name
from smpp.esme import BindMode, Esme, EsmeConfig, SubmitResult
from smpp.esme import Outcome as Answer
from smpp.pdu import DataSm, DeliverSm, SubmitSm

log = structlog.get_logger(__name__)

OnReceipt = Callable[[PartReceipt], "asyncio.Future[str | None]"]

_REST_S = 1.0  # a link that is down; the queue rests longer with every time in a row
_NOTE_EVERY_S = 60.0
_THROTTLED_TRIES = 20  # the link itself waits in between (ESME_RTHROTTLED backs off the link)
_MODES = {"trx": (BindMode.TRX,), "tx": (BindMode.TX,), "tx+rx": (BindMode.TX, BindMode.RX)}
# What may pass if it is tried again; everything else that is refused stays refused.
_TEMPORARY = frozenset(
    {CommandStatus.ESME_RSUBMITFAIL, CommandStatus.ESME_RX_T_APPN, CommandStatus.ESME_RSYSERR}
)


@dataclass(frozen=True, slots=True)
class LinkState:
    """What metrics show of the binds of one operator."""

    binds: int
    bound: int
    outstanding: int
    waiting: int
    throttled: int


class SmppOperator:
    """An upstream on `smpp.esme`. `ready` is called whenever a bind comes up."""

    recipients_per_work = 1

    def __init__(
        self,
        name: str,
        settings: SmppUpstream,
        *,
        clock: Clock,
        on_receipt: OnReceipt,
        leases: Leases | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.names = settings.alphanumeric_source
        self.concurrency = settings.window * settings.binds
        self.ready: Callable[[], None] = lambda: None
        self._settings = settings
        self._clock = clock
        self._on_receipt = on_receipt
        self._builder = SubmitSmBuilder(settings)
        self._id_form = receipts.IdForm(settings.message_id_format)
        self._turn = 0
        self._refused = 0
        self._note_at_s = float("-inf")
        self._binds = [
            LeasedBind(f"upstream:{name}:{number}", mode, partial(self._esme, mode, tls), leases)
            for number, mode in enumerate(_MODES[settings.bind] * settings.binds)
        ]
        self._submitters = [bind for bind in self._binds if bind.mode is not BindMode.RX]

    # --- the port ------------------------------------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Whether a bind to submit on is this process's to keep."""
        return any(bind.esme is not None for bind in self._submitters)

    def destination(self, address: str) -> str:
        """Everything waits in one queue."""
        del address
        return self.name

    def segments(self, text: str) -> int:
        """How many segments `text` becomes at this operator. Raises smpp.text.TextError."""
        return self._builder.segments(text)

    async def start(self) -> None:
        """Begins to bind; the binds are kept up until `stop`."""
        for bind in self._binds:
            bind.start()

    async def stop(self, drain_s: float) -> None:
        """Unbinds every bind."""
        await asyncio.gather(*(bind.stop(drain_s) for bind in self._binds))

    async def deliver(self, work: Work) -> Sequence[Outcome]:
        """Submits every segment for the one recipient of the work."""
        esme = self._next_bound()
        if esme is None:
            return [Deferred(reply="no bind is up", after_s=_REST_S, rest_s=_REST_S, counts=False)]
        pdus = self._builder.build(work.message, work.deliveries[0], now_ms=self._clock.now_ms())
        if len(pdus) == 1:
            return [self._outcome([await self._submit(esme, pdus[0])])]
        results = await asyncio.gather(*(self._submit(esme, pdu) for pdu in pdus))
        return [self._outcome(results)]

    @property
    def link_state(self) -> LinkState:
        """The binds as they are now."""
        esmes = [bind.esme for bind in self._binds if bind.esme is not None]
        return LinkState(
            binds=len(self._binds),
            bound=sum(esme.bound for esme in esmes),
            outstanding=sum(esme.outstanding for esme in esmes),
            waiting=sum(esme.waiting for esme in esmes),
            throttled=sum(bind.throttled for bind in self._binds),
        )

    # --- out: submit_sm --------------------------------------------------------------------------------

    def _next_bound(self) -> Esme | None:
        for _ in self._submitters:
            self._turn = (self._turn + 1) % len(self._submitters)
            esme = self._submitters[self._turn].esme
            if esme is not None and esme.bound:
                return esme
        return None

    @staticmethod
    async def _submit(esme: Esme, pdu: SubmitSm) -> SubmitResult:
        """Offers a segment again while the operator only asks us to slow down."""
        result = await esme.submit(pdu)
        for _ in range(_THROTTLED_TRIES):
            if result.outcome is not Answer.THROTTLED:
                break
            result = await esme.submit(pdu)
        return result

    def _outcome(self, results: Sequence[SubmitResult]) -> Outcome:
        """One outcome from the answers to all segments; the worst decides."""
        for result in results:
            if result.outcome is Answer.UNKNOWN:
                return Unknown(reply=f"no submit_sm_resp: {result.detail}")
        for result in results:
            if result.outcome is Answer.REFUSED:
                reply = f"{status_name(result.command_status)} {result.detail}".strip()
                if result.command_status in _TEMPORARY:
                    return Deferred(reply=reply)
                return Failed(reply=reply, reason="rejected")
        for result in results:
            if result.outcome is Answer.THROTTLED:
                reply = status_name(result.command_status)
                return Deferred(reply=reply, after_s=_REST_S, rest_s=_REST_S, counts=False)
            if result.outcome is Answer.NOT_SENT:
                return Deferred(reply=result.detail, after_s=_REST_S, rest_s=_REST_S, counts=False)
        if not self._settings.receipts:
            return Delivered(reply="accepted by the operator")
        ids = tuple(receipts.normalise(result.message_id, self._id_form) for result in results)
        return Submitted(reply=f"accepted as {', '.join(ids)}"[:200], upstream=self.name, upstream_ids=ids)

    # --- in: deliver_sm --------------------------------------------------------------------------------

    async def _deliver_sm(self, pdu: DeliverSm | DataSm) -> CommandStatus:
        """Receipts are durable before they are answered; other messages are not ours to take."""
        receipt = receipts.parse(pdu)
        if receipt is None:
            self._note_refused()
            return CommandStatus.ESME_RX_R_APPN
        if not receipt.final or not receipt.message_id:
            return CommandStatus.ESME_ROK
        state = receipt.state or MessageState.UNKNOWN
        part = PartReceipt(
            upstream=self.name,
            ids=self._keys(receipt.message_id),
            delivered=state is MessageState.DELIVERED,
            state=state.name,
            error=receipt.error,
            received_ms=self._clock.now_ms(),
        )
        try:
            await self._on_receipt(part)
        except (StoreBusy, StoreFailed):
            return CommandStatus.ESME_RX_T_APPN  # section 5.1.3: the SMSC sends it again
        return CommandStatus.ESME_ROK

    def _note_refused(self) -> None:
        """Logs what is not ours to take, at most once a minute: an SMSC may flood us."""
        self._refused += 1
        now_s = self._clock.monotonic_s()
        if now_s >= self._note_at_s:
            log.warning("mobile_originated_refused", upstream=self.name, count=self._refused)
            self._refused, self._note_at_s = 0, now_s + _NOTE_EVERY_S

    def _keys(self, message_id: str) -> tuple[str, ...]:
        """What the id may have been stored as."""
        keys = (receipts.normalise(message_id, self._id_form), *receipts.candidates(message_id))
        return tuple(dict.fromkeys(keys))

    # --- the binds ---------------------------------------------------------------------------------------

    def _esme(self, mode: BindMode, tls: ssl.SSLContext | None) -> Esme:
        return Esme(self._config(self._settings, mode, tls), self._deliver_sm, on_state=self._state(mode))

    def _state(self, mode: BindMode) -> Callable[[bool, str], None]:
        def told(bound: bool, reason: str) -> None:
            if bound:
                log.info("upstream_bound", upstream=self.name, mode=mode.name)
                if mode is not BindMode.RX:
                    self.ready()
            else:
                log.warning("upstream_unbound", upstream=self.name, mode=mode.name, reason=reason)

        return told

    @staticmethod
    def _config(settings: SmppUpstream, mode: BindMode, tls: ssl.SSLContext | None) -> EsmeConfig:
        return EsmeConfig(
            host=settings.host,
            port=settings.port,
            system_id=settings.system_id,
            password=settings.password.reveal(),
            system_type=settings.system_type,
            bind_mode=mode,
            tls=tls,
            window=settings.window,
            rate_per_s=settings.rate_per_s / settings.binds,
            connect_timeout_s=settings.connect_timeout_s,
            enquire_link_s=settings.enquire_link_s,
            response_timeout_s=settings.response_timeout_s,
            reconnect_initial_s=settings.reconnect_min_s,
            reconnect_max_s=settings.reconnect_max_s,
        )
