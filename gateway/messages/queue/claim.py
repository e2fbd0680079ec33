"""Claiming: how what waits in the database comes into memory again.

Deliveries wait there when memory had no room, when they are scheduled or deferred, or when the process that
held them died. Lanes (destination, account) are found by jumping through the `due` index, so a million
deliveries of one dead destination cost one jump; each lane is then claimed up to its room in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.messages.model import Channel, Delivery, MailEnvelope, Message, SmsEnvelope, Status
from gateway.store.tx import Row, Tx

# Two jumps instead of (destination, account_id) > (?, ?): SQLite would walk through the lane it is to leave.
_NEXT_ACCOUNT = """
SELECT destination, account_id, next_attempt_ms FROM delivery
WHERE holder IS NULL AND status IN ('queued', 'sent') AND destination = ? AND account_id > ?
ORDER BY account_id, next_attempt_ms LIMIT 1
"""
_NEXT_DESTINATION = """
SELECT destination, account_id, next_attempt_ms FROM delivery
WHERE holder IS NULL AND status IN ('queued', 'sent') AND destination > ?
ORDER BY destination, account_id, next_attempt_ms LIMIT 1
"""
# Materialized: PostgreSQL must not look a second time, and find others, what it may lock LIMIT of.
_CLAIM = """
WITH due AS MATERIALIZED (
  SELECT account_id, message_id, n FROM delivery
  WHERE holder IS NULL AND status IN ('queued', 'sent')
    AND destination = ? AND account_id = ? AND next_attempt_ms <= ?
  ORDER BY next_attempt_ms LIMIT ?{skip_locked})
UPDATE delivery SET holder = ?
WHERE (account_id, message_id, n) IN (SELECT account_id, message_id, n FROM due) AND holder IS NULL
RETURNING account_id, message_id, n, address, destination, status, price_credits, attempts
"""
_SIZES = """
SELECT d.message_id, m.size_octets FROM delivery d
JOIN message m ON m.account_id = d.account_id AND m.id = d.message_id
WHERE d.holder IS NULL AND d.status IN ('queued', 'sent')
  AND d.destination = ? AND d.account_id = ? AND d.next_attempt_ms <= ?
ORDER BY d.next_attempt_ms LIMIT ?
"""
_MESSAGE = """
SELECT m.account_id, m.id, m.channel, m.ingress, m.sender, m.subject, m.envelope, m.accepted_ms, m.expires_ms,
  m.recipients, m.metadata, m.tags, c.data
FROM message m LEFT JOIN content c ON c.account_id = m.account_id AND c.message_id = m.id
WHERE m.account_id = ? AND m.id = ?
"""
_decode_mail = msgspec.json.Decoder(MailEnvelope).decode
_decode_sms = msgspec.json.Decoder(SmsEnvelope).decode


@dataclass(frozen=True, slots=True)
class LaneKey:
    """One lane of the waiting queue."""

    destination: str
    account_id: str


@dataclass(slots=True)
class Claimed:
    """What one claim brought: messages to deliver, and those whose wait for receipts is over."""

    messages: list[Message]
    receiptless: list[Message]


def due_lanes(tx: Tx, *, after: LaneKey, now_ms: int, limit: int) -> tuple[list[LaneKey], LaneKey | None]:
    """Up to `limit` lanes behind `after` that have something due, and where to go on (None: at the end)."""
    lanes: list[LaneKey] = []
    place = after
    for _ in range(limit):
        row = tx.one(_NEXT_ACCOUNT, (place.destination, place.account_id))
        row = row or tx.one(_NEXT_DESTINATION, (place.destination,))
        if row is None:
            return lanes, None
        place = LaneKey(row[0], row[1])
        if row[2] <= now_ms:
            lanes.append(place)
    return lanes, place


def claim(tx: Tx, lane: LaneKey, *, holder: str, now_ms: int, limit: int) -> list[Row]:
    """Takes up to `limit` due deliveries of `lane`, the longest due first; their rows."""
    sql = _CLAIM.format(skip_locked=tx.skip_locked)
    return tx.rows(sql, (lane.destination, lane.account_id, now_ms, limit, holder))


def fitting(tx: Tx, lane: LaneKey, *, now_ms: int, limit: int, octets: int) -> tuple[int, int]:
    """How many of the deliveries that `claim` would take have content that fits into `octets`, and how much
    that is: content is loaded only where there is memory for it.
    """
    used = 0
    seen: set[str] = set()
    rows = tx.rows(_SIZES, (lane.destination, lane.account_id, now_ms, limit))
    for count, (message_id, size) in enumerate(rows):
        if message_id not in seen:
            if used + size > octets:
                return count, used
            seen.add(message_id)
            used += size
    return len(rows), used


def load(tx: Tx, rows: Sequence[Row]) -> Claimed:
    """The messages of claimed delivery `rows`, each with the deliveries that were claimed."""
    by_message: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        by_message.setdefault((row[0], row[1], row[5]), []).append(row)
    claimed = Claimed([], [])
    for (account_id, message_id, status), members in by_message.items():
        found = tx.one(_MESSAGE, (account_id, message_id))
        if found is None:
            continue
        message = _message(found, [_delivery(row) for row in members])
        (claimed.receiptless if status == Status.SENT else claimed.messages).append(message)
    return claimed


def _delivery(row: Row) -> Delivery:
    _, _, n, address, destination, _, price_credits, attempts = row
    return Delivery(
        n=n, address=address, destination=destination, price_credits=price_credits, attempts=attempts
    )


def _message(row: Row, deliveries: list[Delivery]) -> Message:
    (account_id, message_id, channel, ingress, sender, subject, envelope, accepted_ms, expires_ms,
     recipients, metadata, tags, data) = row  # fmt: skip
    decode: Any = _decode_mail if channel == Channel.MAIL else _decode_sms
    return Message(
        account_id=account_id,
        id=message_id,
        channel=Channel(channel),
        ingress=ingress,
        sender=sender,
        subject=subject,
        envelope=decode(envelope),
        content=bytes(data or b""),
        accepted_ms=accepted_ms,
        expires_ms=expires_ms,
        deliveries=deliveries,
        recipients=recipients,
        metadata=None if metadata is None else msgspec.json.decode(metadata),
        tags=None if tags is None else msgspec.json.decode(tags),
    )
