"""Events: what happened to a message (or to an account's credits), written with the change itself.

Each is a row of `event`, shown with its message, and is told to the listeners that the store was opened with
(webhooks among them) in the same transaction, so that no event is told that did not happen and none is lost
that did.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import RowMapping, select

from gateway.events import tables
from gateway.ids import id_floor
from gateway.store.bulk import Insert
from gateway.store.tx import Tx

_INSERT = Insert(tables.event, "account_id", "message_id", "id", "kind", "n", "at_ms", "detail")
_WITH = "SELECT DISTINCT n FROM event WHERE account_id = ? AND message_id = ? AND kind = ?"
_LAST_DETAIL = """
SELECT detail FROM event WHERE account_id = ? AND message_id = ? AND kind = ? ORDER BY id DESC LIMIT 1
"""
_SHOWN_MAX = 5000
_PURGE = """
DELETE FROM event WHERE (account_id, message_id, id) IN (
  SELECT account_id, message_id, id FROM event WHERE account_id = ? AND message_id < ? LIMIT ?{skip_locked})
"""
_encode = msgspec.json.Encoder().encode


class EventKinds(dict[str, str]):
    """Every kind that somebody may ask to be told of, with the scope that reading the same takes."""


class Subject(StrEnum):
    """What an event happened to."""

    MESSAGE = "message"
    ACCOUNT = "account"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event."""

    account_id: str
    subject_kind: Subject
    subject_id: str
    """The message's id, or the account's."""
    id: str
    kind: str
    """`noun.verb`, one of the kinds that its vertical declares."""
    at_ms: int
    n: int | None = None
    address: str | None = None
    """The recipient that it is about; told to the listeners, and not kept: the delivery has it."""
    detail: dict[str, Any] | None = None


def of_account(tx: Tx, account_id: str, kind: str, now_ms: int, detail: dict[str, Any]) -> None:
    """Records an event of the account itself."""
    event = Event(
        account_id=account_id,
        subject_kind=Subject.ACCOUNT,
        subject_id=account_id,
        id=tx.new_id(now_ms),
        kind=kind,
        at_ms=now_ms,
        detail=detail,
    )
    record(tx, [event])


def record(tx: Tx, events: Sequence[Event]) -> None:
    """Writes `events` and tells the listeners of the store."""
    if not events:
        return
    _INSERT.run(
        tx,
        [
            (
                event.account_id,
                event.subject_id if event.subject_kind is Subject.MESSAGE else event.id,
                event.id,
                event.kind,
                event.n,
                event.at_ms,
                None if event.detail is None else _encode(event.detail).decode(),
            )
            for event in events
        ],
    )
    for listen in tx.listeners:
        listen(tx, events)


def of_message(tx: Tx, account_id: str, message_id: str) -> list[RowMapping]:
    """The rows of a message's events, the oldest first, 5,000 at most."""
    event = tables.event
    return tx.mappings(
        select(event)
        .where(event.c.account_id == account_id, event.c.message_id == message_id)
        .order_by(event.c.id)
        .limit(_SHOWN_MAX)
    )


def recipients_with(tx: Tx, account_id: str, message_id: str, kind: str) -> set[int]:
    """The recipients (`n`) of the message to whom an event of this kind has happened."""
    return {n for (n,) in tx.rows(_WITH, (account_id, message_id, kind))}


def last_detail(tx: Tx, account_id: str, message_id: str, kind: str) -> dict[str, Any]:
    """The detail of the message's last event of this kind; empty where there is none."""
    row = tx.one(_LAST_DETAIL, (account_id, message_id, kind))
    return msgspec.json.decode(row[0]) if row is not None and row[0] else {}


def purge(tx: Tx, account_id: str, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` events of messages and accounts from before `before_ms`; how many. A sweep."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (account_id, id_floor(before_ms), limit))
