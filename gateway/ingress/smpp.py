"""SMPP for clients: here we are the SMSC, and every submit_sm takes the same road as any other SMS.

`smpp.smsc` speaks the protocol; here a bind becomes an account, a submit_sm a submission, and a verdict a
command_status. submit_sm_resp ESME_ROK leaves after COMMIT (A1). What one read brings is accepted together,
in one task and one operation of the store, however many submit_sm it is.

SMPP knows no idempotency keys: a client that repeats a submit_sm whose answer it missed sends the message
twice. Sections cited are those of SMPP v3.4.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from gateway.accounts.auth import Authenticator, AuthRefused, Principal
from gateway.accounts.probe_key import ProbeKey
from gateway.accounts.secrets import CredentialKind
from gateway.doors.door import Door
from gateway.ground import Ground
from gateway.ingress.receipt_sender import ReceiptSender, Receiver
from gateway.ingress.smpp_submit import Refusal, client_envelope, format_time, status_of, submission_of
from gateway.jobs.loop import Job, Loop, Watch
from gateway.messages.model import Channel, Message, SmsEnvelope, Verdict
from gateway.messages.observer import Observer
from gateway.messages.queue.cancel import Cancelling
from gateway.messages.queue.cancel import locks as cancel_locks
from gateway.messages.receipts import client as client_receipts
from gateway.messages.receipts.client import INGRESS
from gateway.rate import Buckets
from gateway.road import Road
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.tx import Tx
from policy.retention import DAY_MS
from policy.verdict import Reason
from smpp.application import Application, BindRequest, Bound
from smpp.constants import INTERFACE_VERSION, CommandStatus
from smpp.pdu import CancelSm, QuerySm, QuerySmResp, SubmitSm
from smpp.smsc import Answer, SmscConfig, SmscServer
from smpp.states import BindMode

log = structlog.get_logger(__name__)

SYSTEM_ID = "gateway"
_ROK = int(CommandStatus.ESME_ROK)
_THROTTLED: Answer = (int(CommandStatus.ESME_RTHROTTLED), "")
_FORBIDDEN: Answer = (int(CommandStatus.ESME_RSUBMITFAIL), "")
_CHECK_S = 1.0  # how often open binds are compared with their credentials
_BINDS_SHARE = 2  # an account may have one in so many of all connections
_REFUSED_BINDS = {
    "credentials": CommandStatus.ESME_RINVPASWD,  # also for an unknown system_id: it must look the same
    "malformed": CommandStatus.ESME_RINVSYSID,
}


@dataclass(slots=True, eq=False)
class _Bind:
    """One bind of a client: the context of its `Bound`."""

    principal: Principal
    peer: str
    noted_ms: int
    """When it was last written that this credential logs in from there."""
    receiver: Receiver | None = None
    tlvs: bool = True


class SmppIngress:
    """The door: one or two listeners, and the sender of receipts."""

    def __init__(
        self,
        ground: Ground,
        road: Road,
        *,
        observer: Observer,
        door: Door,
        tls_context: ssl.SSLContext | None = None,
        probe_key: ProbeKey | None = None,
        reuse_port: bool = False,
        watch: Watch | None = None,
    ) -> None:
        settings = ground.settings.smpp
        self.application = SmppApplication(ground, road, observer, probe_key, watch)
        road.offers.listen(self.application.receipts.offer)
        self._server = SmscServer(
            self.application, _config(ground, settings.port, None, reuse_port=reuse_port), door
        )
        self._tls_server: SmscServer | None = None
        if settings.tls_port and tls_context is not None:
            config = _config(ground, settings.tls_port, tls_context, reuse_port=reuse_port)
            self._tls_server = SmscServer(self.application, config, door)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def tls_port(self) -> int:
        """Where it listens with TLS; 0 if it does not."""
        return 0 if self._tls_server is None else self._tls_server.port

    @property
    def binds(self) -> int:
        """How many binds are open."""
        return len(self.application.binds)

    async def start(self) -> None:
        """Listens. Raises OSError if a port is taken; then nothing listens."""
        await self._server.start()
        if self._tls_server is not None:
            try:
                await self._tls_server.start()
            except OSError:
                await self._server.stop(0)
                raise
        await self.application.start()

    async def stop(self, drain_s: float) -> None:
        """Takes no more binds, answers what is under way within `drain_s` seconds, unbinds everybody."""
        await self.application.receipts.pause()
        servers = [server for server in (self._server, self._tls_server) if server is not None]
        await asyncio.gather(*(server.stop(drain_s) for server in servers))
        await self.application.stop()


def _config(ground: Ground, port: int, tls: ssl.SSLContext | None, *, reuse_port: bool) -> SmscConfig:
    settings = ground.settings.smpp
    return SmscConfig(
        host=settings.host,
        port=port,
        system_id=SYSTEM_ID,
        tls=tls,
        reuse_port=reuse_port,
        submit_window=settings.window,
        deliver_window=settings.window,
        session_init_s=settings.bind_timeout_s,
        enquire_link_s=settings.enquire_link_s,
        inactivity_s=settings.inactivity_s,
    )


class SmppApplication(Application):
    """What the SMSC asks, answered by the road."""

    def __init__(
        self,
        ground: Ground,
        road: Road,
        observer: Observer,
        probe_key: ProbeKey | None = None,
        watch: Watch | None = None,
    ) -> None:
        settings = ground.settings
        self._probe_key = probe_key
        self._authenticator = ground[Authenticator]
        self._cancelling = ground[Cancelling]
        self._store = ground.store
        self._clock = ground.clock
        self._road = road
        self._observer = observer
        self._default_country = settings.sms.default_country
        self._account_binds_max = max(1, settings.smpp.max_connections // _BINDS_SHARE)
        self._account_binds: Counter[str] = Counter()
        self._buckets = Buckets()
        self._checker = Loop(
            Job(name="binds_check", work=self._check_binds, every_s=_CHECK_S, failed="client_check_failed"),
            watch,
        )
        self.binds: set[Bound] = set()
        self.receipts = ReceiptSender(
            ground.store,
            ground.clock,
            holder=road.tenure.process,
            window=settings.smpp.window,
            kept=settings.smpp.receipts_kept,
            lease_s=settings.store.lease_s,
            watch=watch,
        )

    async def start(self) -> None:
        """Begins to offer receipts and to look after open binds."""
        await self.receipts.start()
        await self._checker.start()

    async def stop(self) -> None:
        """To be called when no bind is left."""
        await self._checker.stop()
        await self.receipts.stop()

    # --- binds -----------------------------------------------------------------------------------------

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        """Lets a client in by system_id and password; its texts are status codes only (section 4.1)."""
        if not request.system_id:
            return self._bind_refused("malformed")
        if self._probe_key is not None and self._probe_key.matches(request.system_id, request.password):
            return request.accept(None)  # our own eye (R56): it may bind, and nothing else
        try:
            principal = await self._authenticator.password(
                CredentialKind.SMPP, request.system_id, request.password, request.peer
            )
        except AuthRefused as refused:
            return self._bind_refused(refused.reason)
        except (StoreBusy, StoreFailed):
            return CommandStatus.ESME_RSYSERR
        if self._account_binds[principal.account_id] >= self._account_binds_max:
            return self._bind_refused("too_many_binds")
        self._account_binds[principal.account_id] += 1
        # Section 3.2.4.1: an ESME of v3.3 is sent no TLVs.
        tlvs = request.pdu.interface_version >= INTERFACE_VERSION
        return request.accept(_Bind(principal, request.peer, self._clock.now_ms(), tlvs=tlvs))

    def _bind_refused(self, reason: str) -> CommandStatus:
        self._observer.auth_failed(INGRESS, reason)
        return _REFUSED_BINDS.get(reason, CommandStatus.ESME_RBINDFAIL)

    def ready(self, bound: Bound) -> None:
        """Receipts may flow from now on."""
        bind: _Bind | None = bound.context
        if bind is None:
            return
        self.binds.add(bound)
        log.info("client_bound", account_id=bind.principal.account_id, system_id=bound.system_id,
                 mode=bound.mode.name)  # fmt: skip
        if bound.mode is not BindMode.TX:
            bind.receiver = self.receipts.add(_client(bind), bound, tlvs=bind.tlvs)

    def unbound(self, bound: Bound, reason: str) -> None:
        """What was sent to it and not answered goes to its next bind."""
        bind: _Bind | None = bound.context
        if bind is None:
            return
        self.binds.discard(bound)
        self._account_binds[bind.principal.account_id] -= 1
        if not self._account_binds[bind.principal.account_id]:
            del self._account_binds[bind.principal.account_id]
        if bind.receiver is not None:
            self.receipts.remove(_client(bind), bind.receiver)
        log.info("client_unbound", account_id=bind.principal.account_id, system_id=bound.system_id,
                 reason=reason)  # fmt: skip

    async def _check_binds(self) -> None:
        """Unbinds whose credential was revoked, or whose account was suspended, since the bind."""
        for bound in tuple(self.binds):
            try:
                self._note(bound.context, await self._principal(bound))
            except AuthRefused as refused:
                log.info("client_turned_out", system_id=bound.system_id, reason=refused.reason)
                bound.close()

    def _note(self, bind: _Bind, principal: Principal) -> None:
        """A bind may stay for months; whoever breaks it then is to be known still."""
        now_ms = self._clock.now_ms()
        if now_ms - bind.noted_ms >= DAY_MS:
            bind.noted_ms = now_ms
            self._authenticator.stays(principal, bind.peer)

    async def _principal(self, bound: Bound) -> Principal:
        """Who the bind is, as of now; raises AuthRefused, StoreBusy, StoreFailed."""
        bind: _Bind = bound.context
        known = self._authenticator.peek(bind.principal)
        bind.principal = known or await self._authenticator.renew(bind.principal)
        return bind.principal

    # --- submit_sm -------------------------------------------------------------------------------------

    async def submit_many(self, bound: Bound, submits: Sequence[SubmitSm]) -> Sequence[Answer]:
        """The answers, after COMMIT. What comes in one read is accepted as one."""
        bind: _Bind | None = bound.context
        if bind is None:
            return [_FORBIDDEN] * len(submits)
        try:
            return await self._answers(bound, submits)
        except AuthRefused:
            bound.close()
            return [_FORBIDDEN] * len(submits)
        except StoreBusy:
            return [_THROTTLED] * len(submits)
        except StoreFailed:
            pass
        except Exception:
            log.exception("submit_sm_broke", system_id=bound.system_id)
        return [(int(CommandStatus.ESME_RSYSERR), "")] * len(submits)

    async def _answers(self, bound: Bound, pdus: Sequence[SubmitSm]) -> list[Answer]:
        """One answer per PDU, in order."""
        bind: _Bind = bound.context
        principal = self._authenticator.peek(bind.principal) or await self._principal(bound)
        bind.principal = principal
        now_ms = self._clock.now_ms()
        rate_per_s = principal.account.rate_per_s
        answers: list[Answer | None] = []
        messages: list[Message] = []
        for pdu in pdus:
            if rate_per_s is not None and not self._has_token(principal.account_id, rate_per_s):
                self._observer.refused(Channel.SMS, INGRESS, Reason.RATE)
                answers.append(_THROTTLED)
                continue
            slot = await self._shape(principal, pdu, now_ms)
            if isinstance(slot, Message):
                messages.append(slot)
                answers.append(None)
            else:
                self._observer.refused(Channel.SMS, INGRESS, slot.reason)
                answers.append((slot.status, ""))
        if not messages:
            return [answer or _THROTTLED for answer in answers]
        verdicts = await self._road.acceptor.accept(principal.account_id, messages, ingress=INGRESS)
        rest = iter(verdicts)
        return [_answer(next(rest)) if answer is None else answer for answer in answers]

    def _has_token(self, account_id: str, rate_per_s: int) -> bool:
        return self._buckets.take(account_id, rate_per_s, self._clock.monotonic_s()).allowed

    async def _shape(self, principal: Principal, pdu: SubmitSm, now_ms: int) -> Message | Refusal:
        """The message, or why not; a fault in one takes no other with it (A7)."""
        try:
            submission = submission_of(
                pdu, principal.account_id, now_ms=now_ms, default_country=self._default_country
            )
            if isinstance(submission, Refusal):
                return submission
            shaped = await self._road.sms.shape(submission, now_ms=now_ms)
        except StoreBusy:
            return Refusal(CommandStatus.ESME_RTHROTTLED, "busy")
        except Exception:
            log.exception("submit_sm_broke", account_id=principal.account_id)
            return Refusal(CommandStatus.ESME_RSYSERR, "internal")
        if not isinstance(shaped, Message) or not isinstance(shaped.envelope, SmsEnvelope):
            reason = getattr(shaped, "refused", None) or "other"
            return Refusal(status_of(reason), reason)
        shaped.envelope = client_envelope(shaped.envelope, pdu, principal.username)
        return shaped

    # --- query_sm, cancel_sm; replace_sm is refused as it stands (section 4.10 asks for nothing more) ----

    async def query(self, bound: Bound, query_sm: QuerySm) -> QuerySmResp:
        """The state of one of the account's own messages (section 4.8); others are not found."""
        account_id, message_id = bound.context.principal.account_id, query_sm.message_id
        found = None
        status = CommandStatus.ESME_RINVMSGID
        try:
            found = await self._store.read(
                lambda tx: client_receipts.message_state(tx, account_id, message_id)
            )
        except StoreBusy:
            status = CommandStatus.ESME_RTHROTTLED
        if found is None:
            return QuerySmResp(query_sm.sequence_number, status)
        state, finished_ms = found
        return QuerySmResp(
            query_sm.sequence_number,
            message_id=message_id,
            final_date="" if finished_ms is None else format_time(finished_ms),
            message_state=state,
        )

    async def cancel(self, bound: Bound, cancel_sm: CancelSm) -> int:
        """Cancels what still waits (section 4.9); groups of messages (no message_id) are not supported."""
        account_id, message_id = bound.context.principal.account_id, cancel_sm.message_id

        def change(tx: Tx) -> int:
            if client_receipts.message_state(tx, account_id, message_id) is None:
                return CommandStatus.ESME_RINVMSGID
            cancelled = self._cancelling.run(tx, account_id, message_id, Channel.SMS)
            return CommandStatus.ESME_ROK if cancelled else CommandStatus.ESME_RCANCELFAIL

        try:
            status = await self._store.write(change, locks=cancel_locks(account_id, message_id, Channel.SMS))
        except StoreBusy:
            return CommandStatus.ESME_RTHROTTLED
        except StoreFailed:
            return CommandStatus.ESME_RSYSERR
        self.receipts.wake()
        return status


def _answer(verdict: Verdict) -> Answer:
    if verdict.refused is None and verdict.id is not None:
        return _ROK, verdict.id
    return status_of(verdict.refused or ""), ""


def _client(bind: _Bind) -> client_receipts.Client:
    return bind.principal.account_id, bind.principal.username
