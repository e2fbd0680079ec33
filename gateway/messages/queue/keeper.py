"""The waiting queue's keeper: renews this process's lease, takes over from dead ones, and claims what is due.

A lease that was lost while the process stood still means that everything begins anew: the lanes are dropped,
and what was held under the old name is claimed again, by whoever comes first.

It wakes every second, and at once when acceptance had to leave something in the database. What it claims is
loaded and put into the lanes as if it had just come in.
"""

import structlog

from gateway.clock import Clock
from gateway.jobs.loop import Job, Loop, Watch
from gateway.messages.deliver.dispatcher import Dispatcher
from gateway.messages.model import Message, Work
from gateway.messages.queue import clock_set_back, held, takeover
from gateway.messages.queue.bell import Bell
from gateway.messages.queue.claim import Claimed, LaneKey, claim, due_lanes, fitting, load
from gateway.messages.route import Router
from gateway.store import leases
from gateway.store.store import Store
from gateway.store.tenure import Tenure
from gateway.store.tx import Row, Tx

log = structlog.get_logger(__name__)

_START = LaneKey("", "")
_LANES_PER_ROUND = 500
_CLAIM_MAX = 200
_RELEASE_SLICE = 1000
_TICK_S = 1.0
_ROUND_GAP_S = 0.02


class QueueKeeper:
    """Owns one task; `wake` may be called from anywhere on the event loop."""

    def __init__(
        self,
        *,
        store: Store,
        dispatcher: Dispatcher,
        router: Router,
        clock: Clock,
        tenure: Tenure,
        lease_s: float,
        bell: Bell,
        watch: Watch | None = None,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._router = router
        self._clock = clock
        self._tenure = tenure
        self._place = _START
        self._loop = Loop(
            Job(
                name="queue",
                work=self._round,
                every_s=min(_TICK_S, tenure.renew_s),
                gap_s=_ROUND_GAP_S,  # a lane that rests takes nothing in: a round serves all that woke it
                failed="queue_round_failed",
            ),
            watch,
            wake=bell.rung,
        )
        self._bell = bell
        self._watch = takeover.TakeoverWatch(lease_s)
        self._renew_at_s = 0.0
        self._set_back = clock_set_back.ClockWatch(clock)
        self._back_ms = 0  # by which the clock was set back, until the retries have followed
        self._unloaded: tuple[str, list[Row]] = ("", [])  # claimed, and then the database went away

    async def start(self) -> None:
        """Takes this process's lease and everything that a dead process held; then keeps the queue."""
        self._renew_at_s = self._clock.monotonic_s() + self._tenure.renew_s
        await self._tenure.begin()
        await self._take_over()
        await self._loop.start()

    def wake(self) -> None:
        """There is something to claim."""
        self._loop.wake()

    async def stop(self) -> None:
        """Stops claiming; the lease is given back by `release`, after the last settlement."""
        await self._loop.stop()

    async def release(self) -> None:
        """Gives this process's lease and whatever it still holds back to the queue."""
        await self._give_up(self._tenure.holder)
        await self._tenure.end()

    async def _round(self) -> bool:
        if self._clock.monotonic_s() >= self._renew_at_s:
            await self._renew()
            await self._take_over()
        await self._bring_retries_forward()
        return await self.claim_round()

    async def _bring_retries_forward(self) -> None:
        """Where the wall clock was set back, what waits for it would wait as much longer."""
        self._back_ms += self._set_back.look()
        if self._back_ms:
            now_ms, back_ms = self._clock.now_ms(), self._back_ms
            count = await clock_set_back.bring_forward(self._store, now_ms=now_ms, back_ms=back_ms)
            self._back_ms = 0
            log.warning("clock_set_back", seconds=round(back_ms / 1000), retries_brought_forward=count)

    async def _renew(self) -> None:
        """Renews the lease; the next time counts from before it was asked for, as the lease itself does."""
        self._renew_at_s = self._clock.monotonic_s() + self._tenure.renew_s
        if not await self._tenure.renew():
            self._dispatcher.drop()
            self.wake()
        self._dispatcher.renewed()

    async def _take_over(self) -> None:
        """Frees what dead processes held; alone on the database, every other holder is dead."""
        own = self._tenure.holder
        holders = await self._store.read(lambda tx: held.other_holders(tx, own=own))
        if self._store.exclusive:
            dead = dict.fromkeys(holders, takeover.EVERYONE_MS)
        else:
            dead = self._watch.dead(holders, self._clock.monotonic_s())
        for holder, lease_ms in dead.items():
            count = await self._give_up(holder, dead_ms=lease_ms)
            log.warning("deliveries_taken_over", holder=holder, count=count)

    async def _give_up(self, holder: str, *, dead_ms: int | None = None) -> int:
        """Puts what `holder` holds back into the queue; with `dead_ms` only if its lease is no newer."""

        def release(tx: Tx) -> int:
            if dead_ms is not None and not leases.take_over(tx, holder, expires_ms=dead_ms):
                return 0
            return held.release(tx, holder, _RELEASE_SLICE)

        total = 0
        while True:
            count = await self._store.sweep(
                release, locks=leases.locks(leases.process_lease(holder)), urgent=True
            )
            total += count
            if count < _RELEASE_SLICE:
                return total

    async def claim_round(self) -> bool:
        """Claims from the next lanes in turn; whether it is worth going on at once."""
        now_ms = self._clock.now_ms()
        place = self._place
        lanes, next_place = await self._store.read(
            lambda tx: due_lanes(tx, after=place, now_ms=now_ms, limit=_LANES_PER_ROUND)
        )
        self._place = next_place or _START
        wanted = [(lane, room) for lane in lanes if (room := self._room(lane)) > 0]
        if wanted and not self._unloaded[1]:
            lanes_now, own = self._dispatcher.lanes, self._tenure.holder
            octets, alone = lanes_now.free_octets, not lanes_now.octets
            rows = await self._store.sweep(
                lambda tx: self._claim(tx, own, wanted, now_ms, octets, alone=alone)
            )
            self._unloaded = own, rows
        brought = 0
        holder, rows = self._unloaded
        if rows:
            claimed = await self._store.read(lambda tx: load(tx, rows))
            self._unloaded = "", []
            self._take_in(claimed, holder)
            brought = sum(len(message.deliveries) for message in claimed.messages)
        # Half of what this round brought, not of all: most of that may belong to destinations that never
        # answer (A5).
        self._bell.ring_after((brought or self._dispatcher.lanes.deliveries) // 2 if lanes else None)
        return next_place is not None

    def _room(self, lane: LaneKey) -> int:
        if self._dispatcher.resting(lane.destination):
            return 0
        return min(self._dispatcher.lanes.room(lane.destination), _CLAIM_MAX)

    def _claim(
        self,
        tx: Tx,
        holder: str,
        wanted: list[tuple[LaneKey, int]],
        now_ms: int,
        octets: int,
        *,
        alone: bool,
    ) -> list[Row]:
        """Claims from each lane what there is room for, with no more than `octets` of content in all.

        While nothing else is in memory (`alone`), one message may be larger than that.
        """
        rows: list[Row] = []
        for lane, room in wanted:
            count, used = fitting(tx, lane, now_ms=now_ms, limit=room, octets=octets)
            if not count and alone and not rows:
                count, used = 1, octets
            if count:
                rows += claim(tx, lane, holder=holder, now_ms=now_ms, limit=count)
                octets -= used
            if len(rows) >= _CLAIM_MAX * 5:
                break
        return rows

    def _take_in(self, claimed: Claimed, holder: str) -> None:
        if holder != self._tenure.holder:
            return  # the lease was lost meanwhile, and with it what was claimed under it
        for message in claimed.messages:
            message.holder = holder
            self._route_again(message)
            if self._dispatcher.lanes.reserve(message):
                self._dispatcher.put(message)
            else:
                self._dispatcher.put_back(_works(message), reserved=False)
        for message in claimed.receiptless:
            message.holder = holder
            self._dispatcher.give_up_receipts(message)

    def _route_again(self, message: Message) -> None:
        """Finds a new way where the upstream of then is configured no more."""
        for delivery in message.deliveries:
            if self._router.upstream_of(delivery.destination) is None:
                route = self._router.route(message.channel, delivery.address)
                if route is not None:
                    delivery.destination = route.destination


def _works(message: Message) -> list[Work]:
    return [Work(message, delivery.destination, [delivery]) for delivery in message.deliveries]
