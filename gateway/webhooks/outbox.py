"""Queues events for the webhooks that asked for them, inside the transaction that writes the events.

Runs in the writer for every batch of events: which accounts have a webhook at all is remembered there, so
that the others cost no query, and those that have one cost one query a batch. What is queued is the body as
it will be signed and sent, keys without a value left out:
`{"type", "timestamp", "data": {"event_id", "message_id", "n", "address", "detail"}}`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.events.record import Event, Subject
from gateway.ids import id_floor
from gateway.store.tx import Tx, placeholders

EVERY_EVENT = "*"
_ACCOUNTS_AT_ONCE = 500  # parameters of one statement

_REMEMBERED_MAX = 10_000  # accounts with a webhook
_WHO = "SELECT DISTINCT account_id FROM webhook WHERE status = 'active' LIMIT ?"
_INSERT = """
INSERT INTO webhook_delivery
  (account_id, id, webhook_id, body, status, attempts, next_attempt_ms, reply, queued_ms)
VALUES (?, ?, ?, ?, 'waiting', 0, ?, NULL, ?)
"""
_PURGE = """
DELETE FROM webhook_delivery WHERE (account_id, id) IN (
  SELECT account_id, id FROM webhook_delivery
  WHERE id < ? AND status <> 'waiting' ORDER BY id LIMIT ?{skip_locked})
"""
_encode = msgspec.json.Encoder().encode
_decode_kinds = msgspec.json.Decoder(list[str]).decode


def enqueue(tx: Tx, events: Sequence[Event]) -> None:
    """Adds a `webhook_delivery` row per event and active webhook of its account that wants its kind."""
    accounts = {event.account_id for event in events}
    who = tx.remembered.ask(_who, tx)
    if who is not None:
        accounts &= who
    if not accounts:
        return
    hooks = _hooks(tx, sorted(accounts))
    rows = []
    for event in events:
        body = None
        for webhook_id, kinds in hooks.get(event.account_id, ()):
            if EVERY_EVENT in kinds or event.kind in kinds:
                body = body or _body(event)
                rows.append(_row(tx, event.account_id, webhook_id, body, event.at_ms))
    tx.run_many(_INSERT, rows)


def enqueue_one(
    tx: Tx, account_id: str, webhook_id: str, kind: str, data: dict[str, Any], now_ms: int
) -> str:
    """Queues one body for one webhook, whatever it asked for; the id of the delivery."""
    row = _row(tx, account_id, webhook_id, _encoded(kind, now_ms, data), now_ms)
    tx.run(_INSERT, row)
    return str(row[1])


def purge(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` finished deliveries from before `before_ms`; how many it were. It is a sweep."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (id_floor(before_ms), limit))


def _who(tx: Tx) -> frozenset[str] | None:
    """The accounts with an active webhook; None where they are too many to be remembered."""
    rows = tx.rows(_WHO, (_REMEMBERED_MAX + 1,))
    return frozenset(account_id for (account_id,) in rows) if len(rows) <= _REMEMBERED_MAX else None


def _hooks(tx: Tx, accounts: Sequence[str]) -> dict[str, list[tuple[str, list[str]]]]:
    """The active webhooks of `accounts` as (id, kinds of events)."""
    hooks: dict[str, list[tuple[str, list[str]]]] = {}
    for start in range(0, len(accounts), _ACCOUNTS_AT_ONCE):
        some = accounts[start : start + _ACCOUNTS_AT_ONCE]
        sql = "SELECT account_id, id, events FROM webhook WHERE status = 'active' AND account_id IN "
        for account_id, webhook_id, kinds in tx.rows(sql + placeholders(some), some):
            hooks.setdefault(account_id, []).append((webhook_id, _decode_kinds(kinds)))
    return hooks


def _row(tx: Tx, account_id: str, webhook_id: str, body: str, now_ms: int) -> tuple[Any, ...]:
    return account_id, tx.new_id(now_ms), webhook_id, body, now_ms, now_ms


def _body(event: Event) -> str:
    data: dict[str, Any] = {"event_id": event.id}
    if event.subject_kind is Subject.MESSAGE:
        data["message_id"] = event.subject_id
        if event.n is not None:
            data["n"] = event.n
        if event.address is not None:
            data["address"] = event.address
    if event.detail is not None:
        data["detail"] = event.detail
    return _encoded(event.kind, event.at_ms, data)


def _encoded(kind: str, at_ms: int, data: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _encode({"type": kind, "timestamp": at, "data": data}).decode()
