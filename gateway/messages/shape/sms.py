"""From an SMS submission to a message: numbers, sender, segments, price.

Used by every ingress that takes SMS. The sender is decided per destination country (R22, R23, R25); what was
asked for and what will be submitted are both kept in the envelope. What is refused becomes a `Verdict` that
says what to do. No store is touched.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from config.sections.messages import Sms
from config.sections.sendernames import SenderName
from gateway.ids import IdFactory
from gateway.messages.model import Channel, Delivery, Message, SmsEnvelope, Source, Verdict
from gateway.messages.route import Router
from policy import phone, sender_name
from policy.countries import CountryTable
from policy.engine import Policy, Submission, judge
from policy.verdict import Reason, Refuse
from smpp.text import TextError

_DECISIONS_REMEMBERED = 4096


class ApprovedNames(Protocol):
    """Which senders an account may use; answers from memory."""

    def peek_approved(self, account_id: str) -> frozenset[str] | None:
        """The account's approved ApprovedNames and numbers, if they are known without a read."""
        ...

    async def approved(self, account_id: str, *, wanted: str | None = None) -> frozenset[str]:
        """The account's approved ApprovedNames and numbers; a missing `wanted` is looked for anew."""
        ...


class SmsSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """An SMS as an ingress hands it over: a text, or (from SMPP clients) user data as it is."""

    account_id: str
    ingress: str
    source: str
    recipients: Sequence[str]
    text: str = ""
    user_data: bytes | None = None
    data_coding: int | None = None
    udhi: bool = False
    validity_s: int | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    send_at_ms: int | None = None


class SmsShaper:
    """Shapes SMS; holds only configuration and look-ups from memory."""

    def __init__(
        self,
        *,
        settings: Sms,
        sender_settings: SenderName,
        countries: CountryTable,
        router: Router,
        sender_names: ApprovedNames,
        policies: Sequence[Policy[Submission]],
        ids: IdFactory,
    ) -> None:
        self._settings = settings
        self._sender_settings = sender_settings
        self._countries = countries
        self._router = router
        self._sender_names = sender_names
        self._policies = policies
        self._ids = ids
        self._decided = lru_cache(_DECISIONS_REMEMBERED)(self._decide)

    async def shape(self, sms: SmsSubmission, *, now_ms: int) -> Message | Verdict:
        """A message ready for acceptance, or the verdict that refuses it."""
        if not sms.text and not sms.user_data:
            return _refused(Reason.EMPTY_TEXT, "The text is empty. Write at least one character.")
        if self._policies:
            view = Submission(
                channel="sms", sender=sms.source, recipients=tuple(sms.recipients), texts=(sms.text,)
            )
            verdict = judge(self._policies, view)
            if isinstance(verdict, Refuse):
                return _refused(verdict.reason, _sentence(verdict))
        approved = self._sender_names.peek_approved(sms.account_id)
        if approved is None or sms.source not in approved:
            approved = await self._sender_names.approved(sms.account_id, wanted=sms.source)
        deliveries: list[Delivery] = []
        sources: dict[str, Source] = {}
        most_segments = 1
        start_ms = sms.send_at_ms or now_ms
        recipients = sms.recipients if len(sms.recipients) == 1 else dict.fromkeys(sms.recipients)
        for n, text in enumerate(recipients):
            one = self._recipient(sms, text, approved)
            if isinstance(one, Verdict):
                return one
            most_segments = max(most_segments, one.segments)
            sources[one.number] = one.source
            deliveries.append(
                Delivery(
                    n=n,
                    address=one.number,
                    destination=one.destination,
                    price_credits=one.segments * one.price_credits,
                    next_attempt_ms=start_ms,
                )
            )
        if not deliveries:
            return _refused(Reason.NO_RECIPIENTS, "Name at least one recipient.")
        return self._message(sms, deliveries, sources, most_segments, now_ms)

    def _recipient(self, sms: SmsSubmission, text: str, approved: frozenset[str]) -> "_Recipient | Verdict":
        number = phone.parse(text, self._settings.default_country)
        if isinstance(number, Refuse):
            return _refused(Reason.BAD_NUMBER, _sentence(number))
        route = self._router.sms(number.e164)
        if route is None:
            return _refused(
                Reason.NO_ROUTE, f"No SMS route of this gateway serves numbers of {number.country}."
            )
        upstream = self._router.sms_upstream(route.upstream)
        source = self._decided(sms.source, number.country, approved, upstream.names)
        if isinstance(source, Verdict):
            return source
        try:
            segments = 1 if sms.user_data is not None else upstream.segments(sms.text)
        except TextError as error:
            return _refused(Reason.BAD_TEXT, f"The text cannot be sent: {error}.")
        if segments > self._settings.max_segments:
            return _refused(
                Reason.TOO_LONG,
                f"The text needs {segments} segments and {self._settings.max_segments} are allowed. "
                "Shorten it, or send it as several messages.",
            )
        return _Recipient(number.e164, route.destination, route.price_credits, segments, source)

    def _decide(
        self, requested: str, country: str, approved: frozenset[str], names_on_route: bool
    ) -> Source | Verdict:
        """What to submit as the source; pure, so that the answers can be remembered."""
        decision = sender_name.decide(
            requested,
            country,
            table=self._countries,
            approved=approved,
            fallback_number=self._sender_settings.fallback_number,
            numbers_need_approval=self._sender_settings.numbers_need_approval,
            names_on_route=names_on_route,
            max_length=self._sender_settings.max_length,
        )
        if decision.action == "reject":
            return _refused(Reason.SENDER_NAME, _sentence(decision))
        return Source(address=decision.source, ton=int(decision.ton), npi=int(decision.npi))

    def _message(
        self,
        sms: SmsSubmission,
        deliveries: list[Delivery],
        sources: dict[str, Source],
        segments: int,
        now_ms: int,
    ) -> Message:
        first = sources[deliveries[0].address]
        envelope = SmsEnvelope(
            requested_source=sms.source,
            source=first,
            sources={number: one for number, one in sources.items() if one != first}
            if len(sources) > 1
            else {},
            data_coding=sms.data_coding if sms.user_data is not None else None,
            udhi=sms.udhi,
            segments=segments,
            validity_s=sms.validity_s,
        )
        lifetime_s = min(sms.validity_s or self._settings.lifetime_s, self._settings.lifetime_s)
        return Message(
            account_id=sms.account_id,
            id=self._ids.new(now_ms),
            channel=Channel.SMS,
            ingress=sms.ingress,
            sender=sms.source,
            envelope=envelope,
            content=sms.user_data if sms.user_data is not None else sms.text.encode(),
            accepted_ms=now_ms,
            expires_ms=(sms.send_at_ms or now_ms) + lifetime_s * 1000,
            deliveries=deliveries,
            recipients=len(deliveries),
            tags=sms.tags,
            metadata=sms.metadata,
            send_at_ms=sms.send_at_ms,
        )


class _Recipient(msgspec.Struct, frozen=True):
    number: str
    destination: str
    price_credits: int
    segments: int
    source: Source


def _sentence(refusal: Refuse | sender_name.Decision) -> str:
    text = f"{refusal.text}; {refusal.advice}."
    return text[0].upper() + text[1:]


def _refused(reason: Reason, detail: str) -> Verdict:
    return Verdict(channel="sms", refused=reason, detail=detail)
