"""Retention: what is older than its days goes, a day at a time, in slices that never hold up acceptance.

Ids begin with their time, so "older than" is a range of the primary key. It is deleted in slices between
other batches, on both engines; PostgreSQL's autovacuum then makes the room free for new rows. A message that
is not final stays, whatever its age; what has to be passed over is read by readers. One process does it at a
time, by lease.
"""

import asyncio
from functools import partial

import structlog

from config.schema import Settings
from gateway.ids import id_floor
from gateway.ingress import client_receipts
from gateway.ports import Clock
from gateway.store import leases
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.locks import Locks
from gateway.store.store import Store
from gateway.store.tx import Row, Tx, placeholders
from gateway.webhooks import outbox
from policy.retention import DAY_MS, first_kept_day

log = structlog.get_logger(__name__)

LEASE = "retention"
_SLICE = 500
_LEASE_MS = 600_000
_ACCOUNTS = "SELECT id FROM account"
_FINAL = "('delivered', 'partly_delivered', 'failed', 'cancelled')"
_SEARCHED = 2000  # rows that one search looks at, final or not

# What belongs to an account's final messages is searched for by readers, in steps along the key: a million
# queued messages to pass over would hold up the writer. Each table with the rest of its key.
_KEYS = {"content": ("message_id",), "delivery": ("message_id", "n"), "message": ("id",)}
_BEFORE_ALL: dict[str, Row] = {"content": ("",), "delivery": ("", -1), "message": ("",)}
_STEP_END = {  # where a step ends: (account_id, key seen last, id floor, rows)
    table: f"""
    SELECT {", ".join(key)} FROM {table}
    WHERE account_id = ? AND ({", ".join(key)}) > ({placeholders(key)[1:-1]}) AND {key[0]} < ?
    ORDER BY {", ".join(key)} LIMIT 1 OFFSET ?
    """  # noqa: S608 - the names stand in this file
    for table, key in _KEYS.items()
}
_STEP = {  # what is final in a step: (account_id, key seen last, the step's end, both as ids of messages)
    table: f"""
    SELECT {", ".join("t." + name for name in key)} FROM {table} t
    CROSS JOIN message m WHERE m.account_id = t.account_id AND m.id = t.{key[0]} AND t.account_id = ?
    AND ({", ".join("t." + name for name in key)}) > ({placeholders(key)[1:-1]})
    AND ({", ".join("t." + name for name in key)}) <= ({placeholders(key)[1:-1]})
    AND m.id >= ? AND m.id <= ? AND m.status IN {_FINAL}
    """  # noqa: S608 - the names stand in this file
    for table, key in _KEYS.items()
}
# Then it is deleted by key. A final message stays final; it is asked again, so that no mistake loses a mail.
_DELETE = {
    table: f"""
    DELETE FROM {table} WHERE account_id = ? AND {" AND ".join(name + " = ?" for name in key)} AND EXISTS (
      SELECT 1 FROM message m
      WHERE m.account_id = {table}.account_id AND m.id = {table}.{key[0]} AND m.status IN {_FINAL})
    """  # noqa: S608 - the names stand in this file
    for table, key in _KEYS.items()
}

_EVENTS = """
DELETE FROM event WHERE (account_id, message_id, id) IN (
  SELECT account_id, message_id, id FROM event WHERE account_id = ? AND message_id < ? LIMIT ?{skip_locked})
"""
# Over all accounts: (time, slice). They are sweeps: what somebody is at just now waits for the next time.
_IDEMPOTENCY = """
DELETE FROM idempotency WHERE (account_id, key) IN (
  SELECT account_id, key FROM idempotency WHERE expires_ms <= ? LIMIT ?{skip_locked})
"""
_PARTS = """
DELETE FROM sms_part WHERE (upstream, upstream_id) IN (
  SELECT upstream, upstream_id FROM sms_part WHERE submitted_ms < ? LIMIT ?{skip_locked})
"""
_PARKED = """
DELETE FROM parked_receipt WHERE (upstream, upstream_id) IN (
  SELECT upstream, upstream_id FROM parked_receipt WHERE received_ms < ? LIMIT ?{skip_locked})
"""
_LEASES = """
DELETE FROM lease WHERE name IN (SELECT name FROM lease WHERE expires_ms < ? LIMIT ?{skip_locked})
"""
_KNOWN_LOGINS = """
DELETE FROM known_login WHERE (account_id, credential_id, prefix) IN (
  SELECT account_id, credential_id, prefix FROM known_login WHERE last_ms <= ? LIMIT ?{skip_locked})
"""


class Retention:
    """Runs over everything that has grown old, when asked."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, *, holder: str) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._holder = holder

    async def run(self) -> int:
        """Deletes what is due; how many rows. Does nothing while another process is at it."""
        now_ms = self._clock.now_ms()
        if not await self._store.write(
            lambda tx: leases.take(tx, LEASE, self._holder, now_ms=now_ms, lease_ms=_LEASE_MS),
            locks=leases.locks(LEASE),
        ):
            return 0
        try:
            total = await self._run(now_ms)
        except (StoreBusy, StoreFailed) as error:
            log.warning("retention_put_off", reason=str(error))
            return 0
        finally:
            await self._store.write(
                lambda tx: leases.drop(tx, LEASE, self._holder), locks=leases.locks(LEASE), urgent=True
            )
        if total:
            log.info("retention_done", rows=total)
        return total

    async def _run(self, now_ms: int) -> int:
        keep = self._settings.retention
        parts_ms = self._settings.sms.receipt_timeout_s * 1000 + self._settings.sms.lifetime_s * 1000
        total = 0
        for sql, before_ms in (
            (_IDEMPOTENCY, now_ms),
            (_PARTS, now_ms - parts_ms),
            (_PARKED, now_ms - self._settings.sms.receipt_timeout_s * 1000),
            (_KNOWN_LOGINS, now_ms - self._settings.limits.auth_trusted_days * DAY_MS),
            (_LEASES, now_ms - DAY_MS),
        ):
            total += await self._sliced(sql, (before_ms,))
        messages = id_floor(first_kept_day(now_ms, keep.message_days) * DAY_MS)
        events = id_floor(first_kept_day(now_ms, keep.event_days) * DAY_MS)
        total += await self._purged(now_ms - keep.event_days * DAY_MS)
        content = id_floor(now_ms - keep.content_hours * 3_600_000)
        for (account_id,) in await self._store.read(lambda tx: tx.rows(_ACCOUNTS)):
            total += await self._final("content", account_id, content)
            total += await self._sliced(_EVENTS, (account_id, events))
            total += await self._final("delivery", account_id, messages)  # before the message that they name
            total += await self._final("message", account_id, messages)
        return total

    async def _purged(self, before_ms: int) -> int:
        """Drops what webhooks and SMPP clients were to be told so long ago."""
        total = 0
        while True:
            count = await self._store.sweep(lambda tx: _purge(tx, before_ms))
            total += count
            if count < _SLICE:
                return total

    async def _final(self, table: str, account_id: str, floor: str) -> int:
        """Deletes from `table` what belongs to final messages with ids below `floor`."""
        total, end = 0, _BEFORE_ALL[table]
        while end[0] < floor:
            step = partial(_step, table=table, account_id=account_id, seen=end, floor=floor)
            end, found = await self._store.read(step)
            for start in range(0, len(found), _SLICE):
                keys = [(account_id, *key) for key in found[start : start + _SLICE]]
                total += await self._store.write(
                    partial(Tx.run_many, sql=_DELETE[table], rows=keys),
                    locks=Locks(messages=frozenset((account_id, key[1]) for key in keys)),
                )
        return total

    async def _sliced(self, sql: str, key: tuple[object, ...]) -> int:
        """Runs a deletion slice by slice; between two slices other writes have their turn."""
        total = 0
        while True:
            count = await self._store.sweep(lambda tx: _slice(tx, sql, key))
            total += count
            if count < _SLICE:
                return total
            await asyncio.sleep(0)


def _step(tx: Tx, *, table: str, account_id: str, seen: Row, floor: str) -> tuple[Row, list[Row]]:
    """Where the step after `seen` ends (at `floor`, if it is the last), and the keys in it that are final."""
    end = tx.one(_STEP_END[table], (account_id, *seen, floor, _SEARCHED - 1)) or (floor, *seen[1:])
    return end, tx.rows(_STEP[table], (account_id, *seen, *end, seen[0], end[0]))


def _purge(tx: Tx, before_ms: int) -> int:
    webhooks = outbox.purge(tx, before_ms=before_ms, limit=_SLICE)
    return max(webhooks, client_receipts.purge(tx, before_ms=before_ms, limit=_SLICE))


def _slice(tx: Tx, sql: str, key: tuple[object, ...]) -> int:
    return tx.run(sql.format(skip_locked=tx.skip_locked), (*key, _SLICE))
