"""SMTP submission: answers what the SMTP server asks, in the words of the road.

The server (`smtp.server`) speaks the protocol; here a session becomes an account, an envelope a submission,
and a verdict a reply. Texts to clients say what to do and tell nothing of anybody else.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Mapping
from functools import partial

from config.schema import Settings
from gateway.accounts.auth import Authenticator, AuthRefused, Principal
from gateway.accounts.secrets import CredentialKind
from gateway.clock import Clock
from gateway.credits.service import Credits
from gateway.ingress.trusted import Trusted
from gateway.messages.accept.acceptor import Acceptor, KeyInUse
from gateway.messages.model import Verdict
from gateway.messages.observer import Observer
from gateway.messages.route import Router
from gateway.messages.shape.mail import MailShaper, MailSubmission
from gateway.store.errors import StoreBusy, StoreDamaged, StoreFailed
from gateway.store.idempotency import IdempotencyKey, KeyReused
from policy.verdict import Reason
from smtp.address import Mailbox
from smtp.codes import Code, Reply, Status
from smtp.server import ServerConfig
from smtp.server_api import Answer, Envelope, Identity, MailParameters, Session

INGRESS = "smtp"
_TLS_HANDSHAKE_S = 30.0

_WRONG = Reply(Code.AUTH_INVALID, Status.CREDENTIALS_INVALID, "Username or password is wrong")
_BUSY = Reply(Code.LOCAL_ERROR, Status.SYSTEM_ERROR, "The store is busy, try again in a moment")
_FULL = Reply(Code.INSUFFICIENT_STORAGE, Status.SYSTEM_FULL, "The store cannot write, try again later")
_KEY_IN_USE = Reply(Code.LOCAL_ERROR, Status.SYSTEM_ERROR, "This Idempotency-Key is in use, try again")
_KEY_REUSED = Reply(Code.FAILED, Status.POLICY, "This Idempotency-Key was used with another message")
_LOGIN_FIRST = Reply(Code.AUTH_REQUIRED, Status.POLICY, "Authentication required")
_REVOKED = Reply(Code.UNAVAILABLE, Status.POLICY_TEMPORARY, "These credentials are no longer valid")

# The reply for each reason of refusal; reasons not named here are policy.
_CODES: Mapping[str, tuple[Code, Status]] = {
    Reason.INSUFFICIENT_CREDITS: (Code.INSUFFICIENT_STORAGE, Status.QUOTA),
    Reason.SENDER_NOT_ALLOWED: (Code.REFUSED, Status.NOT_AUTHORISED),
    Reason.BAD_SENDER: (Code.BAD_MAILBOX, Status.SENDER_SYNTAX),
    Reason.BAD_HEADER: (Code.FAILED, Status.CONTENT),
    Reason.BAD_STRUCTURE: (Code.FAILED, Status.CONTENT),
    Reason.FIELD_TOO_LARGE: (Code.TOO_BIG, Status.SYSTEM_TOO_BIG),
    Reason.NO_ROUTE: (Code.REFUSED, Status.NO_SUCH_DOMAIN),
}
_EXCUSES: dict[type[Exception], Reply] = {
    StoreBusy: _BUSY,
    StoreFailed: _FULL,
    StoreDamaged: _BUSY,
    KeyInUse: _KEY_IN_USE,
    KeyReused: _KEY_REUSED,
}


class SmtpIngress:
    """The application behind the submission server."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        acceptor: Acceptor,
        shaper: MailShaper,
        router: Router,
        credits: Credits,
        trusted: Trusted,
        clock: Clock,
        observer: Observer,
        idempotency_ms: int,
    ) -> None:
        self._authenticator = authenticator
        self._acceptor = acceptor
        self._shaper = shaper
        self._router = router
        self._credits = credits
        self._trusted = trusted
        self._clock = clock
        self._observer = observer
        self._idempotency_ms = idempotency_ms

    async def authenticate(self, session: Session, username: str, password: str) -> Identity | Reply:
        """The account's identity, 535 5.7.8, or 454 4.7.0 while guessing is slowed."""
        try:
            principal = await self._authenticator.password(
                CredentialKind.SMTP, username, password, session.peer_host
            )
        except AuthRefused as refused:
            self._observer.auth_failed(INGRESS, refused.reason)
            if refused.reason in {"slow_down", "busy"}:
                wait_s = max(1, round(refused.retry_after_s))
                text = f"Too many failures, try again in {wait_s} seconds"
                return Reply(Code.AUTH_TEMPORARY, Status.POLICY_TEMPORARY, text)
            if refused.reason in {"suspended", "closed"}:
                return Reply(Code.AUTH_INVALID, Status.NOT_AUTHORISED, refused.detail)
            return _WRONG
        except (StoreBusy, StoreFailed):
            return Reply(Code.AUTH_TEMPORARY, Status.POLICY_TEMPORARY, "Try again in a moment")
        return Identity(name=username, context=principal, owner=principal.account_id)

    def check_sender(
        self,
        session: Session,
        identity: Identity | None,
        sender: Mailbox | None,
        size: int | None,
        params: MailParameters,
    ) -> Answer:
        """The reverse-path must be of a verified domain of the account; the null one is welcome."""
        del size, params
        principal = self._peek(session, identity)
        if principal is not None and (
            sender is None or self._shaper.may_send(principal.account_id, sender.domain)
        ):
            return None
        return self._check_sender(session, identity, sender)

    async def _check_sender(
        self, session: Session, identity: Identity | None, sender: Mailbox | None
    ) -> Reply | None:
        principal = await self._principal(session, identity)
        if principal is None:
            return _LOGIN_FIRST if identity is None else _REVOKED
        if sender is None:
            return None
        verdict = await self._shaper.check_sender_address(principal.account_id, str(sender))
        if verdict is None:
            return None
        self._observer.refused("mail", INGRESS, verdict.refused or "other")
        return _refusal(verdict)

    def check_recipient(
        self,
        session: Session,
        identity: Identity | None,
        sender: Mailbox | None,
        recipient: Mailbox,
        count_so_far: int,
    ) -> Answer:
        """452 4.2.2 where the balance is known not to cover one more recipient."""
        del sender
        route = self._router.mail(str(recipient))
        if route is None:
            self._observer.refused("mail", INGRESS, Reason.NO_ROUTE)
            return Reply(Code.REFUSED, Status.NO_SUCH_DOMAIN, "No route of this gateway serves this domain")
        price = route.price_credits * (count_so_far + 1)
        principal = self._peek(session, identity)
        if principal is not None and self._credits.peek_covers(principal.account_id, "mail", price):
            return None
        return self._check_credits(session, identity, price)

    async def _check_credits(
        self, session: Session, identity: Identity | None, price_credits: int
    ) -> Reply | None:
        principal = await self._principal(session, identity)
        if principal is None:
            return _REVOKED
        if await self._credits.covers(principal.account_id, "mail", price_credits):
            return None
        self._observer.refused("mail", INGRESS, Reason.INSUFFICIENT_CREDITS)
        return Reply(
            Code.INSUFFICIENT_STORAGE,
            Status.QUOTA,
            "Not enough mail credits for this recipient; buy some",
        )

    def submit(
        self, session: Session, identity: Identity | None, envelope: Envelope
    ) -> Reply | Awaitable[Reply]:
        """250 once the message is durable and paid for (A1)."""
        principal = self._peek(session, identity)
        if principal is None:
            return self._submit(session, identity, envelope)
        now_ms = self._clock.now_ms()
        shaped = self._shaper.shape_now(_submission(principal, session, envelope), now_ms=now_ms)
        if shaped is None or shaped.key is not None:
            return self._submit(session, identity, envelope)
        try:
            verdicts = self._acceptor.begin(principal.account_id, [shaped.slot], ingress=INGRESS)
        except StoreBusy:
            return _BUSY
        if isinstance(verdicts, list):
            return _reply(verdicts[0])
        reply: asyncio.Future[Reply] = verdicts.get_loop().create_future()
        verdicts.add_done_callback(partial(_pass_on, reply))
        return reply

    async def _submit(self, session: Session, identity: Identity | None, envelope: Envelope) -> Reply:
        """The same, where something has to be looked up first, or a key to be kept."""
        principal = await self._principal(session, identity)
        if principal is None:
            return _REVOKED
        now_ms = self._clock.now_ms()
        shaped = await self._shaper.shape(_submission(principal, session, envelope), now_ms=now_ms)
        key = None
        if shaped.key is not None:
            digest = _digest(envelope)
            key = IdempotencyKey(shaped.key, digest, now_ms + self._idempotency_ms)
        del envelope  # a large mail waits for its COMMIT as one copy, not two
        try:
            (verdict,) = await self._acceptor.accept(
                principal.account_id, [shaped.slot], key, ingress=INGRESS
            )
        except (StoreBusy, StoreFailed, KeyInUse, KeyReused) as error:
            return _EXCUSES[type(error)]
        return _reply(verdict)

    def _peek(self, session: Session, identity: Identity | None) -> Principal | None:
        """The session's account as it is now, if that is known without a read; None: ask `_principal`."""
        if identity is None:
            return self._trusted.peek(session.peer_host)
        if isinstance(identity.context, Principal):
            return self._authenticator.peek(identity.context)
        return None

    async def _principal(self, session: Session, identity: Identity | None) -> Principal | None:
        """The session's account as it is now; None without one, or when it was withdrawn meanwhile."""
        if identity is None or not isinstance(identity.context, Principal):
            return await self._trusted.principal(session.peer_host) if self._trusted else None
        held = self._authenticator.peek(identity.context)
        if held is not None:
            return held
        try:
            return await self._authenticator.renew(identity.context)
        except AuthRefused:
            return None


def _submission(principal: Principal, session: Session, envelope: Envelope) -> MailSubmission:
    notify = {str(one.mailbox): ",".join(one.notify) for one in envelope.rcpt_tos if one.notify}
    return MailSubmission(
        account_id=principal.account_id,
        ingress=INGRESS,
        mail_from="" if envelope.mail_from is None else str(envelope.mail_from),
        recipients=[str(one.mailbox) for one in envelope.rcpt_tos],
        content=envelope.content,
        protocol=_protocol(session, envelope),
        peer=session.peer_host,
        helo=session.helo or "",
        smtputf8=envelope.smtputf8,
        body_8bit=envelope.body_8bit,
        envid=envelope.envid,
        ret=envelope.ret,
        notify=notify or None,
    )


def _protocol(session: Session, envelope: Envelope) -> str:
    """The "with" word of the Received field (RFC 3848, RFC 6531 section 4.3)."""
    if not session.esmtp:
        return "SMTP"
    name = "UTF8SMTP" if envelope.smtputf8 else "ESMTP"
    return f"{name}{'S' if session.tls else ''}{'A' if session.identity else ''}"


def _digest(envelope: Envelope) -> bytes:
    """What an idempotency key stands for: the envelope and the octets."""
    digest = hashlib.sha256(envelope.content)
    for address in (envelope.mail_from, *(one.mailbox for one in envelope.rcpt_tos)):
        digest.update(f"\0{address}".encode())
    return digest.digest()


def _pass_on(reply: "asyncio.Future[Reply]", done: "asyncio.Future[list[Verdict]]") -> None:
    """The reply for what became of the message; one who has gone away gets none."""
    if reply.done():
        return
    error = asyncio.InvalidStateError("cancelled") if done.cancelled() else done.exception()
    if error is None:
        reply.set_result(_reply(done.result()[0]))
    elif isinstance(error, Exception) and type(error) in _EXCUSES:
        reply.set_result(_EXCUSES[type(error)])
    else:
        reply.set_exception(error)


def _reply(verdict: Verdict) -> Reply:
    if verdict.accepted:
        return Reply(Code.OK, Status.OK, f"Ok: queued as {verdict.id}")
    return _refusal(verdict)


def _refusal(verdict: Verdict) -> Reply:
    code, status = _CODES.get(verdict.refused or "", (Code.FAILED, Status.POLICY))
    return Reply(code, status, (verdict.detail or "Refused").replace("\n", " "))


def server_config(settings: Settings, tls_context: ssl.SSLContext | None) -> ServerConfig:
    """What the submission server is told, from the configuration."""
    smtp = settings.smtp
    return ServerConfig(
        hostname=settings.server.name,
        size_limit_octets=smtp.size_limit_octets,
        max_recipients=smtp.max_recipients,
        tls_context=tls_context,
        auth_required=not smtp.trusted,  # the ingress asks whoever is not trusted to log in
        allow_plain_auth_on_loopback=smtp.plain_auth_on_loopback,
        line_endings=smtp.line_ends,
        idle_timeout_s=smtp.idle_timeout_s,
        data_timeout_s=smtp.data_timeout_s,
        tls_handshake_timeout_s=min(_TLS_HANDSHAKE_S, smtp.idle_timeout_s),
        max_inflight_octets=smtp.in_flight_octets,
        auth_failure_limit=smtp.auth_failures_max,
    )
