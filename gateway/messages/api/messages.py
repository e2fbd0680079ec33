"""/v1/messages: what became of what was accepted; cancelling what has not left yet."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.http.gate import cursors
from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import Page, given, one_of
from gateway.http.gate.times import Moment, epoch_ms, moment, moment_or_none
from gateway.http.wire import kinds
from gateway.http.wire.call import Call, Reply, json_reply
from gateway.http.wire.problem import Problem
from gateway.ids import is_id
from gateway.messages.api import examples
from gateway.messages.events import EventKind
from gateway.messages.model import Channel
from gateway.messages.query import Filter, MessageView, RecipientView, find, listing
from gateway.messages.queue.cancel import Cancelling
from smtp.address import AddressError, parse_address

_LIST = "messages"

MessageStatus = Literal["queued", "scheduled", "delivered", "partly_delivered", "failed", "cancelled"]


class MessageQuery(Page, kw_only=True, forbid_unknown_fields=True):
    """Which messages to list."""

    channel: Literal["mail", "sms"] | UnsetType = UNSET
    status: MessageStatus | UnsetType = UNSET
    recipient: Annotated[str, msgspec.Meta(max_length=400)] | UnsetType = UNSET
    tag: Annotated[str, msgspec.Meta(max_length=100)] | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient. `sender` is the source address that was submitted for an SMS."""  # R25

    address: str
    status: Literal["queued", "delivered", "failed", "cancelled"]
    attempts: int
    price_credits: int
    refunded_credits: int
    reply: str | None
    next_attempt_at: datetime | None
    sender: str | None


class MessageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; `recipient` is whom it is about."""

    id: str
    type: str
    at: datetime
    recipient: str | None
    detail: dict[str, Any]


class MessageSummary(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message as lists show it. `from` is the sender that was asked for."""

    id: str
    channel: Literal["mail", "sms"]
    status: MessageStatus
    sender: str
    subject: str | None
    recipient_count: int
    size_octets: int
    segments: int | None
    price_credits: int
    refunded_credits: int
    ingress: str
    tags: list[str]
    metadata: dict[str, Any]
    accepted_at: datetime
    send_at: datetime | None
    finished_at: datetime | None


class MessageDetails(MessageSummary, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message with its recipients and events."""

    recipients: list[Recipient]
    events: list[MessageEvent]


class MessageList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of messages, the newest first."""

    items: list[MessageSummary]
    next: str | None


async def list_messages(call: Call) -> Reply:
    """A page of the account's messages."""
    query = call.query(MessageQuery)
    wanted = Filter(
        account_id=call.account_id,
        channel=given(query.channel),
        status=given(query.status),
        recipient=_address(given(query.recipient)),
        tag=given(query.tag),
        since_ms=epoch_ms(given(query.since)),
        until_ms=epoch_ms(given(query.until)),
        before=cursors.decode(_LIST, call.account_id, given(query.cursor)),
        limit=query.limit + 1,
    )
    now_ms = call.clock.now_ms()
    views = await call.site.ground.store.read(lambda tx: listing(tx, wanted, now_ms=now_ms))
    shown = views[: query.limit]
    more = len(views) > query.limit
    cursor = cursors.encode(_LIST, call.account_id, shown[-1].id) if more else None
    return json_reply(MessageList(items=[_summary(view) for view in shown], next=cursor))


async def get_message(call: Call) -> Reply:
    """One message."""
    return json_reply(_details(await _find(call)))


async def cancel_message(call: Call) -> Reply:
    """Cancels the recipients that still wait; the message as it is then."""
    view = await _find(call)
    count = await call.service(Cancelling).cancel(view.account_id, view.id, Channel(view.channel))
    if not count:
        raise Problem(kinds.CONFLICT, _cannot_cancel(view))
    return json_reply(_details(await _find(call)))


def _cannot_cancel(view: MessageView) -> str:
    if any(event.type == EventKind.UNKNOWN for event in view.events):
        return (
            "An attempt ended without an answer (message.unknown), so the message may have been delivered. "
            "It cannot be called back."
        )
    if view.status in ("queued", "scheduled"):
        return "The message is on its way and cannot be called back. Look at its events in a moment."
    return f"The message is {view.status}; only one that still waits can be cancelled."


async def _find(call: Call) -> MessageView:
    account_id, message_id = call.account_id, call.params["id"]
    now_ms = call.clock.now_ms()
    view = None
    if is_id(message_id):
        view = await call.site.ground.store.read(lambda tx: find(tx, account_id, message_id, now_ms=now_ms))
    if view is None:
        raise Problem(kinds.NOT_FOUND, "There is no such message in this account, or it is no longer kept.")
    return view


def _address(text: str | None) -> str | None:
    """A recipient as it is stored: domains in lower-case A-labels."""
    if text is None:
        return None
    try:
        return str(parse_address(text))
    except AddressError:
        return text


def _summary_fields(view: MessageView) -> dict[str, Any]:
    return {
        "id": view.id,
        "channel": view.channel,
        "status": "queued" if view.status == "sent" else view.status,
        "sender": view.sender,
        "subject": view.subject,
        "recipient_count": view.recipient_count,
        "size_octets": view.size_octets,
        "segments": view.envelope.get("segments", 1) if view.channel == "sms" else None,
        "price_credits": view.price_credits,
        "refunded_credits": view.refunded_credits,
        "ingress": view.ingress,
        "tags": view.tags,
        "metadata": view.metadata,
        "accepted_at": moment(view.accepted_ms),
        "send_at": moment_or_none(view.send_at_ms),
        "finished_at": moment_or_none(view.finished_ms),
    }


def _summary(view: MessageView) -> MessageSummary:
    return MessageSummary(**_summary_fields(view))


def _details(view: MessageView) -> MessageDetails:
    return MessageDetails(
        **_summary_fields(view),
        recipients=[_recipient(one, view.envelope) for one in view.recipients],
        events=[
            MessageEvent(
                id=one.id, type=one.type, at=moment(one.at_ms), recipient=one.recipient, detail=one.detail
            )
            for one in view.events
        ],
    )


def _recipient(one: RecipientView, envelope: dict[str, Any]) -> Recipient:
    source = envelope.get("sources", {}).get(one.address) or envelope.get("source") or {}
    return Recipient(
        address=one.address,
        status=one.status,  # type: ignore[arg-type]  # our own word, of a bounded set
        attempts=one.attempts,
        price_credits=one.price_credits,
        refunded_credits=one.refunded_credits,
        reply=one.reply,
        next_attempt_at=moment_or_none(one.next_attempt_ms),
        sender=source.get("address"),
    )


_IDS = {"id": "The id that acceptance gave."}
_CANCEL_TEXT = (
    "Cancels every recipient that still waits, and gives its credits back where the gateway refunds "
    "cancellations. 409 when the message is on its way or final."
)

OPERATIONS = (
    Operation(
        id="listMessages",
        method="GET",
        path="/v1/messages",
        handler=list_messages,
        tag="Messages",
        summary="List messages, the newest first",
        scope="messages:read",
        query=MessageQuery,
        answer=MessageList,
        answer_example=one_of(examples.SUMMARY),
        problems=(400,),
    ),
    Operation(
        id="getMessage",
        method="GET",
        path="/v1/messages/{id}",
        handler=get_message,
        tag="Messages",
        summary="A message with its recipients and events",
        scope="messages:read",
        params=_IDS,
        answer=MessageDetails,
        answer_example=examples.MESSAGE,
        problems=(404,),
    ),
    Operation(
        id="deleteMessage",
        method="DELETE",
        path="/v1/messages/{id}",
        handler=cancel_message,
        tag="Messages",
        summary="Cancel a message (the same as POST …/cancel)",
        description=_CANCEL_TEXT,
        scope="messages:write",
        params=_IDS,
        answer=MessageDetails,
        answer_example=examples.MESSAGE,
        problems=(404, 409),
    ),
    Operation(
        id="cancelMessage",
        method="POST",
        path="/v1/messages/{id}/cancel",
        handler=cancel_message,
        tag="Messages",
        summary="Cancel a message that has not left",
        description=_CANCEL_TEXT,
        scope="messages:write",
        params=_IDS,
        answer=MessageDetails,
        answer_example=examples.MESSAGE,
        problems=(404, 409),
    ),
)
