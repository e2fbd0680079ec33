"""DSNs (RFC 3464): a failed mail is told to its envelope sender.

A DSN is a message of the same account, free of charge, from the null reverse-path, and made durable in
the transaction that settles the failure. It goes only to a sender of a verified domain of the account, never
in answer to a null reverse-path (RFC 5321 section 4.5.5), nor where NOTIFY forbids it (RFC 3461, 4.1).
"""

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.clock import Clock
from gateway.ids import IdFactory
from gateway.messages.model import REPORT, Channel, Delivery, MailEnvelope, Message, Status, Work
from gateway.messages.route import Router
from gateway.messages.settle.settlement import Settlement
from gateway.messages.shape.mail import SenderDomains
from smtp.codes import Reply
from smtp.dsn import Action, Notification, RecipientStatus, build
from smtp.headers import HeaderError, parse

_REPLY = re.compile(r"(?P<code>[245]\d\d) (?:(?P<enhanced>[245]\.\d{1,3}\.\d{1,3}) )?(?P<text>.*)")
_EXPIRED = "5.4.7"  # RFC 3463 section 3.5: delivery time expired
_OTHER = "5.0.0"


class Dsns:
    """Makes the DSNs that failures owe."""

    def __init__(
        self,
        *,
        server_name: str,
        lifetime_ms: int,
        domains: SenderDomains,
        router: Router,
        ids: IdFactory,
        clock: Clock,
    ) -> None:
        self._server_name = server_name
        self._lifetime_ms = lifetime_ms
        self._domains = domains
        self._ids = ids
        self._clock = clock
        self._router = router

    async def __call__(self, work: Work, settlements: Sequence[Settlement]) -> Sequence[Message]:
        """The DSNs owed for the failures among `settlements`: one message, or none."""
        envelope = work.message.envelope
        if not isinstance(envelope, MailEnvelope) or not envelope.mail_from:
            return ()
        failed = [
            (delivery, one)
            for delivery, one in zip(work.deliveries, settlements, strict=True)
            if one.status is Status.FAILED and _wanted(envelope, delivery)
        ]
        if not failed:
            return ()
        domain = envelope.mail_from.rpartition("@")[2]
        route = self._router.mail(envelope.mail_from)
        if route is None or not await self._domains.allowed(work.message.account_id, domain):
            return ()
        return [self._dsn(work.message, envelope, failed, route.destination)]

    def _dsn(
        self,
        message: Message,
        envelope: MailEnvelope,
        failed: list[tuple[Delivery, Settlement]],
        destination: str,
    ) -> Message:
        now_ms = self._clock.now_ms()
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        dsn_id = self._ids.new(now_ms)
        try:
            original = parse(message.content)[0]
        except HeaderError:
            original = []
        content = build(
            Notification(
                reporting_mta=self._server_name,
                author=f"postmaster@{self._server_name}",
                to=envelope.mail_from,
                recipients=[_status(delivery, one, now) for delivery, one in failed],
                arrival=datetime.fromtimestamp(message.accepted_ms / 1000, UTC),
                envelope_id=envelope.envid or "",
                original=original,
            ),
            date=now,
            message_id=f"<{dsn_id}@{self._server_name}>",
            boundary=secrets.token_hex(12),
        )
        return Message(
            account_id=message.account_id,
            id=dsn_id,
            channel=Channel.MAIL,
            ingress=REPORT,
            sender="",
            subject=f"Delivery report for {message.id}",
            envelope=MailEnvelope(mail_from=""),
            content=content,
            accepted_ms=now_ms,
            expires_ms=now_ms + self._lifetime_ms,
            deliveries=[
                Delivery(
                    n=0,
                    address=envelope.mail_from,
                    destination=destination,
                    price_credits=0,
                    next_attempt_ms=now_ms,
                )
            ],
            recipients=1,
        )


def _wanted(envelope: MailEnvelope, delivery: Delivery) -> bool:
    """Whether NOTIFY lets a failure be told (RFC 3461 section 4.1): not said means yes."""
    notify = (envelope.notify or {}).get(delivery.address)
    return notify is None or "FAILURE" in notify.upper()


def _status(delivery: Delivery, one: Settlement, now: datetime) -> RecipientStatus:
    found = _REPLY.fullmatch(one.reply or "")
    if one.detail.get("reason") == "expired":
        status = _EXPIRED
    else:
        status = (found["enhanced"] if found else None) or _OTHER
    diagnostic = None
    if found is not None:
        diagnostic = Reply(int(found["code"]), found["enhanced"] or "", found["text"])
    return RecipientStatus(
        address=delivery.address,
        action=Action.FAILED,
        status=status,
        diagnostic=diagnostic,
        last_attempt=now,
    )
