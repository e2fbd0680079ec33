"""/v1/webhooks: where to tell what happened, what was told, and telling it again."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from gateway.http.describe.example import ID
from gateway.http.gate import cursors
from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import Page, given, one_of
from gateway.http.gate.times import Moment, epoch_ms, moment, moment_or_none
from gateway.http.wire import kinds
from gateway.http.wire.call import NO_CONTENT, Call, Reply, json_reply
from gateway.http.wire.problem import Problem, invalid
from gateway.webhooks import examples
from gateway.webhooks.service import Issued, Webhook, WebhookDelivery, Webhooks

_LIST = "deliveries"
_Url = Annotated[str, msgspec.Meta(max_length=2000)]
_Events = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=100)]],
    msgspec.Meta(min_length=1, max_length=50, description='Kinds of events, or "*" for all.'),
]


class WebhookRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where to tell, and what."""

    url: _Url
    events: _Events = msgspec.field(default_factory=lambda: ["*"])


class WebhookChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to change; `status` active also ends a disabling."""

    url: _Url | None = None
    events: _Events | None = None
    status: Literal["active", "disabled"] | None = None


class ReplayRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One delivery by its id, or all that failed since a time (with `delivered` those that did not, too)."""

    delivery_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    since: Moment | None = None
    delivered: bool = False


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. `note` says why it was disabled."""

    id: str
    url: str
    events: list[str]
    status: Literal["active", "disabled"]
    note: str | None
    created_at: datetime


class WebhookIssued(WebhookAnswer, frozen=True, kw_only=True):
    """A webhook with its secret, which signs what is sent. It is shown this once."""

    secret: str


class WebhookList(msgspec.Struct, frozen=True, kw_only=True):
    """All of the account's, in the order they were made."""

    items: list[WebhookAnswer]
    next: str | None


class DeliveryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One telling. `id` is its webhook-id header, `body` what is sent, `reply` what became of it."""

    id: str
    status: Literal["waiting", "delivered", "failed"]
    attempts: int
    next_attempt_at: datetime | None
    reply: str | None
    queued_at: datetime
    body: dict[str, Any]


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deliveries, the newest first."""

    items: list[DeliveryAnswer]
    next: str | None


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    replayed: int


class PingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery of a `webhook.test`."""

    delivery_id: str


_REQUEST = msgspec.json.Decoder(WebhookRequest)
_CHANGE = msgspec.json.Decoder(WebhookChange)
_REPLAY = msgspec.json.Decoder(ReplayRequest)


async def list_webhooks(call: Call) -> Reply:
    """All webhooks."""
    found = await call.service(Webhooks).list(call.account_id)
    return json_reply(WebhookList(items=[_answer(one) for one in found], next=None))


async def add_webhook(call: Call) -> Reply:
    """A new webhook with its secret."""
    request = await call.json(_REQUEST)
    _may_tell(call, call.service(Webhooks).checked_events(request.events))
    issued = await call.service(Webhooks).create(call.account_id, request.url, request.events)
    location = f"/v1/webhooks/{issued.webhook.id}".encode()
    return json_reply(_issued(issued), 201, [(b"location", location)])


async def get_webhook(call: Call) -> Reply:
    """One webhook."""
    return json_reply(_answer(await call.service(Webhooks).get(call.account_id, _id(call))))


async def change_webhook(call: Call) -> Reply:
    """Changes what is given."""
    request = await call.json(_CHANGE)
    webhook = await call.service(Webhooks).update(
        call.account_id,
        _id(call),
        url=request.url,
        events=request.events,
        active=None if request.status is None else request.status == "active",
        may_tell=partial(_may_tell, call),
    )
    return json_reply(_answer(webhook))


async def delete_webhook(call: Call) -> Reply:
    """Takes a webhook away."""
    await call.service(Webhooks).delete(call.account_id, _id(call))
    return Reply(NO_CONTENT)


async def renew_secret(call: Call) -> Reply:
    """A new secret."""
    return json_reply(_issued(await call.service(Webhooks).renew_secret(call.account_id, _id(call))))


async def list_deliveries(call: Call) -> Reply:
    """A page of what was told, or is to be."""
    query = call.query(Page)
    listing = f"{_LIST}/{_id(call)}"
    before = cursors.decode(listing, call.account_id, given(query.cursor)) or ""
    found = await call.service(Webhooks).deliveries(
        call.account_id, _id(call), before=before, limit=query.limit + 1
    )
    shown = found[: query.limit]
    more = len(found) > query.limit
    cursor = cursors.encode(listing, call.account_id, shown[-1].id) if more else None
    return json_reply(DeliveryList(items=[_delivery(one) for one in shown], next=cursor))


async def replay(call: Call) -> Reply:
    """Sends one delivery, or those that failed, again."""
    request = await call.json(_REPLAY)
    webhooks = call.service(Webhooks)
    since_ms = epoch_ms(request.since)
    if (request.delivery_id is None) == (since_ms is None):
        raise invalid("delivery_id", "name either delivery_id or since")
    if request.delivery_id is not None:
        await webhooks.replay(call.account_id, _id(call), request.delivery_id)
        return json_reply(ReplayAnswer(replayed=1), 202)
    count = await webhooks.replay_since(
        call.account_id, _id(call), since_ms or 0, delivered=request.delivered
    )
    return json_reply(ReplayAnswer(replayed=count), 202)


async def ping(call: Call) -> Reply:
    """Queues a `webhook.test`."""
    delivery_id = await call.service(Webhooks).ping(call.account_id, _id(call))
    return json_reply(PingAnswer(delivery_id=delivery_id), 202)


def _may_tell(call: Call, events: Sequence[str]) -> None:
    """A key subscribes to what it may read, and sends nothing else to another address."""
    principal = call.principal
    told = call.service(Webhooks).scopes_told(events)
    missing = [] if principal is None else [one for one in told if not principal.allows(one)]
    if missing:
        raise Problem(
            kinds.SCOPE_MISSING,
            f"To be told of these events a key needs {', '.join(missing)}, which this one lacks. "
            "Name other events, or use another key.",
        )


def _id(call: Call) -> str:
    return call.params["id"]


def _answer(webhook: Webhook) -> WebhookAnswer:
    return WebhookAnswer(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        status=webhook.status.value,
        note=webhook.note,
        created_at=moment(webhook.created_ms),
    )


def _issued(issued: Issued) -> WebhookIssued:
    webhook = issued.webhook
    return WebhookIssued(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        status=webhook.status.value,
        note=webhook.note,
        created_at=moment(webhook.created_ms),
        secret=issued.secret,
    )


def _delivery(one: WebhookDelivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        id=one.id,
        status=one.status,  # type: ignore[arg-type]  # one of the three words
        attempts=one.attempts,
        next_attempt_at=moment_or_none(one.next_attempt_ms if one.status == "waiting" else None),
        reply=one.reply,
        queued_at=moment(one.queued_ms),
        body=msgspec.json.decode(one.body),
    )


_IDS = {"id": "The id of the webhook."}

OPERATIONS = (
    Operation(
        id="listWebhooks",
        method="GET",
        path="/v1/webhooks",
        handler=list_webhooks,
        tag="Webhooks",
        summary="All webhooks",
        scope="webhooks:read",
        answer=WebhookList,
        answer_example=one_of(examples.WEBHOOK),
    ),
    Operation(
        id="addWebhook",
        method="POST",
        path="/v1/webhooks",
        handler=add_webhook,
        tag="Webhooks",
        summary="Add a webhook",
        scope="webhooks:write",
        description="Its secret, shown this once, signs what is sent (Standard Webhooks). Private addresses "
        "are refused. A key subscribes to what it may read: `message.delivered` takes `messages:read`, and "
        "`*` the scopes for reading messages, credits, SenderNames and domains.",
        body=WebhookRequest,
        body_examples={"two events": {"url": examples.WEBHOOK["url"], "events": examples.WEBHOOK["events"]}},
        status=201,
        answer=WebhookIssued,
        answer_example=examples.WEBHOOK_ISSUED,
    ),
    Operation(
        id="getWebhook",
        method="GET",
        path="/v1/webhooks/{id}",
        handler=get_webhook,
        tag="Webhooks",
        summary="One webhook",
        scope="webhooks:read",
        params=_IDS,
        answer=WebhookAnswer,
        answer_example=examples.WEBHOOK,
        problems=(404,),
    ),
    Operation(
        id="changeWebhook",
        method="PATCH",
        path="/v1/webhooks/{id}",
        handler=change_webhook,
        tag="Webhooks",
        summary="Change a webhook",
        scope="webhooks:write",
        params=_IDS,
        body=WebhookChange,
        body_examples={"enable": {"status": "active"}},
        answer=WebhookAnswer,
        answer_example=examples.WEBHOOK,
        problems=(404,),
    ),
    Operation(
        id="deleteWebhook",
        method="DELETE",
        path="/v1/webhooks/{id}",
        handler=delete_webhook,
        tag="Webhooks",
        summary="Take a webhook away",
        scope="webhooks:write",
        params=_IDS,
        status=204,
        problems=(404,),
    ),
    Operation(
        id="renewWebhookSecret",
        method="POST",
        path="/v1/webhooks/{id}/secret",
        handler=renew_secret,
        tag="Webhooks",
        summary="Make a new secret",
        scope="webhooks:write",
        params=_IDS,
        answer=WebhookIssued,
        answer_example=examples.WEBHOOK_ISSUED,
        problems=(404,),
    ),
    Operation(
        id="listWebhookDeliveries",
        method="GET",
        path="/v1/webhooks/{id}/deliveries",
        handler=list_deliveries,
        tag="Webhooks",
        summary="What was told, the newest first",
        scope="webhooks:read",
        params=_IDS,
        query=Page,
        answer=DeliveryList,
        answer_example=one_of(examples.DELIVERY),
        problems=(400, 404),
    ),
    Operation(
        id="replayWebhook",
        method="POST",
        path="/v1/webhooks/{id}/replay",
        handler=replay,
        tag="Webhooks",
        summary="Tell again",
        scope="webhooks:write",
        description="One delivery by its id, or all that failed since a time.",
        params=_IDS,
        body=ReplayRequest,
        body_examples={"one": {"delivery_id": ID}, "failed": {"since": "2026-11-16T00:00:00Z"}},
        status=202,
        answer=ReplayAnswer,
        answer_example={"replayed": 1},
        problems=(404, 409),
    ),
    Operation(
        id="testWebhook",
        method="POST",
        path="/v1/webhooks/{id}/test",
        handler=ping,
        tag="Webhooks",
        summary="Send a webhook.test",
        scope="webhooks:write",
        params=_IDS,
        status=202,
        answer=PingAnswer,
        answer_example={"delivery_id": ID},
        problems=(404, 409),
    ),
)
