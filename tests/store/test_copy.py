"""`gateway db copy`: a whole installation moves to another database, broken off or not, and is verified."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from config.sections.store import Store as StoreSettings
from gateway.cli import db
from gateway.messages.model import Failed
from gateway.store import copy, leases, postgresql
from gateway.store.errors import StoreError
from gateway.store.store import Store
from gateway.webhooks import outbox
from tests.postgres_server import PostgresServer
from tests.support.cli import Cli
from tests.support.databases import database_of, fresh_database
from tests.support.fakes import FakeUpstream
from tests.world import rig

MESSAGES = 40


@pytest.fixture
def target(postgresql: PostgresServer) -> Iterator[str]:
    """A database with nothing in it, not even a schema."""
    with fresh_database(postgresql, empty=True) as url:
        yield url


@pytest.fixture
async def source(tmp_path: Path) -> str:
    """A database that has been worked with: mails and SMS delivered, failed, refunded and waiting."""
    folder = tmp_path / "source"
    folder.mkdir()
    upstream = FakeUpstream(recipients_per_work=1)
    async with rig(folder, [upstream], sms_credits=200) as one:
        for _ in range(MESSAGES):
            await one.send_mail(
                "b@example.net", "c@example.net", content=b"From: a@example.org\r\n\r\n\0\xff\r\n"
            )
        upstream.answer = lambda work, _attempt: (
            [Failed(reply="no\0", reason="rejected")] * len(work.deliveries)
        )
        verdicts = [await one.send_sms() for _ in range(5)]
        for verdict in verdicts:
            await one.settled(verdict.id or "")
        await one.send_mail(send_at_ms=one.clock.now_ms() + 86_400_000)
        await one.store.write(
            lambda tx: outbox.enqueue_one(tx, "0" * 26, "1" * 26, "message.delivered", {}, one.clock.now_ms())
        )
    return f"sqlite:{folder / 'gateway.db'}"


def opened(url: str) -> AbstractContextManager[Engine]:
    return db.database(StoreSettings(url=url))


def figures(url: str) -> copy.Figures:
    with opened(url) as engine:
        return copy.figures_of(engine)


def test_everything_moves_and_the_road_goes_on_where_it_was(cli: Cli, source: str, target: str) -> None:
    done = cli("db", "copy", "--from", source, "--to", target)
    assert done.code == 0, done.err
    assert "Copied and verified" in done.out
    assert figures(source) == figures(target)
    assert figures(target)["delivery"]["rows"] == 2 * MESSAGES + 6
    assert figures(target)["lot"]["remaining"] > 0

    async def go_on() -> None:
        upstream = FakeUpstream()
        with database_of(cli.folder / "elsewhere", target):
            async with rig(cli.folder / "elsewhere", [upstream], mail_credits=0, sms_credits=0) as one:
                verdict = await one.send_mail()
                assert (await one.settled(verdict.id or "")).status == "delivered"

    asyncio.run(go_on())


def test_it_moves_back_to_sqlite(cli: Cli, source: str, target: str, tmp_path: Path) -> None:
    assert cli("db", "copy", "--from", source, "--to", target).code == 0
    back = f"sqlite:{tmp_path / 'back.db'}"
    assert cli("db", "copy", "--from", target, "--to", back, "--json").json
    assert figures(back) == figures(source)


def test_a_copy_that_was_broken_off_goes_on(
    cli: Cli, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "_BATCH_ROWS", 7)
    steps: list[tuple[str, int]] = []

    class BrokenOffError(Exception):
        pass

    def show(table: str, done: int, _total: int) -> None:
        steps.append((table, done))
        if table == "event" and done >= 14:
            raise BrokenOffError

    with opened(source) as old, opened(target) as new, pytest.raises(BrokenOffError):
        copy.run(old, new, source_name="it", progress=show)
    with pytest.raises(StoreError, match="was not finished"):
        Store.open(target)
    broken, again = list(steps), []
    with opened(source) as old, opened(target) as new:
        copy.run(old, new, source_name="it", progress=lambda *step: again.append(step))
    assert ("event", 14) in broken
    assert again[[step[0] for step in again].index("event")][:2] == ("event", 14)  # not from the start
    assert figures(source) == figures(target)


def test_a_source_that_changed_meanwhile_is_refused(cli: Cli, source: str, target: str) -> None:
    def stop(table: str, _done: int, _total: int) -> None:
        if table == "event":
            raise KeyboardInterrupt

    with opened(source) as old, opened(target) as new, pytest.raises(KeyboardInterrupt):
        copy.run(old, new, source_name=source, progress=stop)
    database = sqlite3.connect(source.removeprefix("sqlite:"))
    database.execute("UPDATE message SET finished_ms = finished_ms + 1")
    database.commit()
    database.close()
    assert "before it changed" in cli("db", "copy", "--from", source, "--to", target).refusal()


def test_a_copy_that_is_not_the_same_is_told(cli: Cli, source: str, target: str) -> None:
    def spoil(table: str, _done: int, _total: int) -> None:
        if table == "webhook":  # after lot
            with psycopg.connect(target) as connection:
                connection.execute("UPDATE lot SET remaining = remaining - 1 WHERE remaining > 0")

    with opened(source) as old, opened(target) as new:
        with pytest.raises(StoreError, match="lot: remaining is"):
            copy.run(old, new, source_name=source, progress=spoil)
        with pytest.raises(StoreError, match="was not finished"):
            Store.open(target)


def test_what_cannot_be_is_refused_in_one_line(cli: Cli, source: str, target: str, tmp_path: Path) -> None:
    assert "does not exist" in cli("db", "copy", "--from", "sqlite:no.db", "--to", target).refusal()
    assert "same database" in cli("db", "copy", "--from", source, "--to", source).refusal()
    assert cli("db", "copy", "--from", source, "--to", target).code == 0
    assert "is not empty" in cli("db", "copy", "--from", source, "--to", target).refusal()


async def test_no_daemon_may_work_on_either_side(source: str, target: str) -> None:
    store = Store.open(source, exclusive=True)
    with pytest.raises(StoreError, match="another gateway"), db._for_us_alone(StoreSettings(url=source)):
        pass
    await store.close()
    store = Store.open(target, upgrade=True)
    now_ms = int(time.time() * 1000)
    await store.write(
        lambda tx: leases.take(tx, leases.process_lease("h"), "h", now_ms=now_ms, lease_ms=60_000)
    )
    await store.close()
    engines = postgresql.open_engines(target)
    with opened(source) as old, pytest.raises(StoreError, match="a daemon works"):
        copy.run(old, engines[0], source_name="it", progress=lambda *_: None)
    for engine in engines:
        engine.dispose()
