"""From outcome to settlement: the one place that decides what an attempt's end means for a delivery. Pure."""

from dataclasses import dataclass

from config.schema import Settings
from gateway.messages.events import EventKind
from gateway.messages.model import (
    Channel,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    Message,
    Outcome,
    Status,
    Submitted,
    Unknown,
)
from gateway.messages.settle.backoff import next_delay_s
from gateway.messages.settle.settlement import Settlement

_REPLY_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One channel's numbers: the retry schedule, what is refunded, how long receipts are awaited."""

    first_s: float
    factor: float
    max_s: float
    jitter: float
    refund_on: frozenset[str]
    receipt_timeout_ms: int = 0


def judge(
    message: Message, delivery: Delivery, outcome: Outcome, rules: Rules, *, now_ms: int, u: float
) -> Settlement:
    """What becomes of `delivery` after `outcome`; `u` in [0, 1) is the jitter's random number."""
    reply = _one_line(outcome.reply)
    counts = not (isinstance(outcome, Deferred) and not outcome.counts)
    attempts = delivery.attempts + 1 if counts else delivery.attempts
    one = Settlement(
        account_id=message.account_id,
        message_id=message.id,
        n=delivery.n,
        address=delivery.address,
        status=Status.QUEUED,
        attempts=attempts,
        next_attempt_ms=now_ms,
        at_ms=now_ms,
        reply=reply or None,
        detail={"reply": reply, "attempt": attempts} if reply else {"attempt": attempts},
        sms=message.channel is Channel.SMS,
        ingress=message.ingress,
        recipients=message.recipients,
    )
    match outcome:
        case Delivered():
            one.status, one.kind = Status.DELIVERED, EventKind.DELIVERED
        case Submitted():
            one.status, one.kind = Status.SENT, EventKind.SUBMITTED
            one.next_attempt_ms = now_ms + rules.receipt_timeout_ms
            one.upstream, one.upstream_ids = outcome.upstream, outcome.upstream_ids
        case Failed():
            _fail(one, outcome.reason, rules)
        case Deferred() | Unknown():
            _defer(one, message, outcome, rules, u=u)
        case _:
            raise TypeError(f"no such outcome: {outcome!r}")
    return one


def _fail(one: Settlement, reason: str, rules: Rules) -> None:
    one.status, one.kind = Status.FAILED, EventKind.FAILED
    one.detail["reason"] = reason
    one.refund = reason in rules.refund_on


def _defer(one: Settlement, message: Message, outcome: Deferred | Unknown, rules: Rules, *, u: float) -> None:
    if isinstance(outcome, Deferred) and outcome.after_s is not None:
        delay_s = outcome.after_s
    else:
        delay_s = next_delay_s(
            max(one.attempts, 1),
            first_s=rules.first_s,
            factor=rules.factor,
            max_s=rules.max_s,
            jitter=rules.jitter,
            u=u,
        )
    one.next_attempt_ms = one.at_ms + int(delay_s * 1000)
    if isinstance(outcome, Unknown):
        one.kind = EventKind.UNKNOWN
    elif outcome.counts:
        one.kind = EventKind.DEFERRED
    if one.next_attempt_ms >= message.expires_ms:
        _fail(one, "expired", rules)
        return
    one.detail["next_attempt_ms"] = one.next_attempt_ms


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_REPLY_MAX]


def channel_rules(settings: Settings) -> dict[Channel, Rules]:
    """The numbers of each channel, from the configuration."""
    mail, sms = settings.mail, settings.sms
    return {
        Channel.MAIL: Rules(
            first_s=mail.retry.first_s,
            factor=mail.retry.factor,
            max_s=mail.retry.max_s,
            jitter=mail.retry.jitter,
            refund_on=frozenset(mail.refund_on),
        ),
        Channel.SMS: Rules(
            first_s=sms.retry.first_s,
            factor=sms.retry.factor,
            max_s=sms.retry.max_s,
            jitter=sms.retry.jitter,
            refund_on=frozenset(sms.refund_on),
            receipt_timeout_ms=sms.receipt_timeout_s * 1000,
        ),
    }


def keeps_content(settings: Settings) -> bool:
    """Whether content is kept after the last delivery."""
    return settings.retention.content_hours > 0
