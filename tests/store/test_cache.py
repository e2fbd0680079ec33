"""The caches: bounded, emptied by any change, never holding what was read before a change."""

import asyncio
import threading
from pathlib import Path

import pytest

from gateway.store import revision
from gateway.store.cache import Caches
from gateway.store.errors import StoreBusy
from gateway.store.store import Store
from gateway.store.tx import Tx
from tests.support.services import CountingStore, eventually, polling, services


def load_name(tx: Tx, account_id: str) -> str | None:
    row = tx.one("SELECT name FROM account WHERE id = ?", (account_id,))
    return None if row is None else str(row[0])


def rename(tx: Tx, account_id: str, name: str) -> None:
    tx.run("UPDATE account SET name = ? WHERE id = ?", (name, account_id))


async def test_a_hit_reads_nothing_and_a_miss_is_not_held(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        cache = rig.caches.cache(load_name, 10)
        account = await rig.account()
        spy = CountingStore(rig.store)
        assert [await cache.get(account.id) for _ in range(3)] == ["Ada"] * 3
        assert spy.reads == 1
        assert await cache.get("nobody") is None
        assert await cache.get("nobody") is None
        assert spy.reads == 3


async def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:

        def load(_tx: Tx, key: str) -> str:
            return key.upper()

        cache = rig.caches.cache(load, 2)
        for key in ("a", "b", "a", "c"):
            await cache.get(key)
        assert (cache.peek("a"), cache.peek("b"), cache.peek("c"), len(cache)) == ("A", None, "C", 2)


async def test_our_own_write_is_seen_at_once(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        cache = rig.caches.cache(load_name, 10)
        account = await rig.account()
        await cache.get(account.id)
        await rig.caches.write(lambda tx: rename(tx, account.id, "Eve"))
        assert cache.peek(account.id) is None
        assert await cache.get(account.id) == "Eve"
        assert await rig.caches.fresh() is False  # and empties nothing a second time
        assert cache.peek(account.id) == "Eve"


async def test_what_was_read_before_a_change_is_not_held(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        reading, changed = threading.Event(), threading.Event()

        def slow(tx: Tx, account_id: str) -> str | None:
            name = load_name(tx, account_id)
            reading.set()
            assert changed.wait(5)
            return name

        cache = rig.caches.cache(slow, 10)
        lookup = asyncio.create_task(cache.get(account.id))
        await asyncio.to_thread(reading.wait, 5)
        await rig.caches.write(lambda tx: rename(tx, account.id, "Eve"))
        changed.set()
        assert await lookup == "Ada"
        assert cache.peek(account.id) is None
        assert await cache.get(account.id) == "Eve"


async def test_a_look_up_after_a_change_does_not_share_one_from_before(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        reading, changed = threading.Event(), threading.Event()

        def slow(tx: Tx, account_id: str) -> str | None:
            name = load_name(tx, account_id)
            reading.set()
            assert changed.wait(5)
            return name

        cache = rig.caches.cache(slow, 10)
        before = asyncio.create_task(cache.get(account.id))
        await asyncio.to_thread(reading.wait, 5)
        await rig.caches.write(lambda tx: rename(tx, account.id, "Eve"))
        after = asyncio.create_task(cache.get(account.id))
        await asyncio.sleep(0)
        changed.set()
        assert (await before, await after) == ("Ada", "Eve")


async def test_one_caller_who_leaves_does_not_spoil_the_others(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        cache = rig.caches.cache(load_name, 10)
        account = await rig.account()
        leaving = asyncio.create_task(cache.get(account.id))
        staying = asyncio.create_task(cache.get(account.id))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == "Ada"


async def test_a_failing_look_up_reaches_its_callers_and_is_tried_again(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        broken = True

        def load(_tx: Tx, key: str) -> str:
            if broken:
                raise ValueError("no")
            return key

        cache = rig.caches.cache(load, 10)
        answers = await asyncio.gather(*(cache.get("a") for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ValueError] * 3
        broken = False
        assert await cache.get("a") == "a"


async def test_the_watch_sees_another_processs_change(tmp_path: Path) -> None:
    async with services(tmp_path) as daemon, services(tmp_path) as command:
        cache = daemon.caches.cache(load_name, 10)
        account = await command.account()
        watch = polling(daemon.caches)
        await watch.start()
        await cache.get(account.id)
        await command.caches.write(lambda tx: rename(tx, account.id, "Eve"))

        async def seen() -> bool:
            return await cache.get(account.id) == "Eve"

        async with asyncio.timeout(1):
            await eventually(seen)
        await watch.stop()


async def test_a_change_that_is_rolled_back_counts_nothing(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:

        def fail(tx: Tx) -> None:
            revision.bump(tx)
            raise ValueError("no")

        before = await rig.store.read(revision.read)
        with pytest.raises(ValueError, match="no"):
            await rig.caches.write(fail)
        assert await rig.store.read(revision.read) == before


async def test_the_watch_sees_changes_while_the_readers_are_flooded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as rig:
        await rig.account()
        await rig.store.write(revision.bump)  # as another process does

        async def flooded(_store: Store, _function: object) -> object:
            raise StoreBusy("Too many reads wait for the database.")

        with monkeypatch.context() as patched:
            patched.setattr(Store, "read", flooded)
            assert await rig.caches.fresh() is True
            assert await rig.caches.fresh() is False


async def test_when_nobody_can_say_whether_it_changed_nothing_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as rig:
        caches = Caches(rig.store, poll_s=0.01)
        cache = caches.cache(load_name, 10)
        account = await rig.account()
        await cache.get(account.id)

        async def away(_store: Store, _function: object) -> object:
            raise OSError("the database is away")

        monkeypatch.setattr(Store, "read", away)
        watch = polling(caches)
        await watch.start()

        async def empty() -> bool:
            return cache.peek(account.id) is None

        await eventually(empty)
        monkeypatch.undo()
        assert await cache.get(account.id) == "Ada"  # and the watch goes on
        await watch.stop()
        await caches.close()
