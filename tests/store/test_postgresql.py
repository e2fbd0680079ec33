"""PostgreSQL alone: connections that break, COMMITs without an answer, and what opening says."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine
from structlog.typing import EventDict

from config import Secret
from gateway.health import Readiness
from gateway.ids import IdFactory
from gateway.messages.model import Message
from gateway.store import postgresql, schema
from gateway.store.errors import StoreBusy, StoreError
from gateway.store.session import Lost
from gateway.store.store import Store
from gateway.store.tx import Tx
from tests.postgres_server import PostgresServer, postgres_server
from tests.store.proxy import CommitCutter, Proxy, proxy_to
from tests.support.databases import database_of, fresh_database
from tests.support.fakes import FakeUpstream
from tests.world import ACCOUNT, MAIL, rig

REVISION = "SELECT value FROM revision"


@pytest.fixture
def url(postgresql: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """A fresh database, which is also the one of `tmp_path`."""
    with fresh_database(postgresql) as found, database_of(tmp_path, found):
        yield found


@pytest.fixture
def proxy(postgresql: PostgresServer) -> Iterator[Proxy]:
    with proxy_to(postgresql.port) as one:
        yield one


def through(proxy: Proxy, url: str, server: PostgresServer) -> str:
    return url.replace(f":{server.port}/", f":{proxy.port}/")


def away(store: Store) -> bool:
    """Whether the writer says that its database cannot be reached."""
    return store.writer.away and store.writer.failing


def bump(tx: Tx) -> int:
    return tx.run(
        "INSERT INTO revision (id, value) VALUES (1, 1) "
        "ON CONFLICT (id) DO UPDATE SET value = revision.value + 1"
    )


# --- opening ------------------------------------------------------------------------------------------------


async def test_an_empty_database_says_how_to_make_the_schema(postgresql: PostgresServer) -> None:
    with fresh_database(postgresql, empty=True) as url:
        with pytest.raises(StoreError, match="gateway db upgrade"):
            Store.open(url)
        store = Store.open(url, upgrade=True, exclusive=True)
        assert not store.exclusive
        await store.close()


def test_two_processes_may_upgrade_at_once(postgresql: PostgresServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with fresh_database(postgresql, empty=True) as url, ThreadPoolExecutor(4) as pool:
        engines = [postgresql_engine(url) for _ in range(4)]
        list(pool.map(schema.upgrade, engines))
        assert schema.current(engines[0]) == schema.head()
        for engine in engines:
            engine.dispose()


def postgresql_engine(url: str) -> Engine:
    writer, readers = postgresql.open_engines(url)
    readers.dispose()
    return writer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("postgres@", "nobody@"), "role"),
        (lambda url: url + "_is_not_there", "does not exist"),
        (lambda url: "postgresql://postgres@127.0.0.1:1/x", "refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_told(url: str, change: object, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        Store.open(change(url), password=Secret("hidden"))  # type: ignore[operator]  # one of the lambdas


def test_another_encoding_is_refused(postgresql: PostgresServer) -> None:
    postgresql.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoding is LATIN1"):
        Store.open(postgresql.url("latin"))


async def test_a_commit_waits_for_the_disk_and_readers_see_one_snapshot(url: str) -> None:
    store = Store.open(url)
    shown = await store.write(lambda tx: tx.one("SELECT current_setting('synchronous_commit')"))
    assert shown == ("on",)
    shown = await store.read(lambda tx: tx.one("SELECT current_setting('transaction_isolation')"))
    assert shown == ("repeatable read",)
    await store.close()


async def test_text_with_nul_is_kept_all_the_same(url: str) -> None:
    store = Store.open(url)
    row = ("a\0b", "h" * 26, 1)
    await store.write(
        lambda tx: tx.run_many("INSERT INTO lease (name, holder, expires_ms) VALUES (?, ?, ?)", [row])
    )
    assert await store.read(lambda tx: tx.rows("SELECT name FROM lease")) == [
        ("a\N{REPLACEMENT CHARACTER}b",)
    ]
    await store.close()


# --- connections that break ---------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
async def test_a_commit_without_an_answer_is_looked_up_and_never_done_twice(
    url: str, proxy: Proxy, postgresql: PostgresServer, before: bool
) -> None:
    """`before`: the server never saw the COMMIT; otherwise it has done it, and only the answer is lost."""
    store = Store.open(through(proxy, url, postgresql))
    await store.write(bump)
    runs = 0

    def marked(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        tx.one("SELECT 'this batch'")
        return bump(tx)

    cutter = CommitCutter(proxy, before=before, mark=b"this batch")
    async with asyncio.timeout(20):
        assert await store.write(marked) == 1
    assert cutter.cuts == 1
    assert runs == (2 if before else 1)
    assert await store.read(lambda tx: tx.rows(REVISION)) == [(2,)]
    assert proxy.connections >= 3
    await store.close()


@pytest.mark.parametrize("before", [True, False])
async def test_a_message_whose_commit_got_no_answer_is_accepted_and_debited_once(
    url: str, proxy: Proxy, postgresql: PostgresServer, tmp_path: Path, before: bool
) -> None:
    upstream = FakeUpstream()
    with database_of(tmp_path, through(proxy, url, postgresql)):
        async with rig(tmp_path, [upstream]) as one:
            cutter = CommitCutter(proxy, before=before, mark=b"INSERT INTO message")
            async with asyncio.timeout(20):
                verdict = await one.send_mail()
                assert (await one.settled(verdict.id or "")).status == "delivered"
            assert cutter.cuts == 1
            assert await one.balance() == 99
            assert len(upstream.works) == 1
            assert await one.store.read(lambda tx: tx.rows("SELECT count(*) FROM message")) == [(1,)]


async def test_while_the_database_is_away_new_work_is_refused_and_urgent_work_waits(
    url: str, proxy: Proxy, postgresql: PostgresServer, logged: list[EventDict]
) -> None:
    store = Store.open(through(proxy, url, postgresql))
    readiness = Readiness(store)
    await store.write(bump)
    assert (await readiness.checks())["store"]
    proxy.cut()
    urgent = asyncio.ensure_future(store.write(bump, urgent=True))
    async with asyncio.timeout(10):
        while not away(store):
            await asyncio.sleep(0.01)
    with pytest.raises(StoreBusy):
        await store.write(bump)
    with pytest.raises(StoreBusy):
        await store.read(lambda tx: tx.rows(REVISION))
    assert not (await readiness.checks())["store"]
    assert not urgent.done()
    proxy.up = True
    async with asyncio.timeout(10):
        assert await urgent == 1
        while away(store):
            await asyncio.sleep(0.01)
    assert (await readiness.checks())["store"]
    assert await store.read(lambda tx: tx.rows(REVISION)) == [(2,)]
    await store.close()
    lost, *tried, found = logged
    assert (lost["event"], lost["committing"], type(lost["error"])) == ("store_lost", False, Lost)
    assert {one["event"] for one in tried} == {"store_not_reached"}
    assert all(one["error"] for one in tried)
    assert found["event"] == "store_found_again"
    assert found["away_s"] > 0


async def test_what_waits_too_long_for_the_database_is_told_to_come_again(
    url: str, proxy: Proxy, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.writer._PATIENCE_S", 0.2)
    store = Store.open(through(proxy, url, postgresql))
    await store.write(bump)
    proxy.cut()
    waiting = asyncio.ensure_future(store.write(bump))
    urgent = asyncio.ensure_future(store.write(bump, urgent=True))
    async with asyncio.timeout(10):
        with pytest.raises(StoreBusy):
            await waiting
    proxy.up = True
    async with asyncio.timeout(10):
        await urgent
    assert await store.read(lambda tx: tx.rows(REVISION)) == [(2,)]
    assert store.writer.waiting == 0
    await store.close()


async def test_a_stop_does_not_wait_for_ever_for_a_database_that_is_away(
    url: str, proxy: Proxy, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.writer._STOP_S", 0.2)
    store = Store.open(through(proxy, url, postgresql))
    await store.write(bump)
    proxy.cut()
    writes = [asyncio.ensure_future(store.write(bump, urgent=True)) for _ in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await store.close()
        assert all(
            isinstance(one, Exception) for one in await asyncio.gather(*writes, return_exceptions=True)
        )


async def test_stale_connections_of_readers_are_replaced(url: str, postgresql: PostgresServer) -> None:
    store = Store.open(url)
    await asyncio.gather(*(store.read(lambda tx: tx.rows("SELECT pg_sleep(0.05)")) for _ in range(4)))
    postgresql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'gateway%'"
    )
    assert await store.read(lambda tx: tx.rows("SELECT 1")) == [(1,)]
    async with asyncio.timeout(10):
        assert await store.write(bump) == 1
    await store.close()


async def test_a_server_that_is_killed_and_started_again_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with postgres_server() as server:
        server.execute("CREATE DATABASE gateway")
        store = Store.open(server.url("gateway"), upgrade=True)
        acknowledged = 0
        stop = asyncio.Event()

        async def write() -> None:
            nonlocal acknowledged
            while not stop.is_set():
                try:
                    await store.write(bump)
                except StoreBusy:
                    await asyncio.sleep(0.01)
                else:
                    acknowledged += 1

        writers = [asyncio.create_task(write()) for _ in range(8)]
        for _ in range(3):
            before = acknowledged
            async with asyncio.timeout(30):
                while acknowledged < before + 50:
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(server.stop, hard=True)
            await asyncio.to_thread(server.start)
        async with asyncio.timeout(30):
            before = acknowledged
            while acknowledged < before + 50:
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*writers)
        assert await store.read(lambda tx: tx.rows(REVISION)) == [(acknowledged,)]
        await store.close()


def test_writers_never_share_a_name() -> None:
    ids = IdFactory()
    names = {ids.new(int(time.time() * 1000)) for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(postgresql.writer_name(name)) < 64 for name in names)  # PostgreSQL's limit


def test_psycopg_is_the_compiled_one() -> None:
    assert psycopg.pq.__impl__ == "binary"


async def test_content_goes_with_the_last_delivery(url: str, tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        sent = await one.send_mail()
        assert (await one.settled(sent.id or "")).status == "delivered"
        assert await one.store.read(lambda tx: tx.rows("SELECT count(*) FROM content")) == [(0,)]


async def test_a_large_batch_is_copied_in_and_reads_as_a_small_one(url: str, tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        slots = [await one.mail(content=MAIL + b"\0\xff") for _ in range(60)]
        assert isinstance(slots[0], Message)
        slots[0].subject = "a\0b"
        verdicts = await one.road.acceptor.accept(ACCOUNT, slots, ingress="test")
        alone = await one.send_mail()
        many, single = await one.settled(verdicts[0].id or ""), await one.settled(alone.id or "")
        assert many.status == single.status == "delivered"
        assert many.subject == "a\N{REPLACEMENT CHARACTER}b"
        for field in fields(many):
            assert type(getattr(many, field.name)) is type(getattr(single, field.name)), field.name
        assert await one.balance() == 39
