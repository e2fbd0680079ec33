"""Idempotency keys (A4): what was answered under a key, kept in the transaction that did what was answered.

All functions work inside the caller's transaction. An answer is bound to a digest of what was asked; the same
key with another digest raises `KeyReused`.
"""

from dataclasses import dataclass

from gateway.store.tx import Tx

_FIND = "SELECT digest, answer FROM idempotency WHERE account_id = ? AND key = ? AND expires_ms > ?"
_KEEP = """
INSERT INTO idempotency (account_id, key, digest, answer, expires_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account_id, key) DO UPDATE
SET digest = excluded.digest, answer = excluded.answer, expires_ms = excluded.expires_ms
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
    row = tx.one(_FIND, (account_id, key.key, now_ms))
    if row is None:
        return None
    if bytes(row[0]) != key.digest:
        raise KeyReused("This Idempotency-Key was used with another payload.")
    return str(row[1])


def keep(tx: Tx, account_id: str, key: IdempotencyKey, answer: str) -> None:
    """Keeps the answer until the key expires."""
    tx.run(_KEEP, (account_id, key.key, key.digest, answer, key.expires_ms))
