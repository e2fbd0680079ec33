"""Between the road's words and those of the SMTP client: envelopes out, outcomes back."""

import asyncio
from collections.abc import Sequence

from gateway.messages.model import Deferred, Delivered, Failed, MailEnvelope, Outcome, Unknown, Work
from smtp import outcome as wire
from smtp.client import Content
from smtp.outcome import Result, Stage
from smtp.pool import ConnectionPool, Destination


def envelope_of(work: Work) -> wire.Envelope:
    """The SMTP envelope of one attempt (RFC 5321 section 2.3.1; DSN parameters by RFC 3461)."""
    envelope = work.message.envelope
    if not isinstance(envelope, MailEnvelope):
        raise TypeError("not a mail")
    notify = envelope.notify or {}
    return wire.Envelope(
        mail_from=envelope.mail_from,
        recipients=[
            wire.Recipient(delivery.address, notify=notify.get(delivery.address, ""))
            for delivery in work.deliveries
        ],
        smtputf8=envelope.smtputf8,
        body_8bit=envelope.body_8bit,
        ret=envelope.ret or "",
        envid=envelope.envid or "",
    )


def outcomes_of(results: Sequence[wire.Outcome], *, rest_s: float) -> list[Outcome]:
    """The road's outcomes; a destination that could not even be greeted rests for `rest_s`."""
    return [_outcome(result, rest_s) for result in results]


def _outcome(result: wire.Outcome, rest_s: float) -> Outcome:
    reply = result.reply.line()
    if result.result is Result.DELIVERED:
        return Delivered(reply=reply)
    match result.result:
        case Result.FAILED:
            return Failed(reply=reply)
        case Result.UNKNOWN:
            return Unknown(reply=reply)
        case Result.DEFERRED if result.stage is Stage.CONNECT:
            return Deferred(reply=reply, rest_s=rest_s)
        case Result.DEFERRED if result.stage is Stage.WITHHELD:
            return Deferred(reply=reply, after_s=0.0, counts=False)
    return Deferred(reply=reply)


def begin(
    attempt: "asyncio.Future[Sequence[Outcome]]",
    pool: ConnectionPool,
    destination: Destination,
    work: Work,
    content: Content,
    *,
    rest_s: float,
) -> bool:
    """Sends over a kept connection; False where none is free: `pool.deliver` waits for one."""

    def done(results: Sequence[wire.Outcome]) -> None:
        if not attempt.done():
            attempt.set_result(outcomes_of(results, rest_s=rest_s))

    return pool.begin(destination, envelope_of(work), content, done)
