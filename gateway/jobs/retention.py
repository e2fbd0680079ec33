"""Retention: what is older than its days goes, a day at a time, in slices that never hold up acceptance.

Each part of the gateway names what of its own is to go (`Purge`); here is when and how. Ids begin with their
time, so "older than" is a range of the primary key. It is deleted in slices between other batches, on both
engines; PostgreSQL's autovacuum then makes the room free for new rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from gateway.clock import Clock
from gateway.store.store import Store
from gateway.store.tx import Row, Tx
from policy.retention import DAY_MS, first_kept_day

log = structlog.get_logger(__name__)

SLICE = 500
"""Rows that are deleted at a time."""
# A loose scan: one look into the index for each account, however many rows it has.
_ACCOUNTS = """
WITH RECURSIVE one (account_id) AS (
  SELECT min(account_id) FROM {table}
  UNION ALL SELECT (SELECT min(account_id) FROM {table} WHERE account_id > one.account_id)
  FROM one WHERE one.account_id IS NOT NULL)
SELECT account_id FROM one WHERE account_id IS NOT NULL
"""

Purge = Callable[[Store, int], Awaitable[int]]
"""Deletes what need not be kept at a time (epoch milliseconds); how many rows."""
Before = Callable[[int], int]
"""What is from before which time goes at a time (both epoch milliseconds)."""


class Delete(Protocol):
    """Deletes up to `limit` rows from before `before_ms`, passing over what somebody is at; how many."""

    def __call__(self, tx: Tx, *, before_ms: int, limit: int) -> int: ...


class DeleteOfAccount(Protocol):
    """The same for one account."""

    def __call__(self, tx: Tx, account_id: str, *, before_ms: int, limit: int) -> int: ...


def older_than(keep_ms: int) -> Before:
    """What is older than `keep_ms`."""
    return lambda now_ms: now_ms - keep_ms


def whole_days(days: int) -> Before:
    """What is from a day (UTC) before the last `days`."""
    return lambda now_ms: first_kept_day(now_ms, days) * DAY_MS


def sweeping(delete: Delete, before: Before) -> Purge:
    """Runs `delete` slice by slice; between two slices other writes have their turn."""

    async def purge(store: Store, now_ms: int) -> int:
        return await _in_slices(store, partial(delete, before_ms=before(now_ms), limit=SLICE))

    return purge


def sweeping_accounts(table: str, delete: DeleteOfAccount, before: Before) -> Purge:
    """The same account by account, for all that have rows in `table`, whose key begins with the account."""

    async def purge(store: Store, now_ms: int) -> int:
        total = 0
        for account_id in await store.read(lambda tx: accounts_in(tx, table)):
            total += await _in_slices(
                store, partial(delete, account_id=account_id, before_ms=before(now_ms), limit=SLICE)
            )
        return total

    return purge


def accounts_in(tx: Tx, table: str) -> list[str]:
    """The ids of the accounts that have rows in `table`."""
    rows: list[Row] = tx.rows(_ACCOUNTS.format(table=table))
    return [str(account_id) for (account_id,) in rows]


async def _in_slices(store: Store, one: Callable[[Tx], int]) -> int:
    total = 0
    while True:
        count = await store.sweep(one)
        total += count
        if count < SLICE:
            return total
        await asyncio.sleep(0)


async def purge_all(purges: Sequence[Purge], store: Store, clock: Clock) -> int:
    """Runs all `purges`; how many rows went."""
    now_ms = clock.now_ms()
    total = 0
    for purge in purges:
        total += await purge(store, now_ms)
    if total:
        log.info("retention_done", rows=total)
    return total
