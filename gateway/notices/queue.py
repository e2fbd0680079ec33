"""Notices as rows: queued in the transaction of what they tell of, and marked once they are told.

Whoever knows that an account should be told something queues it here, and no more: nothing below accounts can
read an address or send. `gateway.messages.notices` takes what waits and sends it. A notice is told at most
once: its row is marked in the transaction that makes the mail, and a dedupe key stands for one notice of an
account for as long as the row is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.ids import id_floor
from gateway.store.tx import Tx

_QUEUE = """
INSERT INTO notice (account_id, id, kind, language, data, dedupe_key, queued_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id, dedupe_key) DO NOTHING
"""
_WAITING = """
SELECT account_id, id, kind, language, data, queued_ms FROM notice
WHERE sent_ms IS NULL AND note IS NULL ORDER BY id LIMIT ?
"""
_MARK = """
UPDATE notice SET sent_ms = ?, message_id = ?, note = ? WHERE (account_id, id) IN (
  SELECT account_id, id FROM notice
  WHERE account_id = ? AND id = ? AND sent_ms IS NULL AND note IS NULL{skip_locked})
"""
_KEPT = """
SELECT kind, queued_ms, sent_ms, message_id, note FROM notice WHERE account_id = ? ORDER BY id DESC LIMIT ?
"""
_PURGE = """
DELETE FROM notice WHERE (account_id, id) IN (
  SELECT account_id, id FROM notice WHERE account_id = ? AND id < ? LIMIT ?{skip_locked})
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """One as the operator sees it: sent by a message, noted, or waiting."""

    kind: str
    queued_ms: int
    sent_ms: int | None
    message_id: str | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One that waits. `language` None: the configured one."""

    account_id: str
    id: str
    kind: str
    language: str | None
    data: Mapping[str, Any]
    queued_ms: int


def queue(
    tx: Tx,
    account_id: str,
    kind: str,
    language: str | None,
    data: Mapping[str, Any],
    dedupe_key: str,
    now_ms: int,
) -> bool:
    """Has the account told; False: it is, or was, told this under the same `dedupe_key`.

    Two transactions with the same key wait for one another: the caller's locks see to it that there are none.
    """
    text = msgspec.json.encode(data).decode()
    return tx.run(_QUEUE, (account_id, tx.new_id(now_ms), kind, language, text, dedupe_key, now_ms)) == 1


def waiting(tx: Tx, limit: int) -> list[Notice]:
    """Up to `limit` notices that wait, the longest first."""
    return [
        Notice(
            account_id=account_id,
            id=notice_id,
            kind=kind,
            language=language,
            data=msgspec.json.decode(data),
            queued_ms=queued_ms,
        )
        for account_id, notice_id, kind, language, data, queued_ms in tx.rows(_WAITING, (limit,))
    ]


def sent(tx: Tx, one: Notice, message_id: str, now_ms: int) -> bool:
    """Marks it as told by the message that the same transaction writes.

    False: it was told before, or another process is at it. It is a sweep, as `not_sent` is.
    """
    return _mark(tx, one, (now_ms, message_id, None))


def not_sent(tx: Tx, one: Notice, note: str) -> bool:
    """Notes why it will not be told; False as above."""
    return _mark(tx, one, (None, None, note))


def _mark(tx: Tx, one: Notice, state: tuple[int | None, str | None, str | None]) -> bool:
    return tx.run(_MARK.format(skip_locked=tx.skip_locked), (*state, one.account_id, one.id)) == 1


def of_account(tx: Tx, account_id: str, limit: int) -> list[Kept]:
    """Up to `limit` of the account's notices, the newest first."""
    return [Kept(*row) for row in tx.rows(_KEPT, (account_id, limit))]


def purge(tx: Tx, account_id: str, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` notices of an account from before `before_ms`; how many. A sweep."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (account_id, id_floor(before_ms), limit))
