"""Retention as it is put together: what is not kept for ever goes when its time has come, and not before."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, select

from config.schema import Settings
from gateway.accounts.tables import known_login
from gateway.events.tables import event
from gateway.ids import IdFactory
from gateway.jobs import retention
from gateway.jobs.retention import purge_all
from gateway.messages.receipts.tables import client_receipt
from gateway.messages.tables import parked_receipt, sms_part
from gateway.store.store import Store
from gateway.store.tables import idempotency, lease
from gateway.verticals import purges
from gateway.webhooks.tables import webhook_delivery
from policy.retention import DAY_MS, day_of
from tests.support.databases import database_url
from tests.support.fakes import FakeClock

ACCOUNT = "0" * 26
OLD, YOUNG = ("old 1", "old 2"), "young"


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows of `table` named in the column `name`; those whose time is before `kept_from_ms` are to go."""

    table: Table
    name: str
    kept_from_ms: int
    columns: Callable[[int], dict[str, Any]]
    """All others, of a row of a time."""

    def rows(self) -> list[dict[str, Any]]:
        """Two that are a millisecond too old, and one that is just young enough."""
        return [
            *({self.name: name, **self.columns(self.kept_from_ms - 1)} for name in OLD),
            {self.name: YOUNG, **self.columns(self.kept_from_ms)},
        ]


def settings() -> Settings:
    """Each time another one, so that none can stand for another."""
    given = Settings()
    return replace(
        given,
        limits=replace(given.limits, auth_trusted_days=3),
        sms=replace(given.sms, receipt_timeout_s=1000, lifetime_s=300),
        retention=replace(given.retention, event_days=5, message_days=7, content_hours=11),
    )


def kinds(now_ms: int) -> list[Kind]:
    """By `settings`; what is final of messages is in `test_store.py`."""
    return [
        Kind(idempotency, "key", now_ms + 1, _answered),
        Kind(lease, "name", now_ms - DAY_MS, lambda ms: {"holder": "", "expires_ms": ms}),
        Kind(
            known_login,
            "prefix",
            now_ms - 3 * DAY_MS + 1,
            lambda ms: _OF | {"credential_id": "", "digest": "", "last_ms": ms},
        ),
        Kind(
            sms_part,
            "upstream_id",
            now_ms - 1_300_000,
            lambda ms: (
                _OF
                | {"upstream": "", "message_id": "", "n": 0, "part": 0, "status": "sent", "submitted_ms": ms}
            ),
        ),
        Kind(
            parked_receipt,
            "upstream_id",
            now_ms - 1_000_000,
            lambda ms: {"upstream": "", "receipt": "", "received_ms": ms},
        ),
        Kind(webhook_delivery, "body", now_ms - 5 * DAY_MS, partial(_told, "delivered")),
        Kind(
            client_receipt,
            "message_id",
            now_ms - 5 * DAY_MS,
            lambda ms: _OF | {"system_id": "", "body": "", "due_ms": now_ms, "queued_ms": ms},
        ),
        Kind(event, "kind", (day_of(now_ms) - 5) * DAY_MS, _happened),  # whole days
    ]


_OF = {"account_id": ACCOUNT}


def _new_id(ms: int) -> str:
    """An id of this time; one factory gives none that is older than its last."""
    return IdFactory().new(ms)


def _answered(ms: int) -> dict[str, Any]:
    return _OF | {"digest": b"", "answer": "", "expires_ms": ms}


def _told(status: str, ms: int) -> dict[str, Any]:
    row = {"id": _new_id(ms), "webhook_id": "", "status": status, "next_attempt_ms": ms, "queued_ms": ms}
    return _OF | row


def _happened(ms: int) -> dict[str, Any]:
    return _OF | {"message_id": _new_id(ms), "id": _new_id(ms), "at_ms": ms}


@pytest.mark.usefixtures("engine")
async def test_every_kind_of_row_goes_when_its_time_has_come_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLICE", 1)  # as many slices as it takes
    clock = FakeClock()
    every = kinds(clock.now_ms())
    store = Store.open(database_url(tmp_path), upgrade=True)
    try:
        for one in every:
            await store.write(lambda tx, one=one: tx.execute(insert(one.table), one.rows()))  # type: ignore[misc]  # bound now
        waiting = {"body": "waiting", **_told("waiting", 1)}
        await store.write(lambda tx: tx.execute(insert(webhook_delivery), [waiting]))
        assert await purge_all(purges(settings()), store, clock) == len(OLD) * len(every)
        left = await store.read(
            lambda tx: {
                one.table.name: sorted(row[0] for row in tx.execute(select(one.table.c[one.name])))
                for one in every
            }
        )
        assert left == {one.table.name: [YOUNG] for one in every} | {"webhook_delivery": ["waiting", YOUNG]}
    finally:
        await store.close()
