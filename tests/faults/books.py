"""The judgement over a run: what clients were told, what arrived and what is booked must agree (A1–A4)."""

import asyncio
import contextlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.store import postgresql
from gateway.store.store import sqlite_path
from tests.faults.clients import Tally

_TOKEN = re.compile(r"token-[a-z]+-\d+-")
_LOTS_OFF = """
SELECT count(*) FROM lot l
WHERE l.remaining <> (SELECT coalesce(sum(p.credits), 0) FROM posting p WHERE p.lot_id = l.id)
"""
_WAITING = "SELECT count(*) FROM message WHERE status = 'queued'"


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """All rows of a SELECT, on a connection of its own."""
    if postgresql.is_url(url):
        with psycopg.connect(url, target_session_attrs="read-write") as connection:
            return connection.execute(sql.encode()).fetchall()
    with contextlib.closing(sqlite3.connect(sqlite_path(url), timeout=10)) as file:
        return file.execute(sql).fetchall()


def number(url: str, sql: str) -> int:
    """The one number that a SELECT answers."""
    return int(ask(url, sql)[0][0] or 0)


async def drained(url: str, *, within_s: float = 60.0) -> None:
    """Returns when every message is final."""
    async with asyncio.timeout(within_s):
        while await asyncio.to_thread(number, url, _WAITING):
            await asyncio.sleep(0.1)


def judge(url: str, tally: Tally, texts: Sequence[str]) -> list[str]:
    """Everything that does not add up; nothing is what is wanted.

    Nothing crashes in these runs, so nothing may arrive twice either.
    """
    arrived = Counter(token for text in texts for token in set(_TOKEN.findall(text)))
    stored = dict(ask(url, "SELECT id, status FROM message WHERE ingress <> 'report'"))
    faults = [
        f"{token} {message_id} was acknowledged and is {stored.get(message_id)}, arrived {arrived[token]}"
        for token, message_id in tally.acked.items()
        if stored.get(message_id) != "delivered" or not arrived[token]
    ]
    faults += [
        f"{token} was refused ({tally.refused[token]}) and arrived"
        for token in tally.refused.keys() & arrived.keys()
    ]
    faults += [f"{token} arrived {count} times" for token, count in arrived.items() if count > 1]
    known = len(tally.acked) + len(tally.unanswered)
    if not len(tally.acked) <= len(stored) <= known:
        faults.append(f"{len(stored)} messages for {len(tally.acked)} to {known} acceptances")
    return faults + _books(url)


def _books(url: str) -> list[str]:
    price = number(url, "SELECT sum(price_credits - refunded_credits) FROM message")
    spent = number(url, "SELECT sum(granted - remaining) FROM lot")
    faults = [] if price == spent else [f"{price} credits' worth was accepted and {spent} debited"]
    if off := number(url, _LOTS_OFF):
        faults.append(f"{off} lots differ from their postings")
    keys = Counter(
        (text if isinstance(text, dict) else json.loads(text))["key"]
        for (text,) in ask(url, "SELECT metadata FROM message WHERE metadata IS NOT NULL")
    )
    return faults + [f"key {key} stored {count} times" for key, count in keys.items() if count > 1]
