"""An SMPP operator: here we are the ESME. One or more binds, each with a real window.

A work is one recipient; all its segments are submitted together, each asks for a receipt, and the delivery is
settled when every receipt has come. A link that is down or throttled costs the message nothing: it waits. The
binds share one pace, which finds by itself how much the operator takes; each rests for itself.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from config.sections.upstreams import SmppUpstream
from gateway.clock import Clock
from gateway.messages.model import Deferred, Failed, Outcome, Submitted, Unknown, Work
from gateway.messages.ports import Links
from gateway.messages.receipts.apply import PartReceipt
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.upstreams.binds import LeasedBind, Leases
from gateway.upstreams.segments import REST_S, Segment, Segments, outcome_of, submitted
from gateway.upstreams.submit_sm import SubmitSmBuilder
from smpp import receipt as receipts
from smpp.constants import CommandStatus, MessageState
from smpp.esme import NO_ANSWER, BindMode, Esme, EsmeConfig, SubmitResult
from smpp.link import MaySend, always
from smpp.pacing import Pace
from smpp.pdu import DataSm, DeliverSm, Pdu, Response

log = structlog.get_logger(__name__)

OnReceipts = Callable[[Sequence[PartReceipt]], "asyncio.Future[list[str | None]]"]
"""Makes receipts durable; resolves after COMMIT. Raises, or fails with, StoreBusy and StoreFailed."""

OnLate = Callable[[Work, Submitted], None]
"""An attempt that ended as unknown was taken after all."""

UNKNOWN_MAX = 5  # attempts of one SMS without an answer; counted in memory
_UNKNOWN_REMEMBERED = 10_000
_NOTE_EVERY_S = 60.0
_AHEAD_S = 4.0  # at the operator's pace, the works under way are done in so long
_ASIDE_MAX = 1000
_MODES = {"trx": (BindMode.TRX,), "tx": (BindMode.TX,), "tx+rx": (BindMode.TX, BindMode.RX)}


@dataclass(frozen=True, slots=True)
class LinkState:
    """What metrics show of the binds of one operator."""

    binds: int
    bound: int
    outstanding: int
    waiting: int
    throttled: int
    pace_per_s: float
    """0 while it is not limited."""


class SmppOperator:
    """An upstream on `smpp.esme`."""

    recipients_per_work = 1

    def __init__(
        self,
        name: str,
        settings: SmppUpstream,
        *,
        clock: Clock,
        on_receipts: OnReceipts,
        on_late: OnLate = lambda _work, _submitted: None,
        leases: Leases | None = None,
        may_send: MaySend = always,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._may_send = may_send
        self.names = settings.alphanumeric_source
        self._slots = settings.window * settings.binds
        self._aside = 0
        self._pace = Pace(settings.rate_per_s)
        self._links: Links | None = None  # from `start` on
        self._settings = settings
        self._clock = clock
        self._on_receipts = on_receipts
        self._on_late = on_late
        self._unknown: dict[tuple[str, str, int], int] = {}  # unanswered attempts, by delivery
        self._builder = SubmitSmBuilder(settings)
        self._id_form = receipts.IdForm(settings.message_id_format)
        self._turn = 0
        self._refused = 0
        self._note_at_s = float("-inf")
        self._binds = [
            LeasedBind(
                f"upstream:{name}:{number}", mode, partial(self._esme, mode, tls), leases, self._binds_changed
            )
            for number, mode in enumerate(_MODES[settings.bind] * settings.binds)
        ]
        self._submitters = [bind for bind in self._binds if bind.mode is not BindMode.RX]
        self.serving = False
        """Whether a bind to submit on is this process's to keep."""

    # --- the port ------------------------------------------------------------------------------------

    @property
    def concurrency(self) -> int:
        """The window of all binds, less at a slow pace; and whatever waits aside, for it takes no turn."""
        slots = self._slots
        if self._pace.limited:
            slots = min(slots, max(2, int(_AHEAD_S * self._pace.per_s)))
        return slots + self._aside if self._aside < _ASIDE_MAX else slots + _ASIDE_MAX

    def destination(self, address: str) -> str:
        """Everything waits in one queue."""
        del address
        return self.name

    def segments(self, text: str) -> int:
        """How many segments `text` becomes at this operator. Raises smpp.text.TextError."""
        return self._builder.segments(text)

    async def start(self, links: Links) -> None:
        """Begins to bind; the binds are kept up until `stop`."""
        self._links = links
        for bind in self._binds:
            bind.start()

    def withdraw(self) -> None:
        """What waits for its turn on a link leaves within the drain, or is dropped when the link unbinds."""

    async def stop(self, drain_s: float) -> None:
        """Unbinds every bind."""
        await asyncio.gather(*(bind.stop(drain_s) for bind in self._binds))

    def deliver(self, work: Work) -> "asyncio.Future[Sequence[Outcome]]":
        """Submits every segment for the one recipient of the work."""
        esme = self._next_bound()
        if esme is None:
            future: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
            future.set_result([Deferred(reply="no bind is up", after_s=REST_S, rest_s=REST_S, counts=False)])
            return future
        pdus = self._builder.build(work.message, work.deliveries[0], now_ms=self._clock.now_ms())
        return Segments(work, esme, pdus, self._ended, self._answered_late, self._set_aside).future

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
            pace_per_s=self._pace.per_s if self._pace.limited else 0.0,
        )

    # --- out: submit_sm --------------------------------------------------------------------------------

    def _next_bound(self) -> Esme | None:
        """The binds in turn; one on which nothing passes only if there is no other."""
        probing = None
        for _ in self._submitters:
            self._turn = (self._turn + 1) % len(self._submitters)
            esme = self._submitters[self._turn].esme
            if esme is not None and esme.bound:
                if not esme.probing:
                    return esme
                probing = esme
        return probing

    def _ready(self) -> None:
        if self._links is not None:
            self._links.ready(self.name)

    def _more(self) -> None:
        if self._links is not None:
            self._links.more(self.name)

    def _set_aside(self, change: int) -> None:
        self._aside += change
        if change > 0:
            self._more()

    def _ended(self, work: Work, results: Sequence[SubmitResult]) -> Outcome:
        outcome = outcome_of(self.name, results, receipts=self._settings.receipts)
        unanswered = isinstance(outcome, Unknown) and any(one.detail == NO_ANSWER for one in results)
        return self._capped(work, outcome) if unanswered else outcome

    def _capped(self, work: Work, outcome: Outcome) -> Outcome:
        """Each try may be a duplicate: after a few without an answer on a link that lives, it has failed.

        What was under way when a link was lost does not count: another message may have brought it down.
        """
        key = (work.message.account_id, work.message.id, work.deliveries[0].n)
        times = self._unknown.pop(key, 0) + 1
        if times >= UNKNOWN_MAX:
            return Failed(reply=outcome.reply, reason="unknown")
        self._unknown[key] = times
        if len(self._unknown) > _UNKNOWN_REMEMBERED:
            del self._unknown[next(iter(self._unknown))]
        return outcome

    def _late_response(self, _request: Pdu, response: Response, told: object) -> None:
        if isinstance(told, Segment):
            told.answered_late(response)

    def _answered_late(self, work: Work, results: Sequence[SubmitResult]) -> None:
        """The SMSC has taken the SMS after all: it need not be tried again, if that has not happened yet."""
        log.info("submit_sm_answered_late", upstream=self.name, message_id=work.message.id)
        if self._settings.receipts:
            self._on_late(work, submitted(self.name, results))

    # --- in: deliver_sm --------------------------------------------------------------------------------

    async def _deliver_many(self, pdus: Sequence[DeliverSm | DataSm]) -> Sequence[int]:
        """Receipts are durable before they are answered; other messages are not ours to take."""
        statuses = [int(CommandStatus.ESME_ROK)] * len(pdus)
        parts: list[PartReceipt] = []
        places: list[int] = []
        now_ms = self._clock.now_ms()
        for place, pdu in enumerate(pdus):
            told = receipts.told(pdu)
            if told is None:
                self._note_refused()
                statuses[place] = CommandStatus.ESME_RX_R_APPN
            elif told.final and told.message_id and told.state is not None:
                places.append(place)
                parts.append(
                    PartReceipt(
                        upstream=self.name,
                        ids=receipts.keys(told.message_id, self._id_form),
                        delivered=told.state is MessageState.DELIVERED,
                        state=told.state.name,
                        error=told.error,
                        received_ms=now_ms,
                    )
                )
        try:
            if parts:
                await self._on_receipts(parts)
        except (StoreBusy, StoreFailed):
            for place in places:
                statuses[place] = CommandStatus.ESME_RX_T_APPN  # section 5.1.3: the SMSC sends it again
        return statuses

    def _note_refused(self) -> None:
        """Logs what is not ours to take, at most once a minute: an SMSC may flood us."""
        self._refused += 1
        now_s = self._clock.monotonic_s()
        if now_s >= self._note_at_s:
            log.warning("mobile_originated_refused", upstream=self.name, count=self._refused)
            self._refused, self._note_at_s = 0, now_s + _NOTE_EVERY_S

    # --- the binds ---------------------------------------------------------------------------------------

    def _binds_changed(self) -> None:
        kept = sum(bind.esme is not None for bind in self._submitters)
        self.serving = kept > 0
        # The others' share of the rate is other processes'.
        self._pace.cap(self._settings.rate_per_s * kept / len(self._submitters) if kept else 0.0)

    def _esme(self, mode: BindMode, tls: ssl.SSLContext | None) -> Esme:
        def told(bound: bool, reason: str) -> None:
            if bound:
                log.info("upstream_bound", upstream=self.name, mode=mode.name)
                if mode is not BindMode.RX:
                    self._ready()
            elif esme.stopping:
                log.info("upstream_unbound", upstream=self.name, mode=mode.name, reason=reason)
            else:
                log.warning("upstream_unbound", upstream=self.name, mode=mode.name, reason=reason)

        esme = Esme(
            self._config(self._settings, mode, tls),
            on_deliver_many=self._deliver_many,
            on_state=told,
            on_late=self._late_response,
            pace=self._pace,
            may_send=self._may_send,
            clock=self._clock.monotonic_s,
        )
        return esme

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
            connect_timeout_s=settings.connect_timeout_s,
            enquire_link_s=settings.enquire_link_s,
            response_timeout_s=settings.response_timeout_s,
            reconnect_initial_s=settings.reconnect_min_s,
            reconnect_max_s=settings.reconnect_max_s,
        )
