"""Delivery: takes works from the lanes to their upstreams and settles what comes back.

Each destination has its own lane and its own few attempts under way, so a slow one holds up nobody else (A5);
the end of one begins the next. Outcomes are settled in the background (`messages.settle.settler`). Nothing
begins while the lease on what is held is in doubt, or too much that ended is not settled.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.messages.deliver.lanes import Lane, Lanes
from gateway.messages.events import EventKind
from gateway.messages.model import Channel, Deferred, Failed, Message, Outcome, Status, Unknown, Work
from gateway.messages.observer import Observer
from gateway.messages.ports import Upstream
from gateway.messages.queue.bell import Bell
from gateway.messages.settle import retry
from gateway.messages.settle.operation import SettleDeliveries, note_waiting
from gateway.messages.settle.settlement import Settlement
from gateway.messages.settle.settler import MakeDsns, Settler
from gateway.store.errors import StoreBusy
from gateway.store.locks import Locks
from gateway.store.operation import Call
from gateway.store.store import Store
from gateway.store.tenure import Tenure

log = structlog.get_logger(__name__)

_KEEP_PAUSED_S = 2.0  # a lane that pauses longer gives its memory back
_FINISH_S = 5.0  # at the stop, for settlements to be written
_SLOW_S = 30.0  # an attempt without an answer for so long is told of
_LOOK_S = 5.0
_NOTE_SLOW_S = 60.0  # a line in the log for each upstream
_REST_MAX_S = 600.0
_REST_DOUBLINGS = 6  # an SMSC's second becomes a minute, a smarthost's 15 s reach the 10 minutes
_RESTS_REMEMBERED = 50_000


_Attempt = tuple[Work, float]
"""What is attempted, and since when (monotonic seconds)."""


class Dispatcher:
    """Owns the lanes and the tasks that work them."""

    def __init__(
        self,
        *,
        store: Store,
        upstream_of: Callable[[str], Upstream | None],
        rules: Mapping[Channel, retry.Rules],
        lanes: Lanes,
        clock: Clock,
        tenure: Tenure,
        unsettled_max: int,
        keep_content: bool,
        observer: Observer,
        make_dsns: MakeDsns,
        bell: Bell,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        """No attempt begins while `unsettled_max` that ended are not settled: a crash would repeat them."""
        self._store = store
        self._upstream_of = upstream_of
        self._rules = rules
        self.lanes = lanes
        self._clock = clock
        self._tenure = tenure
        self._unsettled_max = unsettled_max
        self._settler = Settler(store, clock, rules, make_dsns, keep_content=keep_content)
        self._observer = observer
        self._random_unit = random_unit
        self._running: dict[str, int] = {}
        self._paused: dict[str, float] = {}  # destination → monotonic time at which it may go on
        self._rests: dict[str, int] = {}  # destination → how many times in a row it had to rest
        self._attempts: dict[asyncio.Future[Sequence[Outcome]], _Attempt] = {}
        self._watch: asyncio.TimerHandle | None = None  # over attempts that take long
        self._slow_noted_s: dict[str, float] = {}
        self._unsettled = 0  # attempts that are over and not yet settled
        self._behind = False  # attempts wait for settlements to be written
        self._stopping = False
        self._fenced = False  # attempts wait for the lease to be renewed
        self._bell = bell

    # --- in ------------------------------------------------------------------------------------------

    def reserve(self, message: Message) -> bool:
        """Room in memory for a message that is about to be accepted; False: it waits in the database."""
        if self._stopping:
            return False
        message.holder = self._tenure.holder
        asked = None
        for delivery in message.deliveries:
            destination = delivery.destination
            if destination != asked and self.resting(destination):
                return False
            asked = destination
        return self.lanes.reserve(message)

    def forget(self, message: Message) -> None:
        """Gives back the room of a message that was not accepted after all."""
        for destination, count in list(message.held.items()):
            self.lanes.release(message, destination, count)

    def put(self, message: Message) -> None:
        """Queues the works of a durable message whose room is reserved.

        Where the lease was lost since, it is to be claimed anew like everything that was held under it.
        """
        if message.holder != self._tenure.holder:
            self.forget(message)
            return
        for destination in tuple(message.held):
            members = message.deliveries
            if len(members) > 1:
                members = [one for one in members if one.destination == destination]
            lane = self.lanes.lane(destination)
            upstream = self._upstream_of(destination)
            size = upstream.recipients_per_work if upstream is not None else len(members)
            if len(members) <= size:
                lane.put(Work(message, destination, members))
            else:
                for start in range(0, len(members), size):
                    lane.put(Work(message, destination, members[start : start + size]))
            self._kick(lane, upstream)

    def resting(self, destination: str) -> bool:
        """Whether nothing is to be taken into memory for `destination` now: it rests, or is another's."""
        if self._paused and self.pause_left_s(destination) > 0:
            return True
        upstream = self._upstream_of(destination)
        return upstream is not None and not upstream.serving

    def pause_left_s(self, destination: str) -> float:
        """For how long `destination` rests, 0 when it does not."""
        until = self._paused.get(destination)
        if until is None:
            return 0.0
        left = until - self._clock.monotonic_s()
        if left <= 0:
            del self._paused[destination]
            return 0.0
        return left

    # --- at work -------------------------------------------------------------------------------------

    def _kick(self, lane: Lane, upstream: Upstream | None) -> None:
        """Begins as many attempts as `upstream`, which the lane leads to, may have under way."""
        destination = lane.destination
        limit = upstream.concurrency if upstream is not None else 1
        running = self._running.get(destination, 0)
        if running >= limit:  # the end of one of them comes back here
            return
        if self._stopping or (self._paused and self.pause_left_s(destination) > 0):
            return
        if not self._tenure.may_send():
            self._fenced = True
            return
        if self._unsettled >= self._unsettled_max:
            self._behind = True
            return
        while running < limit and (work := lane.take()) is not None:
            running += 1
            self._running[destination] = running
            self._begin(lane, upstream, work)

    def _begin(self, lane: Lane, upstream: Upstream | None, work: Work) -> None:
        """Begins one attempt; `_ended` is called when it has its outcomes."""
        attempt: asyncio.Future[Sequence[Outcome]]
        if upstream is None:
            reply = f"no upstream serves {work.destination} any more"
            attempt = _known(work, Deferred(reply=reply, rest_s=60, counts=False))
        elif self._clock.now_ms() >= work.message.expires_ms:
            attempt = _known(work, Failed(reply="not delivered within its lifetime", reason="expired"))
        else:
            try:
                given = upstream.deliver(work)
                attempt = given if isinstance(given, asyncio.Future) else asyncio.ensure_future(given)
            except Exception as error:  # noqa: BLE001 - A7: it ends like one that breaks later
                attempt = asyncio.get_running_loop().create_future()
                attempt.set_exception(error)
        self._attempts[attempt] = work, self._clock.monotonic_s()
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(_LOOK_S, self._look_for_slow)
        attempt.add_done_callback(partial(self._ended, lane, upstream, work))

    def _ended(
        self, lane: Lane, upstream: Upstream | None, work: Work, attempt: "asyncio.Future[Sequence[Outcome]]"
    ) -> None:
        self._attempts.pop(attempt, None)
        destination = lane.destination
        running = self._running.pop(destination) - 1
        if running:
            self._running[destination] = running
        if attempt.cancelled():  # the drain was cut short: what it held goes back to the queue
            return
        outcomes = _outcomes(work, attempt)
        self._settle(work, outcomes)
        self._rest(lane, outcomes)
        self._kick(lane, upstream)

    def _look_for_slow(self) -> None:
        """Says of attempts that take long that they do: in the log, and on their messages."""
        self._watch = None
        now_s = self._clock.monotonic_s()
        for work, began_s in self._attempts.values():
            if _SLOW_S <= now_s - began_s < _SLOW_S + _LOOK_S:
                self._note_slow(work, now_s)
        if self._attempts:
            self._watch = asyncio.get_running_loop().call_later(_LOOK_S, self._look_for_slow)

    def _note_slow(self, work: Work, now_s: float) -> None:
        upstream = work.destination.partition("/")[0]
        if now_s - self._slow_noted_s.get(upstream, float("-inf")) >= _NOTE_SLOW_S:
            self._slow_noted_s[upstream] = now_s
            log.warning(
                "attempt_slow",
                upstream=upstream,
                message_id=work.message.id,
                waited_s=_SLOW_S,
                under_way=self._running.get(work.destination, 0),
            )
        note = f"{upstream} has not answered for {_SLOW_S:.0f} seconds; the attempt goes on"
        with contextlib.suppress(StoreBusy):  # it is a note, no outcome
            locks = Locks(messages=frozenset([(work.message.account_id, work.message.id)]))
            self._store.post(Call(partial(note_waiting, work=work, reply=note), locks))

    def _rest(self, lane: Lane, outcomes: Sequence[Outcome]) -> None:
        """Pauses the lane when the destination as a whole could not be reached.

        What was under way besides, when the pause began, tells the same once more: it makes it no longer.
        """
        rest_s = 0.0
        for one in outcomes:
            if isinstance(one, Deferred):
                rest_s = max(rest_s, one.rest_s)
        if not rest_s:
            if self._rests:
                self._rests.pop(lane.destination, None)
            return
        if self._paused and self.pause_left_s(lane.destination) > 0:
            return
        if len(self._rests) >= _RESTS_REMEMBERED:
            self._rests.clear()
        times = self._rests.get(lane.destination, 0)
        self._rests[lane.destination] = min(times + 1, _REST_DOUBLINGS)
        pause_s = min(rest_s * 2**times, max(rest_s, _REST_MAX_S))
        self._paused[lane.destination] = self._clock.monotonic_s() + pause_s
        asyncio.get_running_loop().call_later(pause_s, self._wake, lane.destination)
        if pause_s > _KEEP_PAUSED_S:
            self.put_back(lane.drain())

    def wake(self, destination: str) -> None:
        """Ends the rest of `destination`: it can be reached (again)."""
        self._rests.pop(destination, None)
        self._wake(destination)

    def _wake(self, destination: str) -> None:
        self._paused.pop(destination, None)
        self.more(destination)

    def more(self, destination: str) -> None:
        """Begins what may begin: the upstream of `destination` takes more at once than before."""
        lane = self.lanes.find(destination)
        if lane is not None:
            self._kick(lane, self._upstream_of(destination))

    # --- the lease -----------------------------------------------------------------------------------

    @property
    def holder(self) -> str:
        """By which name this process holds deliveries now."""
        return self._tenure.holder

    def renewed(self) -> None:
        """The lease was renewed: what waited for that goes on."""
        if self._fenced:
            self._fenced = False
            self._kick_all()

    def _kick_all(self) -> None:
        for lane in self.lanes:
            self._kick(lane, self._upstream_of(lane.destination))

    def drop(self) -> None:
        """The lease was lost: forgets what waits in memory, which others may have taken over.

        Attempts that are under way go on to their end; what they settle counts where nobody has.
        """
        for lane in self.lanes:
            for work in lane.drain():
                self.lanes.release(work.message, work.destination, len(work.deliveries))

    # --- out -----------------------------------------------------------------------------------------

    def _settle(self, work: Work, outcomes: Sequence[Outcome]) -> None:
        now_ms = self._clock.now_ms()
        message = work.message
        rules = self._rules[message.channel]
        settlements = [
            retry.judge(message, delivery, outcome, rules, now_ms=now_ms, u=self._random_unit())
            for delivery, outcome in zip(work.deliveries, outcomes, strict=True)
        ]
        for one, outcome in zip(settlements, outcomes, strict=True):
            self._observer.attempted(work, one, outcome)
        self._unsettled += 1
        self._settler.write(work, settlements, self._settled_attempt)

    def give_up_receipts(self, message: Message) -> None:
        """Ends the wait for receipts that never came: an SMSC took the parts, and nothing more is known."""
        now_ms = self._clock.now_ms()
        for delivery in message.deliveries:
            one = Settlement(
                account_id=message.account_id,
                message_id=message.id,
                n=delivery.n,
                address=delivery.address,
                status=Status.FAILED,
                attempts=delivery.attempts,
                next_attempt_ms=now_ms,
                at_ms=now_ms,
                reply="no receipt came in time",
                kind=EventKind.FAILED,
                detail={"reason": "no_receipt"},
                refund="unknown" in self._rules[message.channel].refund_on,
                sms=True,
            )
            work = Work(message, delivery.destination, [delivery])
            self._settler.write(work, [one], self._written_unreserved)

    def put_back(self, works: Iterable[Work], *, reserved: bool = True) -> None:
        """Returns works untouched to the database, due at once."""
        now_ms = self._clock.now_ms()
        for work in works:
            settlements = [
                Settlement(
                    account_id=work.message.account_id,
                    message_id=work.message.id,
                    n=delivery.n,
                    address=delivery.address,
                    status=Status.QUEUED,
                    attempts=delivery.attempts,
                    next_attempt_ms=now_ms,
                    at_ms=now_ms,
                )
                for delivery in work.deliveries
            ]
            self._settler.write(work, settlements, self._written if reserved else self._written_unreserved)

    def _settled_attempt(self, operation: SettleDeliveries) -> None:
        self._unsettled -= 1
        self._written(operation)
        if self._behind and self._unsettled <= self._unsettled_max // 2:
            self._behind = False
            self._kick_all()

    def _written(self, operation: SettleDeliveries) -> None:
        work = operation.work
        self.lanes.release(work.message, work.destination, len(work.deliveries))
        self._written_unreserved(operation)

    def _written_unreserved(self, operation: SettleDeliveries) -> None:
        if operation.dsns:
            self._bell.ring()
        self._bell.settled(len(operation.work.deliveries))
        self._settler.written()

    # --- the end -------------------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """How many attempts run just now."""
        return sum(self._running.values())

    async def stop(self, drain_s: float) -> None:
        """Lets attempts under way end, returns what waits to the database, and settles everything."""
        self._stopping = True
        for lane in self.lanes:
            self.put_back(lane.drain())
        if self._watch is not None:
            self._watch.cancel()
        under_way: set[asyncio.Future[Any]] = {*self._attempts, *self._settler.tasks}
        if under_way:
            _, pending = await asyncio.wait(under_way, timeout=drain_s)
            for one in pending:
                one.cancel()
            if pending:
                log.warning("drain_cut_short", attempts=len(pending))
                await asyncio.wait(pending, timeout=1.0)
        await self._settler.finish(_FINISH_S)


def _known(work: Work, outcome: Outcome) -> "asyncio.Future[Sequence[Outcome]]":
    """An attempt whose end is known without asking anybody."""
    attempt: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
    attempt.set_result([outcome] * len(work.deliveries))
    return attempt


def _outcomes(work: Work, attempt: "asyncio.Future[Sequence[Outcome]]") -> Sequence[Outcome]:
    """What an attempt that is over brought, one outcome a delivery.

    A7: a fault of ours must not lose the delivery; whether the other side took it is not known then.
    """
    error = attempt.exception()
    if error is not None:
        log.error("delivery_attempt_broke", message_id=work.message.id, exc_info=error)
    elif len(attempt.result()) == len(work.deliveries):
        return attempt.result()
    else:
        log.error("delivery_outcomes_short", message_id=work.message.id)
    return [Unknown(reply="internal error during the attempt")] * len(work.deliveries)
