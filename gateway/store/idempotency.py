"""Idempotency keys (A4): what was answered under a key, kept in the transaction that did what was answered.

All functions work inside the caller's transaction. An answer is bound to a digest of what was asked; the same
key with another digest raises `KeyReused`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.store.locks import Conflict
from gateway.store.tx import Row, Tx

_FIND = "SELECT digest, answer FROM idempotency WHERE account_id = ? AND key = ? AND expires_ms > ?"
_KEEP = """
INSERT INTO idempotency (account_id, key, digest, answer, expires_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account_id, key) DO UPDATE
SET digest = excluded.digest, answer = excluded.answer, expires_ms = excluded.expires_ms
WHERE idempotency.expires_ms <= ?
"""
_PURGE = """
DELETE FROM idempotency WHERE (account_id, key) IN (
  SELECT account_id, key FROM idempotency WHERE expires_ms <= ? LIMIT ?{skip_locked})
"""


class KeyReused(Exception):
    """The idempotency key was used before with another payload (HTTP 422)."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key and the digest of what it sent under it."""

    key: str
    digest: bytes
    expires_ms: int


def find(tx: Tx, account_id: str, key: IdempotencyKey, *, now_ms: int) -> str | None:
    """What was answered under the key, None if it is new. Raises KeyReused."""
    answer = find_many(tx, [(account_id, key)], now_ms=now_ms)[0]
    if isinstance(answer, KeyReused):
        raise answer
    return answer


def find_many(
    tx: Tx, asked: Sequence[tuple[str, IdempotencyKey]], *, now_ms: int
) -> list[str | KeyReused | None]:
    """The same for several (account id, key) pairs; KeyReused stands in the list."""
    found = tx.rows_many(_FIND, [(account_id, key.key, now_ms) for account_id, key in asked])
    return [_answer(key, rows) for (_, key), rows in zip(asked, found, strict=True)]


def _answer(key: IdempotencyKey, rows: list[Row]) -> str | KeyReused | None:
    if not rows:
        return None
    digest, answer = rows[0]
    if bytes(digest) != key.digest:
        return KeyReused("This Idempotency-Key was used with another payload.")
    return str(answer)


def keep(tx: Tx, account_id: str, key: IdempotencyKey, answer: str, *, now_ms: int) -> None:
    """Keeps the answer until the key expires. Raises Conflict as `keep_many` does."""
    keep_many(tx, [(account_id, key, answer)], now_ms=now_ms)


def keep_many(tx: Tx, answers: Sequence[tuple[str, IdempotencyKey, str]], *, now_ms: int) -> None:
    """Keeps (account id, key, answer) each until its key expires.

    Raises Conflict when another process has answered under one of the keys since `find` looked.
    """
    rows = [
        (account_id, one.key, one.digest, answer, one.expires_ms, now_ms)
        for account_id, one, answer in answers
    ]
    if tx.run_many(_KEEP, sorted(rows)) < len(rows):
        raise Conflict("an idempotency key was used in another process")


def purge(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` keys that expired until `before_ms`; how many it were. It is a sweep."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (before_ms, limit))
