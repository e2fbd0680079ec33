"""Turns what the road tells into counts, in about a microsecond a call."""

from gateway.messages.model import (
    Deferred,
    Delivered,
    Failed,
    Message,
    Outcome,
    Status,
    Submitted,
    Unknown,
    Work,
)
from gateway.messages.observer import Observer
from gateway.messages.settle.settlement import Settlement
from gateway.observe.metrics import Metrics

_OUTCOMES: dict[type[Outcome], str] = {
    Delivered: "delivered",
    Submitted: "submitted",
    Deferred: "deferred",
    Failed: "failed",
    Unknown: "unknown",
}


class MetricsObserver(Observer):
    """Counts into `metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._accepted = metrics.accepted
        self._accept_seconds = metrics.accept_seconds
        self._debited = metrics.credits_debited
        self._deliveries = metrics.deliveries
        self._retries = metrics.retries
        self._end_to_end_seconds = metrics.end_to_end_seconds

    def accepted(self, message: Message, seconds: float) -> None:
        channel = message.channel
        deliveries = message.deliveries
        price = deliveries[0].price_credits if len(deliveries) == 1 else message.price_credits
        self._accepted[channel, message.ingress].inc()
        self._accept_seconds[channel,].observe(seconds)
        self._debited[channel,].inc(price)

    def refused(self, channel: str, ingress: str, reason: str) -> None:
        self._metrics.refused[channel, ingress, reason].inc()

    def attempted(self, work: Work, settlement: Settlement, outcome: Outcome) -> None:
        message = work.message
        channel = message.channel
        upstream = work.destination.partition("/")[0]
        status = settlement.status
        self._deliveries[channel, upstream, _name(status, outcome)].inc()
        if settlement.attempts > 1 and settlement.kind is not None:
            self._retries[channel, upstream].inc()
        if status is Status.DELIVERED:
            waited_ms = settlement.at_ms - (message.send_at_ms or message.accepted_ms)
            self._end_to_end_seconds[channel,].observe(waited_ms / 1000 if waited_ms > 0 else 0.0)
        elif settlement.refund:
            price = sum(one.price_credits for one in work.deliveries if one.n == settlement.n)
            self._metrics.refunded(channel, price)

    def receipted(self, upstream: str, status: str, seconds: float) -> None:
        self._deliveries["sms", upstream, status].inc()
        if status == Status.DELIVERED:
            self._end_to_end_seconds["sms",].observe(seconds if seconds > 0 else 0.0)

    def lease_lost(self) -> None:
        """This process stood still, and what it held may have been taken over."""
        self._metrics.lease_lost.inc()

    def auth_failed(self, ingress: str, reason: str) -> None:
        self._metrics.auth_failed(ingress, reason)

    def connection_refused(self, ingress: str, reason: str) -> None:
        self._metrics.connection_refused(ingress, reason)


def _name(status: Status, outcome: Outcome) -> str:
    """The outcome's label. `failed` is also what a temporary failure becomes when no time is left for another
    attempt; `postponed` says that the other side was never asked (a link that is down, a limit of ours).
    """
    if status is Status.FAILED:
        return "failed"
    if type(outcome) is Deferred and not outcome.counts:
        return "postponed"
    return _OUTCOMES[type(outcome)]
