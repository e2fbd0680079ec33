"""A process that stood still: what it may still send, what it finds out, and that it sends nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.store import leases
from gateway.store.store import Store
from gateway.store.tenure import Tenure
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import Rig, rig

LEASE_S = 15.0


class TwoClocks(FakeClock):
    """A machine's two clocks, each of which may stand still or be set by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def pass_by(self, *, elapsed_s: float, wall_s: float) -> None:
        self.elapsed_s += elapsed_s
        self.time_ms += int(wall_s * 1000)


class Names:
    """Names of holders: a, b, c, …"""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        return f"{self._prefix}{'abcdefgh'[self._made - 1]}"


@asynccontextmanager
async def open_store(folder: Path, *, exclusive: bool = False) -> AsyncIterator[Store]:
    store = Store.open(f"sqlite:{folder / 'gateway.db'}", upgrade=True, exclusive=exclusive)
    try:
        yield store
    finally:
        await store.close()


async def tenure_in(store: Store, clock: TwoClocks) -> tuple[Tenure, list[int]]:
    """A tenure that has begun, and a list that grows with every loss."""
    lost: list[int] = []
    tenure = Tenure(store, clock, Names(), lease_s=LEASE_S, lost=lambda: lost.append(1))
    assert not tenure.may_send(), "not before the lease is taken"
    await tenure.begin()
    return tenure, lost


@pytest.mark.parametrize(
    ("elapsed_s", "wall_s", "may"),
    [
        (9.9, 9.9, True),
        (10.1, 10.1, False),  # the lease without its margin of a third
        (0.0, 10.1, False),  # the machine was suspended, and this clock did not count it
        (10.1, 0.0, False),  # the wall clock was set back meanwhile
        (1.0, -3600.0, True),
        (1.0, 3600.0, False),  # set forward: until the next renewal says that it was no pause
    ],
)
async def test_a_lease_serves_for_two_thirds_by_the_clock_that_says_more(
    tmp_path: Path, elapsed_s: float, wall_s: float, may: bool
) -> None:
    clock = TwoClocks()
    async with open_store(tmp_path) as store:
        tenure, _ = await tenure_in(store, clock)
        clock.pass_by(elapsed_s=elapsed_s, wall_s=wall_s)
        assert tenure.may_send() is may
        assert await tenure.renew()
        assert tenure.may_send()


async def test_the_time_counts_from_before_the_renewal_was_asked_for(tmp_path: Path) -> None:
    """Stopped between the question and its answer: the answer is as old as the question."""
    clock = TwoClocks()
    async with open_store(tmp_path) as store:
        tenure, _ = await tenure_in(store, clock)
        renewal = asyncio.ensure_future(tenure.renew())
        await asyncio.sleep(0)
        clock.pass_by(elapsed_s=22, wall_s=22)
        assert await renewal
        assert not tenure.may_send()
        assert await tenure.renew()
        assert tenure.may_send()


async def test_a_lease_that_was_taken_over_is_a_loss_and_the_process_goes_on_under_another_name(
    tmp_path: Path,
) -> None:
    clock = TwoClocks()
    async with open_store(tmp_path) as store:
        tenure, lost = await tenure_in(store, clock)
        assert (tenure.process, tenure.holder) == ("a", "a")
        clock.pass_by(elapsed_s=22, wall_s=22)
        assert await store.write(lambda tx: leases.take_over(tx, "a", expires_ms=1 << 60))
        assert not await tenure.renew()
        assert lost == [1]
        assert tenure.process == "a"
        assert tenure.holder not in {"a", ""}
        assert tenure.may_send(), "under the new name, which nobody has taken over"
        assert await tenure.renew()
        assert await store.read(lambda tx: leases.live_processes(tx, now_ms=clock.now_ms())) == ["a"]


async def test_a_lease_that_the_supervisor_dropped_is_a_loss_too(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        tenure, lost = await tenure_in(store, TwoClocks())
        await store.write(lambda tx: tx.run("DELETE FROM lease WHERE holder = 'a'"))
        assert not await tenure.renew()
        assert lost == [1]


async def test_who_is_alone_on_the_database_may_always_send(tmp_path: Path) -> None:
    clock = TwoClocks()
    async with open_store(tmp_path, exclusive=True) as store:
        tenure = Tenure(store, clock, Names(), lease_s=LEASE_S)
        await tenure.begin()
        clock.pass_by(elapsed_s=3600, wall_s=3600)
        assert tenure.may_send()


# --- two roads on one database ---------------------------------------------------------------------------


@asynccontextmanager
async def two_roads(
    folder: Path, upstream: FakeUpstream, clocks: tuple[TwoClocks, TwoClocks]
) -> AsyncIterator[tuple[Rig, Rig]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(rig(folder, [upstream], clock=clocks[0], shared=True))
        other = await stack.enter_async_context(
            rig(folder, [upstream], clock=clocks[1], shared=True, mail_credits=0, sms_credits=0)
        )
        yield one, other


async def looked(one: Rig) -> None:
    """The keeper of `one` has renewed its lease and looked for the dead."""
    await one.road.queue._renew()
    await one.road.queue._take_over()


async def test_what_waits_in_the_memory_of_a_stopped_process_is_sent_by_the_other_alone(
    tmp_path: Path,
) -> None:
    clocks = TwoClocks(), TwoClocks()
    upstream = FakeUpstream(concurrency=1, recipients_per_work=1)
    upstream.gate.clear()
    async with two_roads(tmp_path, upstream, clocks) as (one, other):
        sent = [await one.send_mail() for _ in range(10)]
        await upstream.wait_for(1)  # the first is under way, nine wait in the lane
        await one.road.queue.stop()  # it stands still from here on
        for _ in range(5):
            for clock in clocks:
                clock.pass_by(elapsed_s=5, wall_s=5)
            await looked(other)
        await other.road.queue.claim_round()
        upstream.gate.set()
        for verdict in sent:
            assert (await other.settled(verdict.id or "")).status == "delivered"
        # All nine once; the one that was out when the process stopped, twice: the window that is named.
        assert len(upstream.works) == 11
        await looked(one)
        assert len(upstream.works) == 11
        assert one.road.dispatcher.lanes.deliveries == 0, "its lanes were dropped"
        assert one.road.dispatcher.holder != one.road.tenure.process
        again = await one.send_mail()
        assert (await one.settled(again.id or "")).status == "delivered", "it goes on under its new name"


async def test_a_message_accepted_by_a_process_that_has_lost_its_lease_unknowingly_is_sent_once(
    tmp_path: Path,
) -> None:
    clocks = TwoClocks(), TwoClocks()
    upstream = FakeUpstream()
    async with two_roads(tmp_path, upstream, clocks) as (one, other):
        await one.road.queue.stop()
        for _ in range(5):
            for clock in clocks:
                clock.pass_by(elapsed_s=5, wall_s=5)
            await looked(other)
        holder = one.road.tenure.holder
        await other.store.write(lambda tx: leases.take_over(tx, holder, expires_ms=1 << 60))
        sent = await one.send_mail()
        assert sent.accepted
        assert upstream.works == [], "it may not send, and holds the message under a lease that is dead"
        await looked(one)
        await one.road.queue.claim_round()
        assert (await one.settled(sent.id or "")).status == "delivered"
        assert len(upstream.works) == 1


async def test_attempts_wait_for_a_lease_that_could_not_be_renewed_and_go_on_with_it(tmp_path: Path) -> None:
    clocks = TwoClocks(), TwoClocks()
    upstream = FakeUpstream()
    async with two_roads(tmp_path, upstream, clocks) as (one, _):
        await one.road.queue.stop()
        clocks[0].pass_by(elapsed_s=12, wall_s=12)
        sent = await one.send_mail()
        assert upstream.works == []
        await one.road.queue._renew()
        assert (await one.settled(sent.id or "")).status == "delivered"
        assert len(upstream.works) == 1
