"""The store: group commit, isolation of failures, limits, versions, locks, leases, retention."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from config.schema import Settings
from gateway.jobs.retention import purge_all
from gateway.messages import retention as retention_module
from gateway.messages.accept.accepting import AcceptMessages
from gateway.messages.settle.operation import SettleDeliveries
from gateway.store import leases
from gateway.store.errors import StoreBusy, StoreError, StoreFailed
from gateway.store.held import HeldLeases
from gateway.store.operation import Operation
from gateway.store.store import Store
from gateway.store.tx import Tx
from gateway.verticals import purges
from tests.postgres_server import PostgresServer
from tests.support.databases import database_url, fresh_database
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import MAIL, rig

HOLDER = "h" * 26


on_each_engine = pytest.mark.usefixtures("engine")


def url(folder: Path) -> str:
    return database_url(folder)


def bump(tx: Tx) -> int:
    return tx.run(
        "INSERT INTO revision (id, value) VALUES (1, 1) "
        "ON CONFLICT (id) DO UPDATE SET value = revision.value + 1"
    )


async def test_a_write_is_on_disk_when_its_future_resolves(tmp_path: Path) -> None:  # A1
    store = Store.open(url(tmp_path), upgrade=True)
    await store.write(bump)
    other = sqlite3.connect(tmp_path / "gateway.db")
    assert other.execute("SELECT value FROM revision").fetchone() == (1,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    await store.close()


@on_each_engine
async def test_many_writes_share_commits(tmp_path: Path) -> None:
    commits: list[int] = []
    store = Store.open(
        url(tmp_path), upgrade=True, observe=lambda operations, _seconds: commits.append(operations)
    )
    await asyncio.gather(*(store.write(bump) for _ in range(200)))
    assert sum(commits) == 200
    assert len(commits) < 50
    await store.close()


@on_each_engine
async def test_one_operation_that_fails_takes_no_other_with_it(
    tmp_path: Path, logged: list[EventDict]
) -> None:
    store = Store.open(url(tmp_path), upgrade=True)

    def broken(tx: Tx) -> int:
        bump(tx)
        raise ValueError("no")

    def bad_sql(tx: Tx) -> int:
        return tx.run("INSERT INTO nowhere VALUES (1)")

    results = await asyncio.gather(
        store.write(bump),
        store.write(broken),
        store.write(bad_sql),
        store.write(bump),
        return_exceptions=True,
    )
    assert results[0] == results[3] == 1, results
    assert isinstance(results[1], ValueError)
    assert isinstance(results[2], StoreFailed)
    assert await store.read(lambda tx: tx.rows("SELECT value FROM revision")) == [(2,)]
    await store.close()
    assert [(one["event"], one["operations"], one["log_level"]) for one in logged] == [
        ("store_batch_failed", 4, "warning"),
        ("store_batch_failed", 1, "warning"),
    ]
    assert {one["error"] for one in logged} <= {"OperationalError", "UndefinedTable"}


@on_each_engine
async def test_a_statement_that_is_refused_does_not_make_the_store_unwritable(
    tmp_path: Path,
) -> None:
    """Or a client that asks for what is there already would turn /readyz to 503."""
    store = Store.open(url(tmp_path), upgrade=True)
    await store.write(bump)
    twice = "INSERT INTO revision (id, value) VALUES (1, 1)"
    with pytest.raises(StoreFailed):
        await store.write(lambda tx: tx.run(twice))
    assert not store.writer.failing
    await store.close()


class Bump(Operation[str]):
    """Light enough for the event loop. With `dangling` set, its COMMIT is refused, not its statement."""

    weight = 1

    def __init__(self, *, dangling: bool = False) -> None:
        self.dangling = dangling

    @classmethod
    def run_batch(cls, tx: Tx, operations: Sequence["Bump"]) -> list[str]:
        for operation in operations:
            bump(tx)
            if operation.dangling:
                tx.run("INSERT INTO child VALUES (1)")
        return [threading.current_thread().name] * len(operations)


async def test_light_statements_are_the_event_loops_and_many_are_the_threads(tmp_path: Path) -> None:
    store = Store.open(url(tmp_path), upgrade=True)
    assert await store.submit(Bump()) == "MainThread"
    many = await asyncio.gather(*(store.submit(Bump()) for _ in range(129)))
    assert set(many) == {"store-writer"}
    mixed = await asyncio.gather(store.submit(Bump()), store.write(bump))
    assert mixed[0] == "store-writer", "a function may take long"
    assert await store.read(lambda tx: tx.rows("SELECT value FROM revision")) == [(132,)]
    await store.close()


async def test_large_contents_are_written_and_removed_by_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    for kind in (AcceptMessages, SettleDeliveries):

        def noted(tx: Tx, operations: Sequence[Any], run: Callable[..., Any] = kind.run_batch) -> Any:
            threads.append(threading.current_thread().name)
            return run(tx, operations)

        monkeypatch.setattr(kind, "run_batch", noted)
    async with rig(tmp_path, [FakeUpstream()]) as one:
        for content in (MAIL, MAIL + b"x" * 3_000_000):
            sent = await one.send_mail(content=content)
            await one.settled(sent.id or "")
    assert threads == ["MainThread"] * 2 + ["store-writer"] * 2


async def test_the_event_loop_does_not_wait_for_another_process_that_writes(tmp_path: Path) -> None:
    store = Store.open(url(tmp_path), upgrade=True)
    locked, turned = threading.Event(), threading.Event()

    def hold() -> None:
        """Keeps the database locked until the event loop has turned; gives up on one that waits for it."""
        other = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        locked.set()
        turned.wait(5)
        other.execute("COMMIT")
        other.close()

    holder = asyncio.get_running_loop().run_in_executor(None, hold)
    await asyncio.to_thread(locked.wait, 5)
    waiting = store.submit(Bump())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    turned.set()
    assert await waiting == "store-writer"
    assert await store.submit(Bump()) == "MainThread", "and the next is quick again"
    await holder
    await store.close()


async def test_a_commit_that_is_refused_takes_only_its_cause_with_it(tmp_path: Path) -> None:
    store = Store.open(url(tmp_path), upgrade=True)

    def tables(tx: Tx) -> None:
        tx.run("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        tx.run("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")

    await store.write(tables)
    store.writer._session.tx.run("PRAGMA foreign_keys = ON")  # which has no effect inside a transaction
    results = await asyncio.gather(
        *(store.submit(Bump(dangling=number == 1)) for number in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [str, StoreFailed, str], results
    assert "FOREIGN KEY" in str(results[1])
    assert await store.submit(Bump()) == "MainThread"
    assert await store.read(lambda tx: tx.rows("SELECT value FROM revision")) == [(3,)]
    await store.close()


async def test_what_is_submitted_before_a_stop_is_written_and_after_it_refused(tmp_path: Path) -> None:
    store = Store.open(url(tmp_path), upgrade=True)
    writes = [store.submit(Bump()) for _ in range(50)]
    await store.writer.stop()
    assert all(write.done() for write in writes)
    with pytest.raises(StoreBusy, match="not running"):
        store.submit(Bump())
    await store.close()
    again = Store.open(url(tmp_path))
    assert await again.read(lambda tx: tx.rows("SELECT value FROM revision")) == [(50,)]
    await again.close()


@on_each_engine
async def test_a_full_queue_pushes_back_and_urgent_work_passes(tmp_path: Path) -> None:  # A6
    store = Store.open(url(tmp_path), upgrade=True, queue_max=5)
    writes = [asyncio.ensure_future(store.write(bump)) for _ in range(5)]
    await asyncio.sleep(0)  # one turn: all five are submitted
    with pytest.raises(StoreBusy):
        await store.write(bump)
    await store.write(bump, urgent=True)
    await asyncio.gather(*writes)
    await store.close()


async def test_a_database_without_schema_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="gateway db upgrade"):
        Store.open(url(tmp_path))


async def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    await Store.open(url(tmp_path), upgrade=True).close()
    database = sqlite3.connect(tmp_path / "gateway.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()
    for upgrade in (True, False):
        with pytest.raises(StoreError, match="newer than this program"):
            Store.open(url(tmp_path), upgrade=upgrade)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"this is not a database, but long enough to look at" * 100)
    with pytest.raises(StoreError, match="not a usable SQLite database"):
        Store.open(url(tmp_path), upgrade=True)


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot create this folder"):
        Store.open(f"sqlite:{tmp_path}/file/gateway.db", upgrade=True)


async def test_a_second_daemon_is_refused_and_the_lock_ends_with_the_first(tmp_path: Path) -> None:
    first = Store.open(url(tmp_path), upgrade=True, exclusive=True)
    with pytest.raises(StoreError, match="another gateway"):
        Store.open(url(tmp_path), exclusive=True)
    other = Store.open(url(tmp_path))  # the command line needs no lock
    await other.write(bump)
    await other.close()
    await first.close()
    await Store.open(url(tmp_path), exclusive=True).close()


async def test_the_database_is_for_its_owner_only(tmp_path: Path) -> None:
    store = Store.open(url(tmp_path), upgrade=True)
    assert (tmp_path / "gateway.db").stat().st_mode & 0o077 == 0
    await store.close()


@on_each_engine
async def test_a_lease_is_one_holders_until_it_runs_out(tmp_path: Path) -> None:
    store = Store.open(url(tmp_path), upgrade=True)

    async def take(holder: str, now_ms: int) -> bool:
        return await store.write(lambda tx: leases.take(tx, "bind", holder, now_ms=now_ms, lease_ms=100))

    assert await take("a", 0)
    assert await take("a", 50)
    assert not await take("b", 149)
    assert await take("b", 150)
    assert not await take("a", 151)
    await store.write(lambda tx: leases.drop(tx, "bind", "b"))
    assert await take("a", 152)
    await store.close()


async def test_a_clock_that_is_ahead_takes_nobodys_lease(postgresql: PostgresServer) -> None:
    """Machines that share a database go by its clock."""
    with fresh_database(postgresql) as database:
        store = Store.open(database)
        ahead = FakeClock()
        ahead.advance(3600)
        one = HeldLeases(store, FakeClock(), holder="a", lease_s=15)
        two = HeldLeases(store, ahead, holder="b", lease_s=15)
        assert await one.take("bind")
        assert not await two.take("bind")
        assert await one.take("bind")
        await one.drop("bind")
        assert await two.take("bind")
        await store.close()


@on_each_engine
async def test_retention_drops_finished_days_and_keeps_what_is_not_final(tmp_path: Path) -> None:
    clock = FakeClock()
    upstream = FakeUpstream()
    defaults = Settings()
    settings = replace(defaults, retention=replace(defaults.retention, message_days=2, event_days=2))
    async with rig(tmp_path, [upstream], settings=settings, clock=clock) as one:
        await one.store.write(add_account)
        old = await one.send_mail()
        await one.settled(old.id or "")
        waiting = await one.send_mail(send_at_ms=clock.now_ms() + 20 * 86_400_000)
        run = partial(purge_all, purges(settings), one.store, clock)
        assert await run() == 0
        clock.advance(4 * 86_400)
        young = await one.send_mail()
        await one.settled(young.id or "")
        assert await run() > 0
        rows = await one.store.read(lambda tx: tx.rows("SELECT id FROM message ORDER BY id"))
        assert rows == [(waiting.id,), (young.id,)]
        left = await one.store.read(lambda tx: tx.rows("SELECT DISTINCT message_id FROM event"))
        assert (old.id,) not in left
        deliveries = await one.store.read(lambda tx: tx.rows("SELECT message_id FROM delivery"))
        assert sorted(deliveries) == [(waiting.id,), (young.id,)]
        assert len(await one.store.read(lambda tx: tx.rows("SELECT 1 FROM content"))) == 1


@on_each_engine
async def test_retention_passes_over_what_waits_in_steps_and_finds_all_that_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "_SEARCHED", 3)
    monkeypatch.setattr(retention_module, "SLICE", 2)
    clock = FakeClock()
    defaults = Settings()
    keep = replace(defaults.retention, message_days=2, event_days=2, content_hours=1)
    settings = replace(defaults, retention=keep)
    async with rig(tmp_path, [FakeUpstream()], settings=settings, clock=clock) as one:
        await one.store.write(add_account)
        for number in range(12):
            later_ms = clock.now_ms() + 20 * 86_400_000 if number % 3 else None
            sent = await one.send_mail(send_at_ms=later_ms)
            if later_ms is None:
                await one.settled(sent.id or "")
        run = partial(purge_all, purges(settings), one.store, clock)
        clock.advance(2 * 3600)
        assert await run() == 4  # the content of what is final
        assert await counts(one.store) == {"content": 8, "delivery": 12, "message": 12}
        clock.advance(4 * 86_400)
        await run()
        assert await counts(one.store) == {"content": 8, "delivery": 8, "message": 8}
        statuses = await one.store.read(lambda tx: tx.rows("SELECT DISTINCT status FROM message"))
        assert statuses == [("scheduled",)]


def add_account(tx: Tx) -> int:
    """The account that the rig sends for."""
    return tx.run(
        "INSERT INTO account (id, name, status, created_ms) VALUES (?, 'a', 'active', 0)", ("0" * 26,)
    )


async def counts(store: Store) -> dict[str, int]:
    """Rows by table."""
    return {
        table: (await store.read(partial(Tx.rows, sql=f"SELECT count(*) FROM {table}")))[0][0]
        for table in ("content", "delivery", "message")
    }
