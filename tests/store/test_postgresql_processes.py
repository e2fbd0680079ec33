"""Several processes on one PostgreSQL: every race in which two could spend, accept or deliver twice."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.messages.accept.accepting import AcceptMessages
from gateway.messages.model import Failed, Message, Submitted, Verdict
from gateway.messages.queue import claim
from gateway.messages.queue.claim import LaneKey
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.store import leases
from gateway.store.idempotency import IdempotencyKey, KeyReused
from gateway.store.locks import named
from gateway.store.store import Store
from gateway.store.tx import Tx
from tests.postgres_server import PostgresServer
from tests.support.databases import database_of, fresh_database
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, Rig, rig

REVISION = "SELECT value FROM revision"


@pytest.fixture
def url(postgresql: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """A fresh database, which is also the one of `tmp_path`."""
    with fresh_database(postgresql) as found, database_of(tmp_path, found):
        yield found


def bump(tx: Tx) -> int:
    return tx.run(
        "INSERT INTO revision (id, value) VALUES (1, 1) "
        "ON CONFLICT (id) DO UPDATE SET value = revision.value + 1"
    )


@asynccontextmanager
async def two_rigs(folder: Path, *upstreams: FakeUpstream, **fields: object) -> AsyncIterator[list[Rig]]:
    """Two processes' roads on one database, not started; credits come from the first."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            rig(folder, upstreams or [FakeUpstream()], start=False, **fields)  # type: ignore[arg-type]  # by name
        )
        second = await stack.enter_async_context(
            rig(folder, upstreams or [FakeUpstream()], start=False, mail_credits=0, sms_credits=0)
        )
        yield [first, second]


async def test_two_processes_never_spend_more_than_the_balance(url: str, tmp_path: Path) -> None:  # A2
    async with two_rigs(tmp_path, mail_credits=40) as rigs:
        verdicts = await asyncio.gather(*(one.send_mail() for _ in range(40) for one in rigs))
        assert sum(verdict.accepted for verdict in verdicts) == 40
        assert await rigs[0].balance() == 0
        assert await rigs[0].credits.unbalanced() == []


async def test_one_key_in_two_processes_is_accepted_once(url: str, tmp_path: Path) -> None:  # A4
    async with two_rigs(tmp_path) as rigs:
        for number in range(20):
            key = IdempotencyKey(f"k{number}", b"digest", rigs[0].clock.now_ms() + 86_400_000)
            slots = [await one.mail() for one in rigs]
            answers = await asyncio.gather(
                *(
                    one.road.acceptor.accept(ACCOUNT, [slot], key)
                    for one, slot in zip(rigs, slots, strict=True)
                )
            )
            assert answers[0][0].id == answers[1][0].id
            assert sorted(answer[0].replayed for answer in answers) == [False, True]
        assert await rigs[0].balance() == 80


async def test_one_key_for_two_requests_in_two_processes_is_one_requests(url: str, tmp_path: Path) -> None:
    async with two_rigs(tmp_path) as rigs:
        for number in range(20):
            expires_ms = rigs[0].clock.now_ms() + 86_400_000
            slots = [await rigs[0].mail(), await rigs[1].sms()]
            answers = await asyncio.gather(
                *(
                    one.road.acceptor.accept(
                        ACCOUNT, [slot], IdempotencyKey(f"k{number}", slot.channel.encode(), expires_ms)
                    )
                    for one, slot in zip(rigs, slots, strict=True)
                    if isinstance(slot, Message)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(answer, KeyReused) for answer in answers) == 1
        assert await rigs[0].balance() + await rigs[0].balance("sms") == 180


async def test_two_processes_order_one_recharge(url: str, tmp_path: Path) -> None:
    async with two_rigs(tmp_path, mail_credits=30) as rigs:
        await rigs[0].credits.set_recharge(ACCOUNT, "mail", enabled=True, threshold=25, amount=10)
        await asyncio.gather(*(one.send_mail() for _ in range(10) for one in rigs))
        rows = await rigs[0].store.read(lambda tx: tx.rows("SELECT status FROM credit_order"))
        assert rows.count(("created",)) <= 1
        assert rows


async def test_a_delivery_is_claimed_by_one_process(url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with two_rigs(tmp_path, mail_credits=300, clock=clock) as rigs:
        at_ms = clock.now_ms() + 1000
        slots = [await rigs[0].mail(send_at_ms=at_ms) for _ in range(300)]
        await rigs[0].road.acceptor.accept(ACCOUNT, slots)
        lane = LaneKey("fake", ACCOUNT)

        async def take(one: Rig, holder: str) -> list[str]:
            taken: list[str] = []
            while rows := await one.store.write(
                lambda tx: claim.claim(tx, lane, holder=holder, now_ms=at_ms, limit=7)
            ):
                assert len(rows) <= 7
                taken += [row[1] for row in rows]
            return taken

        found = await asyncio.gather(
            *(take(one, str(index) * 26) for index, one in enumerate([*rigs, *rigs]))
        )
        assert all(found)
        assert sorted(one for taken in found for one in taken) == sorted(
            slot.id for slot in slots if isinstance(slot, Message)
        )


async def test_the_last_of_two_recipients_makes_the_message_final_whoever_settles_it(
    url: str, tmp_path: Path
) -> None:
    """Two receipts, one per process, at the same time: both deliveries are settled and so is the message."""
    upstream = FakeUpstream(recipients_per_work=1)
    upstream.answer = lambda work, _attempt: [
        Submitted(upstream="fake", upstream_ids=(f"{work.message.id}/{work.deliveries[0].n}",))
    ]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(rig(tmp_path, [upstream]))
        second = await stack.enter_async_context(
            rig(tmp_path, [FakeUpstream()], start=False, mail_credits=0, sms_credits=0)
        )
        for _ in range(15):
            verdict = await first.send_sms("+41791234567", "+41791234568")
            async with asyncio.timeout(10):
                while any(one.attempts == 0 for one in (await first.view(verdict.id or "")).recipients):
                    await asyncio.sleep(0.005)
            await asyncio.gather(
                *(
                    one.store.submit(receipt(f"{verdict.id}/{n}", first.clock.now_ms()))
                    for n, one in enumerate((first, second))
                )
            )
            assert (await first.view(verdict.id or "")).status == "delivered"


def receipt(upstream_id: str, now_ms: int, *, delivered: bool = True) -> ApplyReceipts:
    return ApplyReceipts(
        PartReceipt(
            upstream="fake",
            ids=(upstream_id,),
            delivered=delivered,
            state="DELIVRD" if delivered else "UNDELIV",
            received_ms=now_ms,
        ),
        refund_on=frozenset({"undelivered"}),
        keep_content=False,
        parked_max=100,
    )


async def test_two_parts_told_to_two_processes_make_one_delivery_final(url: str, tmp_path: Path) -> None:
    upstream = FakeUpstream(recipients_per_work=1)
    upstream.answer = lambda work, _attempt: [
        Submitted(upstream="fake", upstream_ids=tuple(f"{work.message.id}/{part}" for part in range(2)))
    ]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(rig(tmp_path, [upstream]))
        second = await stack.enter_async_context(
            rig(tmp_path, [FakeUpstream()], start=False, mail_credits=0, sms_credits=0)
        )
        for _ in range(15):
            verdict = await first.send_sms(text="x" * 200)
            async with asyncio.timeout(10):
                while (await first.view(verdict.id or "")).recipients[0].attempts == 0:
                    await asyncio.sleep(0.005)
            await asyncio.gather(
                *(
                    one.store.submit(receipt(f"{verdict.id}/{part}", first.clock.now_ms()))
                    for part, one in enumerate((first, second))
                )
            )
            assert (await first.view(verdict.id or "")).status == "delivered"


async def test_a_receipt_that_meets_its_part_in_another_process_is_not_lost(url: str, tmp_path: Path) -> None:
    """The receipt comes to the second process while the first is just recording the part."""
    told: list[asyncio.Future[list[str | None]]] = []
    upstream = FakeUpstream(recipients_per_work=1, concurrency=8)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(rig(tmp_path, [upstream]))
        second = await stack.enter_async_context(
            rig(tmp_path, [FakeUpstream()], start=False, mail_credits=0, sms_credits=0)
        )

        def answer(work: object, attempt: int) -> list[Submitted]:
            told.append(second.store.submit(receipt(f"id{attempt}", first.clock.now_ms())))
            return [Submitted(upstream="fake", upstream_ids=(f"id{attempt}",))]

        upstream.answer = answer
        verdicts = await asyncio.gather(*(first.send_sms() for _ in range(40)))
        for verdict in verdicts:
            assert (await first.settled(verdict.id or "")).status == "delivered"
        await asyncio.gather(*told)
        assert await first.store.read(lambda tx: tx.rows("SELECT count(*) FROM parked_receipt")) == [(0,)]


async def test_refunds_and_debits_of_two_processes_balance(url: str, tmp_path: Path) -> None:
    failing = FakeUpstream(recipients_per_work=1, concurrency=8)
    failing.answer = lambda _work, _attempt: [Failed(reply="no", reason="rejected")]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(rig(tmp_path, [failing], sms_credits=500))
        second = await stack.enter_async_context(rig(tmp_path, [failing], mail_credits=0, sms_credits=0))
        verdicts = await asyncio.gather(
            *(one.send_sms("+41791234567", "+41791234568") for _ in range(30) for one in (first, second))
        )
        for verdict in verdicts:
            view = await first.settled(verdict.id or "")
            assert view.refunded_credits == 2
        assert await first.balance("sms") == 500
        assert await first.credits.unbalanced() == []


async def test_a_holder_that_renews_is_not_taken_over(url: str) -> None:
    store = Store.open(url)
    name = leases.process_lease("a" * 26)
    await store.write(lambda tx: leases.take(tx, name, "a" * 26, now_ms=0, lease_ms=100))
    assert await store.write(lambda tx: leases.renew_process(tx, "a" * 26, expires_ms=200))
    assert not await store.write(lambda tx: leases.take_over(tx, "a" * 26, expires_ms=150))
    assert await store.write(lambda tx: leases.renew_process(tx, "a" * 26, expires_ms=300))
    await store.close()


async def test_a_lease_that_was_taken_over_is_never_renewed_again(url: str) -> None:
    store = Store.open(url)
    name = leases.process_lease("a" * 26)
    await store.write(lambda tx: leases.take(tx, name, "a" * 26, now_ms=0, lease_ms=100))
    assert await store.write(lambda tx: leases.take_over(tx, "a" * 26, expires_ms=100))
    assert not await store.write(lambda tx: leases.renew_process(tx, "a" * 26, expires_ms=1000))
    assert await store.write(lambda tx: leases.take_over(tx, "a" * 26, expires_ms=0)), "it stays dead"
    await store.close()


async def test_who_stands_still_inside_a_transaction_soon_lets_the_others_go_on(url: str) -> None:
    frozen, other = Store.open(url, lease_s=1.5), Store.open(url)
    inside, thaw = threading.Event(), threading.Event()
    runs = 0

    def stand_still(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        changed = bump(tx)
        inside.set()
        assert thaw.wait(30)
        return changed

    held = asyncio.ensure_future(frozen.write(stand_still, locks=named("revision")))
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(inside.wait, 10)
        assert await other.write(bump, locks=named("revision")) == 1
        assert not held.done()
        thaw.set()
        assert await held == 1
    assert runs == 2
    assert await other.read(lambda tx: tx.rows(REVISION)) == [(2,)]
    for store in (frozen, other):
        await store.close()


async def test_a_deadlock_is_run_again(url: str) -> None:
    """Two writers lock two numbers in opposite order, by statements that the store knows nothing of."""
    stores = [Store.open(url) for _ in range(2)]
    runs = 0

    lock = "SELECT pg_advisory_xact_lock(?)"

    def crossing(first: int, second: int) -> object:
        def run(tx: Tx) -> int:
            nonlocal runs
            runs += 1
            tx.one(lock, (first,))
            tx.one("SELECT pg_sleep(0.2)")
            tx.one(lock, (second,))
            return bump(tx)

        return run

    async with asyncio.timeout(20):
        await asyncio.gather(
            stores[0].write(crossing(1, 2)),  # type: ignore[arg-type]  # a function of Tx
            stores[1].write(crossing(2, 1)),  # type: ignore[arg-type]  # a function of Tx
        )
    assert runs >= 3
    assert await stores[0].read(lambda tx: tx.rows(REVISION)) == [(2,)]
    for store in stores:
        await store.close()


async def test_a_batch_that_runs_again_reports_only_its_last_run(url: str, tmp_path: Path) -> None:
    """What a rolled back run noted (balances, orders) is forgotten."""
    async with two_rigs(tmp_path, mail_credits=30) as (one, _):
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True, threshold=50, amount=10)
        slot = await one.mail()
        assert isinstance(slot, Message)
        operation = AcceptMessages(
            account_id=ACCOUNT,
            slots=[slot],
            now_ms=one.clock.now_ms(),
            started_s=0.0,
            holder="h" * 26,
            key=None,
            terms=one.credits.terms,
            on_commit=lambda _operation, _verdicts: None,
            on_failure=lambda _operation, _error: None,
        )

        def twice(tx: Tx) -> list[list[Verdict]]:
            with tx.connection.begin_nested() as savepoint:
                AcceptMessages.run_batch(tx, [operation])
                savepoint.rollback()
            return AcceptMessages.run_batch(tx, [operation])

        await one.store.write(twice)
        assert len(operation.recharges) == 1
        assert operation.balances == {"mail": 29}
