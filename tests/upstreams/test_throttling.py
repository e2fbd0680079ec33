"""What an SMSC that throttles does to an operator's messages, in virtual time: one number is nobody else's
trouble, a limit is found and kept to, and what waits is bounded.
"""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from gateway.messages.events import EventKind
from gateway.messages.model import Status
from smpp.limit import Counted, Limit, Spaced
from tests import virtual
from tests.upstreams.operator_rig import OperatorRig, operator_rig

THROTTLED, SYSERR, QUEUE_FULL = "+882990000012", "+882990000013", "+882990000015"
POISON = {THROTTLED: "ESME_RTHROTTLED", SYSERR: "ESME_RSYSERR", QUEUE_FULL: "ESME_RMSGQFUL"}
THROTTLED_ONCE = "+882990000011"


def numbers(count: int) -> list[str]:
    """Ordinary ones."""
    return [f"+4179{number:07d}" for number in range(count)]


@pytest.mark.parametrize("number", POISON)
@pytest.mark.parametrize("place", [0, 5, 299])
def test_300_messages_beside_one_that_is_always_throttled_leave_at_once(number: str, place: int) -> None:
    async def main() -> None:
        async with operator_rig() as rig:
            good = numbers(300)
            before, (bad,), after = rig.send(*good[:place]), rig.send(number), rig.send(*good[place:])
            assert await rig.done([*before, *after], within_s=60) < 1
            await asyncio.sleep(3)
            deferred = rig.settled[bad]
            assert [(one.status, one.kind, one.attempts) for one in deferred] == [
                (Status.QUEUED, EventKind.DEFERRED, 1)
            ]
            assert deferred[0].reply == POISON[number]
            assert deferred[0].next_attempt_ms - deferred[0].at_ms == 60_000, "by the schedule"
            assert rig.dispatcher.lanes.deliveries == 0, (
                "nothing holds it while it waits: it can be cancelled"
            )

    virtual.run(main())


@pytest.mark.parametrize("number", POISON)
def test_a_throttled_message_that_was_alone_does_not_hold_up_who_comes_later(number: str) -> None:
    async def main() -> None:
        async with operator_rig() as rig:
            (bad,) = rig.send(number)
            await asyncio.sleep(20)
            assert [one.kind for one in rig.settled[bad]] == [EventKind.DEFERRED]
            assert await rig.done(rig.send(*numbers(10)), within_s=60) < 0.2

    virtual.run(main())


def test_a_message_that_waits_aside_leaves_its_place_in_the_window_to_the_next_one() -> None:
    async def main() -> None:
        async with operator_rig(window=1) as rig:
            (bad,), good = rig.send(THROTTLED), rig.send(*numbers(1))
            assert await rig.done(good, within_s=60) < 0.2
            assert rig.statuses([bad]) == {"": 1}, "which is still at its tries"

    virtual.run(main())


def test_dead_numbers_in_a_row_hold_up_the_others_for_a_moment_only() -> None:
    """As many as the window has places, of all three kinds, and more of them among the good ones."""

    async def main() -> None:
        async with operator_rig() as rig:
            bad = rig.send(*[*POISON] * 4)
            await asyncio.sleep(5)
            good = []
            for number in numbers(300):
                good += rig.send(number)
                if number.endswith("50"):
                    bad += rig.send(*POISON)
            assert await rig.done(good, within_s=120) < 6
            for number in numbers(60):  # while nothing else passes, it might be the link
                rig.send(number)
                await asyncio.sleep(0.5)
            assert all(EventKind.DEFERRED in [one.kind for one in rig.settled[each]] for each in bad)

    virtual.run(main())


def test_a_message_that_is_throttled_once_passes_at_its_second_try_without_an_event() -> None:
    async def main() -> None:
        async with operator_rig() as rig:
            ids = rig.send(THROTTLED_ONCE)
            assert await rig.done(ids, within_s=10) < 1
            assert [one.attempts for one in rig.settled[ids[0]]] == [1]

    virtual.run(main())


def test_the_parts_of_one_long_message_are_one_message() -> None:
    """Three parts that are throttled are no reason for the link to rest, and one deferral."""

    async def main() -> None:
        async with operator_rig() as rig:
            (bad,) = rig.send(SYSERR, text="x" * 400)
            await asyncio.sleep(0.05)
            assert rig.smsc.throttled == 0
            assert rig.operator.link_state.throttled == 3
            assert await rig.done(rig.send(*numbers(50)), within_s=10) < 0.5
            await asyncio.sleep(5)
            assert [one.kind for one in rig.settled[bad]] == [EventKind.DEFERRED]

    virtual.run(main())


LIMITS: dict[str, Callable[[int], Limit]] = {
    "counted": Counted,
    "bucket": lambda per_s: Spaced(per_s, burst=per_s),
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("per_s", "window"), [(5, 10), (5, 100), (50, 10), (50, 100), (500, 10)])
def test_the_operators_limit_is_found_and_used(per_s: int, limit: str, window: int) -> None:
    settle_s, steady_s = 10, 20

    async def main() -> None:
        async with operator_rig(LIMITS[limit](per_s), window=window) as rig:
            rig.send(*numbers(min(19_000, per_s * (settle_s + steady_s) * 2)))
            await asyncio.sleep(settle_s)
            throttled = rig.smsc.throttled
            await asyncio.sleep(steady_s)
            now_s = asyncio.get_running_loop().time()
            taken = rig.taken(now_s - steady_s, now_s)
            assert taken >= 0.85 * per_s * steady_s
            assert rig.smsc.throttled - throttled < 0.4 * taken, "and not by knocking all the time"

    virtual.run(main())


def test_an_smsc_that_only_spaces_messages_is_kept_to_as_well() -> None:
    """The hardest limit: what comes a little too early is refused, so a little too fast is half as much."""

    async def main() -> None:
        async with operator_rig(Spaced(50)) as rig:
            rig.send(*numbers(4000))
            await asyncio.sleep(60)
            assert rig.taken(30, 60) >= 0.75 * 50 * 30

    virtual.run(main())


def most_in(times: Sequence[float], span_s: float) -> int:
    """The most of `times` that lie within `span_s`."""
    return max(sum(start <= at < start + span_s for at in times) for start in times)


def test_after_a_pause_there_is_no_burst() -> None:
    """The operator's limit is known, nothing was to be sent for a minute, then a thousand come at once."""

    async def main() -> None:
        async with operator_rig(Counted(50), window=100) as rig:
            await rig.done(rig.send(*numbers(1000)), within_s=60)
            await asyncio.sleep(60)
            began_s = asyncio.get_running_loop().time()
            rig.send(*numbers(1000))
            await asyncio.sleep(10)
            times = [at for at in rig.taken_at if at >= began_s]
            assert most_in(times, 0.1) <= 50 * 0.1 * 2

    virtual.run(main())


async def _outage(rig: OperatorRig) -> float:
    """The longest time between two messages that the SMSC took, after it had taken none for a minute."""
    rig.send(*numbers(500))
    await asyncio.sleep(100)
    times = sorted(at for at in rig.taken_at if at > 60)
    return times[0] - 60


class Away:
    """Takes nothing for the first minute."""

    def take(self, now: float) -> bool:
        return now > 60


def test_while_nothing_passes_a_few_messages_at_a_time_ask_and_then_all_go_on() -> None:
    async def main() -> None:
        async with operator_rig(Away(), window=100) as rig:
            assert await _outage(rig) < 2.6
            assert rig.smsc.throttled < 100 + 60 * 6, "the first window, then a few at a time"
            assert len(rig.taken_at) == 500
            assert rig.statuses([str(n) for n in range(1, 501)])["delivered"] == 500

    virtual.run(main())


def test_what_waits_stays_little_with_some_numbers_throttled_now_and_then() -> None:
    """150 a second for two minutes, one in 250 throttled once or for ever, at an SMSC without a limit."""

    async def main() -> None:
        async with operator_rig() as rig:
            most = 0
            for second in range(120):
                for number in range(150):
                    place = second * 150 + number
                    bad = place % 250 == 0
                    to = (THROTTLED_ONCE, SYSERR)[place // 250 % 2] if bad else f"+4178{place:07d}"
                    rig.send(to)
                    await asyncio.sleep(1 / 150)
                most = max(most, rig.dispatcher.lanes.deliveries)
            assert most < 100, "in memory"
            assert rig.waiting_most < 150, "in the database: those that are deferred"

    virtual.run(main())
