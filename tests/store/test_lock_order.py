"""One order of locks on PostgreSQL (`gateway.store.locks`): what two processes write at once never deadlocks.

Every kind of operation has a scene here; a new one without a scene fails the first test. Two stores run the
scenes of a pair over the same rows, one of them in the opposite order, and what PostgreSQL counts as
deadlocks stays 0.
"""

import ast
import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.typing import EventDict

import gateway
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.store import revision
from gateway.store.locks import Locks, Unforeseen, named
from gateway.store.operation import Call, Operation
from gateway.store.store import Store
from gateway.store.tx import Tx
from tests.postgres_server import PostgresServer
from tests.store.lock_scenes import NOW_MS, SCENES, UPSTREAM, World, part_id
from tests.support.databases import fresh_database

_ROUNDS = 2
_CROWDED_ROUNDS = 15
_PATIENT_ROUNDS = 200  # the first or second will do


@pytest.fixture
def url(postgresql: PostgresServer) -> Iterator[str]:
    """A fresh database, on which a deadlock is found at once."""
    with fresh_database(postgresql) as found:
        name = found.rpartition("/")[2]
        postgresql.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
        yield found


@asynccontextmanager
async def two_stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    stores = Store.open(url), Store.open(url)
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


def deadlocks(url: str) -> int:
    """What the server has counted; its connections tell it when they end."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def kinds() -> set[type[Operation[Any]]]:
    """Every kind of operation that the application has."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[Operation[Any]]] = set()
    heirs = list(Operation.__subclasses__())
    while heirs:
        kind = heirs.pop()
        heirs += kind.__subclasses__()
        if kind.__module__.startswith("gateway."):
            found.add(kind)
    return found


def test_every_kind_of_operation_has_a_scene() -> None:
    shown = {kind for kind, _ in SCENES.values()}
    missing = sorted(kind.__name__ for kind in kinds() - shown)
    assert missing == [], (
        "declare what it locks (Operation.locks) and give it a scene in tests/store/lock_scenes.py"
    )


_LOCKS_NOTHING = {
    "store/cache.py": 1,  # only reads
    "supervisor.py": 1,  # the leases of a dead worker, which it has to find first
    "credits/service.py": 1,  # a grant is a new lot
    "webhooks/service.py": 1,  # a ping is a new delivery
}
"""Functions given to the writer that declare no lock, by module."""


def test_every_function_for_the_writer_declares_its_locks() -> None:
    folder = Path(gateway.__file__).parent
    found: dict[str, int] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and is_undeclared(node):
                name = str(path.relative_to(folder))
                found[name] = found.get(name, 0) + 1
    assert found == _LOCKS_NOTHING, "say what the function changes that others may change (locks=…)"


def is_undeclared(node: ast.Call) -> bool:
    """Whether it is `….store.write(function)` or `Call(function)` without locks."""
    what = ast.unparse(node.func)
    if what.lstrip("_").endswith("store.write"):
        return all(word.arg != "locks" for word in node.keywords)
    is_call = what == "Call" and isinstance(node.args[0], (ast.Lambda, ast.Call))
    return is_call and len(node.args) < 2


async def play(world: World, stores: tuple[Store, Store], names: Sequence[str]) -> None:
    """Both stores write the scenes `names` at once, the second one backwards."""
    await world.reset(stores[0])
    futures: list[asyncio.Future[Any]] = []
    for side, store in enumerate(stores):
        operations = [one for name in names for one in SCENES[name][1](world, side)]
        turned = operations if side == 0 else operations[::-1]
        futures += [store.submit(operation, urgent=True) for operation in turned]
    async with asyncio.timeout(60):
        results = await asyncio.gather(*futures, return_exceptions=True)
    failed = [one for one in results if isinstance(one, Exception)]
    assert failed == [], f"{names}: {failed}"


def conflicts(logged: list[EventDict]) -> list[str]:
    """Why batches ran again. That two gave one idempotency key is no matter of order."""
    texts = [entry["error"] for entry in logged if entry["event"] == "store_batch_again"]
    logged.clear()
    return [text for text in texts if "an idempotency key was used" not in text]


async def test_no_pair_of_operations_deadlocks(url: str, logged: list[EventDict]) -> None:
    async with two_stores(url) as stores:
        world = await World.make(stores[0])
        for pair in combinations_with_replacement(SCENES, 2):
            for _ in range(_ROUNDS):
                await play(world, stores, list(dict.fromkeys(pair)))
            assert conflicts(logged) == [], f"{pair}"
    assert deadlocks(url) == 0


async def test_all_operations_together_do_not_deadlock(url: str, logged: list[EventDict]) -> None:
    async with two_stores(url) as stores:
        world = await World.make(stores[0])
        for _ in range(_CROWDED_ROUNDS):
            await play(world, stores, list(SCENES))
        assert conflicts(logged) == []
    assert deadlocks(url) == 0


async def test_without_the_order_the_same_scenes_deadlock(
    url: str, monkeypatch: pytest.MonkeyPatch, logged: list[EventDict]
) -> None:
    """The tests above would see it: one process takes the names backwards, one by one."""
    lock = Tx.lock

    async with two_stores(url) as stores:
        world = await World.make(stores[0])
        second = stores[1].writer._session.tx

        def lock_in_turn(tx: Tx, locks: Locks) -> None:
            if tx is second:
                for name in sorted(locks.names, reverse=True):
                    tx.rows("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))
            lock(tx, locks)

        monkeypatch.setattr(Tx, "lock", lock_in_turn)
        for _ in range(_PATIENT_ROUNDS):
            await play(world, stores, ["accept", "leases", "cancel"])
            if any("deadlock detected" in text for text in conflicts(logged)):
                break
    assert deadlocks(url) > 0


class Recording(psycopg.Cursor[Any]):
    """A cursor that notes what it is told."""

    told: "list[tuple[str, Any]]"

    def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
        self.told.append((str(query), params))
        return super().execute(query, params, **how)

    def executemany(self, query: Any, params_seq: Any, **how: Any) -> None:
        rows = list(params_seq)
        self.told += [(str(query), row) for row in rows]
        super().executemany(query, rows, **how)


async def test_locks_are_taken_first_and_in_their_order(url: str) -> None:
    """What a batch of everything tells the server: names, sorted; messages; and no lock that waits after."""
    async with two_stores(url) as (store, _):
        world = await World.make(store)
        await world.reset(store)
        told: list[tuple[str, Any]] = []
        recording = type("Noted", (Recording,), {"told": told})
        store.writer._session.tx._driver.cursor_factory = recording
        operations = [one for _, scene in SCENES.values() for one in scene(world, 0)]
        await asyncio.gather(*(store.submit(one, urgent=True) for one in reversed(operations)))
    names = [row[1] for sql, row in told if "pg_advisory" in sql]
    assert len(names) > 10
    assert names == sorted(names)
    (messages,) = [
        index for index, (sql, _) in enumerate(told) if "FROM message m" in sql and "FOR UPDATE" in sql
    ]
    assert "ORDER BY account_id, id" in told[messages][0]
    assert all("pg_advisory" not in sql for sql, _ in told[messages:])
    before = [sql.split()[0] for sql, _ in told[:messages]]
    assert set(before) == {"INSERT", "SELECT"}
    assert before.count("INSERT") == 1, "the batch's own number"
    late = {sql for sql, _ in told[messages + 1 :] if "FOR UPDATE" in sql}
    assert late
    assert all("SKIP LOCKED" in sql or "NOWAIT" in sql for sql in late)


async def test_a_lock_that_was_not_foreseen_is_taken_at_the_start_of_another_run(url: str) -> None:
    runs: list[Locks] = []

    def change(tx: Tx) -> int:
        runs.append(tx._locks)
        tx.require(named("a"))
        return revision.bump(tx)

    async with two_stores(url) as (store, _):
        assert await store.write(change, locks=named("b")) == 1
        assert await store.read(revision.read) == 1
    assert runs == [named("b"), named("a", "b"), Locks.all_of((named("a", "b"), revision.LOCK))]


async def test_what_wants_ever_more_locks_is_given_up_and_takes_nobody_with_it(url: str) -> None:
    count = 0

    def greedy(tx: Tx) -> None:
        nonlocal count
        count += 1
        raise Unforeseen(named(f"one more {count}"))

    async with two_stores(url) as (store, _):
        results = await asyncio.gather(
            store.submit(Call(greedy)), store.write(revision.bump), return_exceptions=True
        )
        assert isinstance(results[0], Exception)
        assert results[1] == 1


def test_shared_names_give_way_to_those_that_are_wanted_alone() -> None:
    alone, shared = named("parts:a"), Locks(shared=frozenset(["parts:a", "parts:b"]))
    both = Locks.all_of([alone, shared])
    assert not shared.without(both)
    assert alone.without(shared) == alone
    assert shared.without(alone) == Locks(shared=frozenset(["parts:b"]))


def told(upstream_id: str, *, delivered: bool) -> ApplyReceipts:
    return ApplyReceipts(
        PartReceipt(
            upstream=UPSTREAM,
            ids=(upstream_id,),
            delivered=delivered,
            state="DELIVRD" if delivered else "UNDELIV",
            received_ms=NOW_MS,
        ),
        refund_on=frozenset({"undelivered"}),
        keep_content=False,
        parked_max=100,
    )


async def refunded(store: Store, key: tuple[str, str], n: int) -> tuple[str, int]:
    """Status and refund of a delivery."""
    rows = await store.read(
        lambda tx: tx.rows(
            "SELECT status, refunded_credits FROM delivery WHERE account_id = ? AND message_id = ? AND n = ?",
            (*key, n),
        )
    )
    return rows[0][0], rows[0][1]


async def test_a_refund_for_parts_that_disagree_is_made_once(url: str, logged: list[EventDict]) -> None:
    """That an earlier part failed is seen only when the last one is marked: the batch begins again."""
    async with two_stores(url) as stores:
        world = await World.make(stores[0])
        await world.reset(stores[0])
        key = world.messages[0]
        await stores[0].submit(told(part_id(key, 2, 0), delivered=False))
        assert conflicts(logged) == []
        await stores[1].submit(told(part_id(key, 2, 1), delivered=True))
        assert len(conflicts(logged)) == 1
        assert await refunded(stores[0], key, 2) == ("failed", 1)


async def test_a_refund_for_a_receipt_that_came_before_its_part_is_made_once(
    url: str, logged: list[EventDict]
) -> None:
    async with two_stores(url) as stores:
        world = await World.make(stores[0])
        await world.reset(stores[0])
        key = world.messages[0]
        for part in (part_id(key, 0, 0), "same0"):
            await stores[1].submit(told(part, delivered=False))
        assert conflicts(logged) == []
        first, *_ = SCENES["settle"][1](world, 0)
        await stores[0].submit(first)
        assert len(conflicts(logged)) == 1
        assert await refunded(stores[0], key, 0) == ("failed", 1)


async def test_an_id_that_no_message_can_have_disturbs_no_other_lock(url: str) -> None:
    """A client may ask for whatever id it likes."""
    async with two_stores(url) as (store, _):
        world = await World.make(store)
        await world.reset(store)

        def free(_tx: Tx) -> int:
            with psycopg.connect(url) as other:
                return len(other.execute("SELECT 1 FROM message FOR UPDATE SKIP LOCKED").fetchall())

        odd = [(world.messages[0][0], text) for text in ("a,b", "", ",", "\0", "x" * 5000)]
        locks = Locks(messages=frozenset([*odd, *world.messages[:3]]))
        assert await store.write(free, locks=locks) == len(world.messages) - 3
