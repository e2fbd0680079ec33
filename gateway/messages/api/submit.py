"""Submissions: POST /v1/mail, /v1/sms and /v1/batch, idempotent where the client says so (A4).

An accepted submission is durable and paid for when 202 leaves (A1, R12). A key is bound to method, path and
body; the same request again gets the same answer, marked `Idempotency-Replayed: true`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from gateway.http.gate.app import problem_reply
from gateway.http.gate.idempotency import REPLAYED, bound_key, given_key
from gateway.http.gate.operation import ANY_KEY, Operation
from gateway.http.wire import kinds, outline
from gateway.http.wire.call import Call, Reply, decoded, json_reply
from gateway.http.wire.problem import Header, Problem, ProblemDetails, invalid
from gateway.messages.accept.acceptor import Acceptor
from gateway.messages.api import examples, mail, problems, sms
from gateway.messages.api.mail import MailRequest
from gateway.messages.api.sms import SmsRequest
from gateway.messages.model import Message, Verdict
from gateway.turns import SLICE_S, Turn

BATCH_MAX = 500
BATCH_RECIPIENTS_MAX = 10_000  # one batch is one transaction: it must not hold up the others (A5)
_AT_ONCE_OCTETS = outline.SMALL_OCTETS  # of a batch: decoded in one go, which takes a millisecond
_TURN_S = SLICE_S  # how long a batch keeps the event loop before others have their turn (A5)

Slot = Message | Verdict


class Accepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An accepted message: durable and paid for. `segments` of an SMS: the most that a recipient gets."""

    id: str
    channel: Literal["mail", "sms"]
    status: Literal["queued", "scheduled"]
    price_credits: int
    segments: int | None = None


class MailItem(MailRequest, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="mail"):
    """A mail in a batch."""


class SmsItem(SmsRequest, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="sms"):
    """An SMS in a batch."""


class BatchRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Up to 500 submissions, each with its own verdict."""

    items: Annotated[list[MailItem | SmsItem], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


class _RawBatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The same with items undecoded, so that a bad one spoils no other."""

    items: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The verdict on one item: an accepted message, or its problem."""

    accepted: bool
    id: str | None = None
    channel: Literal["mail", "sms"] | None = None
    status: Literal["queued", "scheduled"] | None = None
    price_credits: int | None = None
    segments: int | None = None
    problem: ProblemDetails | None = None


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts in the order of the request."""

    items: list[BatchItem]
    accepted: int


class BatchProblem(ProblemDetails, frozen=True, kw_only=True, omit_defaults=True):
    """The problem of a batch of which nothing was accepted."""

    items: list[BatchItem] = msgspec.field(default_factory=list)


_MAIL = msgspec.json.Decoder(MailRequest)
_SMS = msgspec.json.Decoder(SmsRequest)
_BATCH = msgspec.json.Decoder(BatchRequest)
_RAW_BATCH = msgspec.json.Decoder(_RawBatch)
_ITEM: "msgspec.json.Decoder[MailItem | SmsItem]" = msgspec.json.Decoder(MailItem | SmsItem)


async def post_mail(call: Call) -> Reply:
    """One mail."""
    key = given_key(call)
    shaped = await mail.shape(call, await call.json(_MAIL))
    return await _accept_one(call, shaped.slot, key or shaped.key)


async def post_sms(call: Call) -> Reply:
    """One SMS."""
    key = given_key(call)
    return await _accept_one(call, await sms.shape(call, await call.json(_SMS)), key)


async def _accept_one(call: Call, slot: Slot, key: str | None) -> Reply:
    (verdict,) = await call.service(Acceptor).accept(
        call.account_id, [slot], bound_key(call, key), ingress="http"
    )
    if not verdict.accepted:
        raise problems.of_verdict(verdict)
    headers: list[Header] = [(b"location", f"/v1/messages/{verdict.id}".encode())]
    if verdict.replayed:
        headers.append(REPLAYED)
    return json_reply(_accepted(verdict), 202, headers)


def _accepted(verdict: Verdict) -> Accepted:
    # The verdict is our own; what its texts can be is bounded by Channel and Status.
    return Accepted(
        id=verdict.id or "",
        channel=verdict.channel,  # type: ignore[arg-type]  # our own word, of a bounded set
        status=verdict.status,  # type: ignore[arg-type]  # our own word, of a bounded set
        price_credits=verdict.price_credits,
        segments=verdict.segments,
    )


# --- batches ---------------------------------------------------------------------------------------------


async def post_batch(call: Call) -> Reply:
    """Up to 500 submissions in one go; each has its own verdict."""
    key = given_key(call)
    items = await _items(call)
    call.site.buckets.owe(call.account_id, len(items) - 1)
    slots: list[Slot] = []
    faults: dict[int, Problem] = {}
    recipients = 0
    turn = Turn(_TURN_S)
    for number, item in enumerate(items):
        try:
            slot = await _slot(call, item)
        except Problem as problem:
            problem.below(f"/items/{number}")
            faults[number] = problem
            slot = Verdict(refused=problem.kind.reason, detail=problem.detail)
        slots.append(slot)
        if isinstance(slot, Message):
            recipients += slot.recipients
            if recipients > BATCH_RECIPIENTS_MAX:
                raise invalid(
                    "items", f"have more than {BATCH_RECIPIENTS_MAX} recipients; send several batches"
                )
        if turn.is_over:
            await turn.next()
    verdicts = await call.service(Acceptor).accept(
        call.account_id, slots, bound_key(call, key), ingress="http"
    )
    answers = [_item(verdict, faults.get(number)) for number, verdict in enumerate(verdicts)]
    headers = [REPLAYED] if verdicts[0].replayed else []
    accepted = sum(answer.accepted for answer in answers)
    if accepted:
        return json_reply(BatchAnswer(items=answers, accepted=accepted), 202, headers)
    return _nothing_accepted(answers)


async def _items(call: Call) -> Sequence[MailItem | SmsItem | msgspec.Raw]:
    """The items of a batch: decoded at once, or left as they are where one is faulty or all are large."""
    call.check_content_type()
    octets = await call.body()
    if len(octets) <= _AT_ONCE_OCTETS:
        try:
            return _BATCH.decode(octets).items
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # whose fault it is, is seen below
    return decoded(_RAW_BATCH, octets).items


async def _slot(call: Call, item: MailItem | SmsItem | msgspec.Raw) -> Slot:
    if isinstance(item, msgspec.Raw):
        item = decoded(_ITEM, item)
    if isinstance(item, MailItem):
        _require_scope(call, "mail:send")
        return (await mail.shape(call, item)).slot
    _require_scope(call, "sms:send")
    return await sms.shape(call, item)


def _require_scope(call: Call, scope: str) -> None:
    if call.principal is not None and not call.principal.allows(scope):
        raise Problem(kinds.SCOPE_MISSING, f"This key lacks the scope {scope}.")


def _item(verdict: Verdict, fault: Problem | None) -> BatchItem:
    if not verdict.accepted:
        problem = fault or problems.of_verdict(verdict)
        return BatchItem(accepted=False, problem=problem.details)
    return BatchItem(
        accepted=True,
        id=verdict.id,
        channel=verdict.channel,  # type: ignore[arg-type]  # our own word, of a bounded set
        status=verdict.status,  # type: ignore[arg-type]  # our own word, of a bounded set
        price_credits=verdict.price_credits,
        segments=verdict.segments,
    )


def _nothing_accepted(items: list[BatchItem]) -> Reply:
    """The problem that all items share, or that none was accepted."""
    reasons = {item.problem.reason for item in items if item.problem is not None}
    shared = reasons.pop() if len(reasons) == 1 else "none_accepted"
    problem = Problem(
        problems.kind_of(shared), "No item was accepted and nothing was stored; each of `items` says why."
    )
    details = problem.details
    body = BatchProblem(
        type=details.type,
        title=details.title,
        status=details.status,
        detail=details.detail,
        reason=details.reason,
        items=items,
    )
    return problem_reply(problem, body)


OPERATIONS = (
    Operation(
        id="sendSms",
        method="POST",
        path="/v1/sms",
        handler=post_sms,
        tag="Sending",
        summary="Send an SMS",
        description="The price is segments times recipients. 202 means: durable, paid for, on its way.",
        scope="sms:send",
        body=SmsRequest,
        body_examples=examples.SMS,
        status=202,
        answer=Accepted,
        answer_example=examples.ACCEPTED_SMS,
        problems=(402, 409),
        idempotent=True,
    ),
    Operation(
        id="sendMail",
        method="POST",
        path="/v1/mail",
        handler=post_mail,
        tag="Sending",
        summary="Send a mail",
        description="The price is one credit a recipient, where the gateway sells at the usual price. "
        "202 means: durable, paid for, on its way.",
        scope="mail:send",
        body=MailRequest,
        body_examples=examples.MAIL,
        status=202,
        answer=Accepted,
        answer_example=examples.ACCEPTED_MAIL,
        problems=(402, 409),
        idempotent=True,
    ),
    Operation(
        id="sendBatch",
        method="POST",
        path="/v1/batch",
        handler=post_batch,
        tag="Sending",
        summary="Send up to 500 mails and SMS",
        description="Each item has its own verdict, in order. 202 when at least one is accepted; else the "
        "problem that all share, or `none_accepted`. Items beyond the balance are refused, the others pass. "
        "The key needs the scope of each item's channel. A batch counts for its items in the rate.",
        scope=ANY_KEY,
        body=BatchRequest,
        body_examples=examples.BATCH,
        status=202,
        answer=BatchAnswer,
        answer_example=examples.BATCH_ANSWER,
        problems=(402, 409),
        refusal=BatchProblem,
        idempotent=True,
    ),
)
