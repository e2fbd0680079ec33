"""Reading messages: one with its recipients and events, lists with filters and cursors, the queue's depth.

What is shown is what an account may see of itself; another account's id is simply not found. `SENT` is shown
as queued, and a scheduled message whose time has come as queued.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import RowMapping, Select, and_, exists, func, select

from gateway.events.record import of_message
from gateway.ids import id_floor
from gateway.messages.model import Channel, Status
from gateway.messages.tables import delivery, message
from gateway.store.tx import Tx

PAGE_MAX = 200
_DEPTHS = ", ".join(
    f"count(CASE WHEN m.channel = '{channel}' THEN 1 END), "
    f"min(CASE WHEN m.channel = '{channel}' THEN coalesce(m.send_at_ms, m.accepted_ms) END)"
    for channel in Channel
)
_DEPTH = f"""
SELECT {_DEPTHS} FROM delivery d JOIN message m ON m.account_id = d.account_id AND m.id = d.message_id
WHERE d.status = 'queued' AND
"""  # noqa: S608 - the channels stand in this program
_DEPTH_WAITING = _DEPTH + "d.holder IS NULL AND d.status IN ('queued', 'sent')"
_DEPTH_HELD = _DEPTH + "d.holder IS NOT NULL"


class RecipientView(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient of a message."""

    address: str
    status: str
    attempts: int
    price_credits: int
    refunded_credits: int
    reply: str | None
    next_attempt_ms: int | None


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a message; `recipient` is the address it is about."""

    id: str
    type: str
    at_ms: int
    recipient: str | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """A message as its account sees it; lists leave recipients and events empty."""

    id: str
    account_id: str
    channel: str
    ingress: str
    status: str
    sender: str
    subject: str | None
    size_octets: int
    price_credits: int
    refunded_credits: int
    recipient_count: int
    accepted_ms: int
    send_at_ms: int | None
    finished_ms: int | None
    envelope: dict[str, Any]
    tags: list[str]
    metadata: dict[str, Any]
    recipients: Sequence[RecipientView]
    events: Sequence[EventView]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list shows. Ids sort by time, newest first; `before` is the last id of the page before."""

    account_id: str | None = None
    channel: str | None = None
    status: str | None = None
    recipient: str | None = None
    tag: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    before: str | None = None
    limit: int = 50


def find(tx: Tx, account_id: str, message_id: str, *, now_ms: int) -> MessageView | None:
    """The message with its recipients and events, or None."""
    row = tx.mapping(select(message).where(message.c.account_id == account_id, message.c.id == message_id))
    if row is None:
        return None
    rows = tx.mappings(
        select(delivery)
        .where(delivery.c.account_id == account_id, delivery.c.message_id == message_id)
        .order_by(delivery.c.n)
    )
    events = of_message(tx, account_id, message_id)
    addresses = {one["n"]: one["address"] for one in rows}
    return _view(
        row,
        now_ms,
        recipients=[_recipient(one) for one in rows],
        events=[_accepted(row), *(_event(one, addresses) for one in events)],
    )


def find_any(tx: Tx, message_id: str, *, now_ms: int) -> MessageView | None:
    """The operator's look-up: the message of whatever account."""
    row = tx.one("SELECT account_id FROM message WHERE id = ?", (message_id,))
    return None if row is None else find(tx, row[0], message_id, now_ms=now_ms)


def listing(tx: Tx, wanted: Filter, *, now_ms: int) -> list[MessageView]:
    """A page of messages, the newest first, without recipients and events."""
    query = _filtered(select(message), wanted, now_ms)
    query = query.order_by(message.c.id.desc()).limit(min(wanted.limit, PAGE_MAX))
    return [_view(row, now_ms) for row in tx.mappings(query)]


def _filtered(query: Select[Any], wanted: Filter, now_ms: int) -> Select[Any]:
    clauses = []
    if wanted.account_id is not None:
        clauses.append(message.c.account_id == wanted.account_id)
    if wanted.channel is not None:
        clauses.append(message.c.channel == wanted.channel)
    if wanted.status is not None:
        clauses.append(_status_is(wanted.status, now_ms))
    if wanted.recipient is not None:
        clauses.append(
            exists().where(
                delivery.c.account_id == message.c.account_id,
                delivery.c.message_id == message.c.id,
                delivery.c.address == wanted.recipient,
            )
        )
    if wanted.tag is not None:
        quoted = msgspec.json.encode(wanted.tag).decode()
        clauses.append(message.c.tags.contains(quoted, autoescape=True))
    if wanted.since_ms is not None:
        clauses.append(message.c.id >= id_floor(wanted.since_ms))
    if wanted.until_ms is not None:
        clauses.append(message.c.id < id_floor(wanted.until_ms))
    if wanted.before is not None:
        clauses.append(message.c.id < wanted.before)
    return query.where(and_(*clauses)) if clauses else query


def _status_is(status: str, now_ms: int) -> Any:
    waiting = and_(message.c.status == Status.SCHEDULED, message.c.send_at_ms > now_ms)
    if status == Status.SCHEDULED:
        return waiting
    if status == Status.QUEUED:
        return message.c.status.in_([Status.QUEUED, Status.SCHEDULED]) & ~waiting
    return message.c.status == status


def queue_depth(tx: Tx) -> dict[str, tuple[int, int | None]]:
    """Per channel: deliveries not final, and since when the oldest could be delivered (epoch milliseconds).

    A scheduled message counts from the time it is scheduled for, which may lie ahead. The two halves name the
    conditions of the partial indexes word for word, so only what waits is read, however long the history is;
    and nothing is grouped or sorted, so that a long queue takes no memory.
    """
    depth: dict[str, tuple[int, int | None]] = {}
    for half in (_DEPTH_WAITING, _DEPTH_HELD):
        row = tx.rows(half)[0]
        for place, channel in enumerate(Channel):
            count, oldest = depth.get(channel, (0, None))
            times = [one for one in (oldest, row[2 * place + 1]) if one is not None]
            depth[channel] = (count + int(row[2 * place]), min(times, default=None))
    return {channel: found for channel, found in depth.items() if found[0]}


def queue_by_destination(tx: Tx, *, limit: int) -> list[tuple[str, int, int]]:
    """Destinations by how many deliveries wait for them: (destination, count, next attempt)."""
    query = (
        select(delivery.c.destination, func.count(), func.min(delivery.c.next_attempt_ms))
        .where(delivery.c.status == Status.QUEUED)
        .group_by(delivery.c.destination)
        .order_by(func.count().desc())
        .limit(limit)
    )
    return [(str(row[0]), int(row[1]), int(row[2])) for row in tx.connection.execute(query).all()]


def _view(
    row: RowMapping,
    now_ms: int,
    *,
    recipients: Sequence[RecipientView] = (),
    events: Sequence[EventView] = (),
) -> MessageView:
    status = row["status"]
    if status == Status.SCHEDULED and (row["send_at_ms"] or 0) <= now_ms:
        status = Status.QUEUED.value
    return MessageView(
        id=row["id"],
        account_id=row["account_id"],
        channel=row["channel"],
        ingress=row["ingress"],
        status=status,
        sender=row["sender"],
        subject=row["subject"],
        size_octets=row["size_octets"],
        price_credits=row["price_credits"],
        refunded_credits=row["refunded_credits"],
        recipient_count=row["recipients"],
        accepted_ms=row["accepted_ms"],
        send_at_ms=row["send_at_ms"],
        finished_ms=row["finished_ms"],
        envelope=msgspec.json.decode(row["envelope"]),
        tags=msgspec.json.decode(row["tags"]) if row["tags"] else [],
        metadata=msgspec.json.decode(row["metadata"]) if row["metadata"] else {},
        recipients=recipients,
        events=events,
    )


def _recipient(row: RowMapping) -> RecipientView:
    waiting = row["status"] == Status.QUEUED
    return RecipientView(
        address=row["address"],
        status=Status.QUEUED.value if row["status"] == Status.SENT else row["status"],
        attempts=row["attempts"],
        price_credits=row["price_credits"],
        refunded_credits=row["refunded_credits"],
        reply=row["reply"],
        next_attempt_ms=row["next_attempt_ms"] if waiting else None,
    )


def _accepted(row: RowMapping) -> EventView:
    return EventView(
        id=row["id"],
        type="message.accepted",
        at_ms=row["accepted_ms"],
        recipient=None,
        detail={"ingress": row["ingress"], "price_credits": row["price_credits"]},
    )


def _event(row: RowMapping, addresses: dict[int, str]) -> EventView:
    return EventView(
        id=row["id"],
        type=row["kind"],
        at_ms=row["at_ms"],
        recipient=addresses.get(row["n"]),
        detail=msgspec.json.decode(row["detail"]) if row["detail"] else {},
    )
