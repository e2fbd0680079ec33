"""From a mail submission to a message: may this account send it, and how does it leave us.

Used by every ingress that takes mail. It judges the sender (envelope and From must be of verified domains of
the account), completes the header (RFC 6409 section 8), routes and prices each recipient. What is refused
becomes a `Verdict` with a reason from a bounded set and a text that says what to do. No store is touched.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from gateway.ids import IdFactory
from gateway.messages.model import Channel, Delivery, MailEnvelope, Message, Verdict
from gateway.messages.route import Router
from gateway.turns import Slices
from policy.engine import Policy, Submission, judge
from policy.verdict import ACCEPT, Judgement, Reason, Refuse
from smtp.address import AddressError, Mailbox, parse_address
from smtp.codes import Permanent
from smtp.header_error import HeaderError, HeaderTooLargeError, StructureError
from smtp.headers import (
    AGENTS,
    Field,
    Trace,
    agents,
    author_addresses,
    check_lists,
    check_sizes,
    complete,
    join,
    parse,
    received,
    remove,
)
from smtp.limits import MailLimits
from smtp.mime import Steps, structure
from smtp.words import readable

KEY_HEADER = "idempotency-key"
SUBJECT_CHARS = 500  # kept of a subject, for lists and searches
_JUDGED_OCTETS = 262_144  # of a body that policies look at
_REASONS: dict[type[Permanent], Reason] = {
    HeaderError: Reason.BAD_HEADER,
    HeaderTooLargeError: Reason.FIELD_TOO_LARGE,
    StructureError: Reason.BAD_STRUCTURE,
}


class SenderDomains(Protocol):
    """Who may send from which domain; answers from memory."""

    def peek_allowed(self, account_id: str, domain: str) -> bool:
        """The same without a wait: False may mean that it is not known in memory yet."""
        ...

    async def allowed(self, account_id: str, domain: str) -> bool:
        """Whether the account has verified this domain (A-labels, lower case)."""
        ...


class MailSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as an ingress hands it over: the envelope, the octets, and what the API adds."""

    account_id: str
    ingress: str
    mail_from: str  # "" is the null reverse-path
    recipients: Sequence[str]  # local@domain, valid, in order
    content: bytes  # RFC 5322, CRLF line ends
    protocol: str  # for Received: ESMTPSA, HTTP (RFC 3848)
    peer: str
    helo: str = ""
    smtputf8: bool = False
    body_8bit: bool = False
    envid: str | None = None
    ret: str | None = None
    notify: dict[str, str] | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    send_at_ms: int | None = None
    composed: bool = False
    """Whether `smtp.compose` wrote it from fields that were judged before: only its whole size is new."""


class ShapedMail(msgspec.Struct, frozen=True):
    """What shaping gives: the slot for acceptance, and the idempotency key that the header carried."""

    slot: Message | Verdict
    key: str | None = None


class _Head(msgspec.Struct, frozen=True):
    """The header of a submission: its fields, the first of each name, and whom it says it is from.

    `senders` are From and the reverse-path, `agents` the fields beside From that name a sender, and whom.
    """

    fields: list[Field]
    body_start: int
    first: dict[str, Field]
    senders: list[str]
    agents: list[tuple[str, str]]


class MailShaper:
    """Shapes mail; holds only configuration and look-ups from memory."""

    def __init__(
        self,
        *,
        server_name: str,
        lifetime_ms: int,
        router: Router,
        domains: SenderDomains,
        policies: Sequence[Policy[Submission]],
        ids: IdFactory,
        limits: MailLimits,
        slices: Slices,
    ) -> None:
        self._server_name = server_name
        self._lifetime_ms = lifetime_ms
        self._router = router
        self._domains = domains
        self._policies = policies
        self._ids = ids
        self._limits = limits
        self._slices = slices
        self._smallest_octets = limits.smallest_octets

    async def shape(self, mail: MailSubmission, *, now_ms: int) -> ShapedMail:
        """A message ready for acceptance, or the verdict that refuses it."""
        shaped = self.shape_now(mail, now_ms=now_ms)
        if shaped is not None:
            return shaped
        head = self._head(mail)
        for address in head.senders:
            refusal = await self.check_sender_address(mail.account_id, address)
            if refusal is not None:
                return ShapedMail(refusal)
        for field, address in head.agents:
            if await self.check_sender_address(mail.account_id, address) is not None:
                return _foreign_agent(field, address)
        try:
            steps = self._structure(mail, head)
            if steps is not None:
                await self._slices.run(mail.account_id, steps)
        except StructureError as error:
            return _faulty(error)
        return self._shape(mail, head, now_ms)

    def shape_now(self, mail: MailSubmission, *, now_ms: int) -> ShapedMail | None:
        """The same without a wait; None where a sender's domain has to be looked up first, or a large mail's
        parts to be counted."""
        try:
            head = self._head(mail)
            steps = self._structure(mail, head)
        except (HeaderError, StructureError) as error:
            return _faulty(error)
        if not head.senders:
            return _refused(Reason.BAD_HEADER, "The From field is missing. Add one with an address of yours.")
        if steps is not None:
            return None
        for address in head.senders:
            if not self._may_send(mail.account_id, address):
                return None
        for _, address in head.agents:
            if not self._may_send(mail.account_id, address):
                return None
        return self._shape(mail, head, now_ms)

    def _head(self, mail: MailSubmission) -> _Head:
        """Raises HeaderError for a header that must not be sent on."""
        limits = self._limits
        fields, body_start = parse(mail.content, limits)
        first = {field.name: field for field in reversed(fields)}
        others: list[tuple[str, str]] = []
        if not mail.composed:
            if body_start > self._smallest_octets:
                check_sizes(fields, limits)
            count = mail.content.count
            if count(b",", 0, body_start) >= limits.author_addresses or (
                count(b"(", 0, body_start) > limits.comment_depth
            ):
                check_lists(fields, limits)
            if not first.keys().isdisjoint(AGENTS):
                others = agents(fields, limits)
        senders = author_addresses(fields, limits) if "from" in first else []
        if mail.mail_from and mail.mail_from not in senders:
            senders.append(mail.mail_from)
        return _Head(fields, body_start, first, senders, others)

    def _structure(self, mail: MailSubmission, head: _Head) -> Steps | None:
        """See `smtp.mime.structure`."""
        if mail.composed:
            return None
        return structure(mail.content, head.body_start, head.first.get("content-type"), self._limits)

    def _shape(self, mail: MailSubmission, head: _Head, now_ms: int) -> ShapedMail:
        """For a sender who may."""
        subject, key = head.first.get("subject"), head.first.get(KEY_HEADER)
        title = "" if subject is None else subject.value
        verdict = self._judge(mail, title, head.body_start)
        if isinstance(verdict, Refuse):
            return _refused(verdict.reason, f"{verdict}.")
        message_id = self._ids.new(now_ms)
        try:
            content = self._completed(mail, head, message_id, now_ms)
        except HeaderError as error:
            return _faulty(error)
        deliveries = self._deliveries(mail, now_ms)
        if isinstance(deliveries, Verdict):
            return ShapedMail(deliveries)
        message = Message(
            account_id=mail.account_id,
            id=message_id,
            channel=Channel.MAIL,
            ingress=mail.ingress,
            sender=mail.mail_from,
            subject=None if subject is None else readable(title, SUBJECT_CHARS),
            envelope=MailEnvelope(
                mail_from=mail.mail_from,
                smtputf8=mail.smtputf8,
                body_8bit=mail.body_8bit,
                envid=mail.envid,
                ret=mail.ret,
                notify=mail.notify,
            ),
            content=content,
            accepted_ms=now_ms,
            expires_ms=(mail.send_at_ms or now_ms) + self._lifetime_ms,
            deliveries=deliveries,
            recipients=len(deliveries),
            tags=mail.tags,
            metadata=mail.metadata,
            send_at_ms=mail.send_at_ms,
            author_domain=_domain(head.senders[0]) if head.first.get("from") else None,
        )
        return ShapedMail(message, None if key is None else key.value[:255] or None)

    def _judge(self, mail: MailSubmission, subject: str, body_start: int) -> Judgement:
        """What the acceptable-use policies say of the subject and the body as it travels."""
        if not self._policies:
            return ACCEPT
        body = mail.content[body_start : body_start + _JUDGED_OCTETS].decode("utf-8", "replace")
        view = Submission(
            channel="mail",
            sender=mail.mail_from,
            recipients=tuple(mail.recipients),
            texts=(subject, body),
        )
        return judge(self._policies, view)

    def may_send(self, account_id: str, domain: str) -> bool:
        """Whether the account may send from this domain; False: ask `check_sender_address`."""
        return self._domains.peek_allowed(account_id, domain)

    def _may_send(self, account_id: str, address: str) -> bool:
        try:
            return self._domains.peek_allowed(account_id, _domain(address))
        except AddressError:
            return False

    async def check_sender_address(self, account_id: str, address: str) -> Verdict | None:
        """None when the account may send from this address, else the verdict that says what to do."""
        try:
            mailbox: Mailbox = parse_address(address)
        except AddressError as error:
            return Verdict(
                channel="mail", refused=Reason.BAD_SENDER, detail=f"{address}: {error.reply.text}."
            )
        if await self._domains.allowed(account_id, mailbox.domain):
            return None
        return Verdict(
            channel="mail",
            refused=Reason.SENDER_NOT_ALLOWED,
            detail=f"{mailbox.unicode_domain} is not a verified sender domain of this account. "
            "Add it under /v1/domains, publish its DNS records, and let it be checked.",
        )

    def _completed(self, mail: MailSubmission, head: _Head, message_id: str, now_ms: int) -> bytes:
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        trace = Trace(
            helo=mail.helo,
            client_ip=mail.peer,
            by=self._server_name,
            protocol=mail.protocol,
            message_id=message_id,
        )
        kept = complete(
            remove(head.fields, KEY_HEADER) if KEY_HEADER in head.first else head.fields,
            now=now,
            message_id=f"<{message_id}@{self._server_name}>",
            mail_from=mail.mail_from,
            received=received(trace, now),
        )
        return join(kept, memoryview(mail.content)[head.body_start :])

    def _deliveries(self, mail: MailSubmission, now_ms: int) -> list[Delivery] | Verdict:
        deliveries = []
        for n, address in enumerate(dict.fromkeys(mail.recipients)):
            route = self._router.mail(address)
            if route is None:
                return Verdict(
                    channel="mail",
                    refused=Reason.NO_ROUTE,
                    detail=f"{address}: no mail route of this gateway serves this domain.",
                )
            deliveries.append(
                Delivery(
                    n=n,
                    address=address,
                    destination=route.destination,
                    price_credits=route.price_credits,
                    next_attempt_ms=mail.send_at_ms or now_ms,
                )
            )
        if not deliveries:
            return Verdict(
                channel="mail", refused=Reason.NO_RECIPIENTS, detail="Name at least one recipient."
            )
        return deliveries


@lru_cache(maxsize=4096)  # applications send from a few addresses
def _domain(address: str) -> str:
    """Raises AddressError."""
    return parse_address(address).domain


def _faulty(error: HeaderError | StructureError) -> ShapedMail:
    field = error.field if isinstance(error, HeaderError) else ""
    detail = f"{error.reply.text}. Correct the message and send it again."
    return _refused(_REASONS[type(error)], detail, field)


def _foreign_agent(field: str, address: str) -> ShapedMail:
    """A Sender or Resent-From that the account may not use: programs show it beside From, or instead."""
    detail = f"The field {field.title()} names {address}, which is not of a verified domain of this account."
    return _refused(Reason.BAD_HEADER, f"{detail} Leave the field out, or name an address of yours.", field)


def _refused(reason: Reason, detail: str, field: str | None = None) -> ShapedMail:
    return ShapedMail(Verdict(channel="mail", refused=reason, detail=detail, field=field))
