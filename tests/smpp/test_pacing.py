"""The operator's pace, the rests of a link and reconnect waits; time and chance are numbers."""

from collections.abc import Sequence

import pytest

from smpp.limit import Counted, Spaced
from smpp.pacing import Pace, Reconnect, Throttle


def paced(pace: Pace, now: float, count: int) -> list[float]:
    """When so many go that all wait from `now` on."""
    times = []
    for _ in range(count):
        now = max(now, pace.ready_at())
        pace.sent(now)
        times.append(now)
    return times


def test_a_cap_allows_a_tenth_of_a_second_at_once_then_one_per_interval() -> None:
    times = paced(Pace(100), 50.0, 30)
    assert sum(1 for time in times if time == 50.0) in {10, 11}
    assert abs((times[-1] - times[19]) - 0.10) < 1e-6


def test_a_slow_cap_allows_one_at_a_time() -> None:
    pace = Pace(2)
    pace.sent(10.0)
    assert pace.ready_at() == 10.5


def test_idle_time_is_not_saved_up() -> None:
    pace = Pace(100)
    pace.sent(0.0)
    sent = 0
    while pace.ready_at() <= 1000.0:
        pace.sent(1000.0)
        sent += 1
    assert sent <= 11


def test_no_cap_and_no_finding_is_no_limit() -> None:
    pace = Pace()
    assert not pace.limited
    pace.taken(1000, 1.0)
    assert not pace.limited
    assert pace.ready_at() <= 0


def took(pace: Pace, per_s: int, since: float, until: float) -> None:
    """The operator takes so many a second, evenly."""
    for number in range(round((until - since) * per_s)):
        pace.taken(1, since + number / per_s)


@pytest.mark.parametrize("per_s", [5, 50, 500])
def test_what_was_taken_a_second_is_found(per_s: int) -> None:
    pace = Pace()
    took(pace, per_s, 0.0, 10.0)
    assert 0.85 * per_s <= pace.taken_per_s(10.0) <= 1.1 * per_s
    pace.slow(pace.taken_per_s(10.0), 10.0)
    assert 0.75 * per_s <= pace.per_s <= per_s
    assert pace.limited


def test_nothing_is_found_where_nothing_was_taken() -> None:
    pace = Pace()
    pace.slow(pace.taken_per_s(10.0), 10.0)
    assert not pace.limited


def test_a_pace_that_was_found_begins_without_a_burst_and_has_none_after_a_pause() -> None:
    pace = Pace()
    took(pace, 50, 0.0, 5.0)
    pace.slow(pace.taken_per_s(5.0), 5.0)
    for began in (5.0, 100.0):
        times = paced(pace, began, 5)
        assert times[-1] - times[0] > 4 / 60, "one by one, at its 45 a second and what it grows meanwhile"


def test_a_pace_grows_only_while_it_holds_messages_back() -> None:
    pace = Pace()
    took(pace, 50, 0.0, 5.0)
    pace.slow(pace.taken_per_s(5.0), 5.0)
    found = pace.per_s
    for second in range(10, 100):
        pace.sent(float(second))  # one a second is no evidence for more
    assert pace.per_s == found
    paced(pace, 200.0, 1000)
    assert pace.per_s > found


def test_a_pace_never_exceeds_its_cap_and_a_larger_share_of_the_binds_raises_it() -> None:
    pace = Pace(40)
    took(pace, 20, 0.0, 5.0)
    pace.slow(pace.taken_per_s(5.0), 5.0)
    assert pace.per_s < 20
    paced(pace, 6.0, 5000)
    assert pace.per_s == 40
    pace.cap(80)
    assert pace.per_s == 80


class Bind:
    """One bind's throttle, told of answers by hand."""

    def __init__(self) -> None:
        self.throttle = Throttle(initial_s=1, max_s=4)

    def passed(self, part: object, now: float) -> None:
        self.throttle.passes += 1
        if self.throttle.watchful:
            self.throttle.passed(part, now)

    def throttled(self, part: object, now: float, message: object = None) -> bool:
        return self.throttle.throttled(part, message or part, now, 0.5)


def test_one_message_alone_never_makes_the_link_rest_and_is_stuck_at_the_third_time() -> None:
    bind = Bind()
    assert [bind.throttled("a", now) for now in (1.0, 2.0, 3.0)] == [False, False, True]
    assert bind.throttle.until == 0
    assert not bind.throttle.pace.limited


def test_a_message_is_stuck_at_the_third_time_if_others_passed_in_between() -> None:
    bind = Bind()
    stuck = []
    for now in (1.0, 2.0, 3.0):
        stuck.append(bind.throttled("a", now))
        bind.passed("b", now + 0.5)
    assert stuck == [False, False, True]
    assert bind.throttle.until == 0


def test_two_messages_in_a_row_make_the_link_rest_and_are_not_stuck_while_none_passes() -> None:
    bind = Bind()
    for now in range(1, 20):
        assert not bind.throttled("ab"[now % 2], float(now))
    assert bind.throttle.probing
    assert bind.throttle.until > 19
    bind.passed("c", 20.0)
    assert not bind.throttle.probing


def test_two_messages_with_one_that_passed_in_between_do_not_make_it_rest() -> None:
    bind = Bind()
    bind.throttled("a", 1.0)
    bind.passed("b", 1.1)
    bind.throttled("c", 1.2)
    assert bind.throttle.until == 0


def test_the_parts_of_one_message_are_not_two_in_a_row() -> None:
    bind = Bind()
    for part in ("a1", "a2", "a3"):
        assert not bind.throttled(part, 1.0, message="a")
    assert bind.throttle.until == 0
    bind.throttled("b", 1.0)
    assert bind.throttle.until > 1.0


def test_rests_double_while_none_passes_up_to_their_limit_and_begin_anew_after_a_pass() -> None:
    bind, now, rests = Bind(), 100.0, []
    bind.throttled("a", now)
    for number in range(4):
        bind.throttled(number, now)
        rests.append(round(bind.throttle.until - now, 1))
        now = bind.throttle.until
    assert rests == [1.0, 2.0, 4.0, 4.0]
    bind.passed("b", now)
    bind.throttled("a", now)
    bind.throttled("c", now)
    assert round(bind.throttle.until - now, 1) == 1.0


def test_answers_to_what_was_sent_before_the_rest_do_not_lengthen_it() -> None:
    bind = Bind()
    bind.throttled("a", 100.0)
    bind.throttled("b", 100.0)
    end = bind.throttle.until
    for number in range(50):
        bind.throttled(number, 100.5)
    assert bind.throttle.until == end


def test_what_never_comes_back_is_forgotten() -> None:
    bind = Bind()
    for number in range(5000):
        bind.throttled(number, 1.0 + number / 1000)
        bind.passed("b", 1.0 + number / 1000)
    assert len(bind.throttle._suspects) <= 1000


def taken_in(limit: Spaced | Counted, times: Sequence[float]) -> int:
    return sum(limit.take(at) for at in times)


def test_a_counted_limit_takes_so_many_in_each_second() -> None:
    assert taken_in(Counted(5), [0.1 * n for n in range(30)]) == 15


def test_a_spaced_limit_takes_its_burst_and_then_what_runs_out() -> None:
    assert taken_in(Spaced(10, burst=10), [1.0] * 30) == 10
    assert taken_in(Spaced(10), [0.05 * n for n in range(200)]) == 100
    assert taken_in(Spaced(10), [1.0] * 30) == 1


def test_reconnect_waits_double_with_jitter_and_start_again_after_a_good_link() -> None:
    reconnect = Reconnect(initial_s=1, max_s=8)
    assert [reconnect.next_delay_s(1.0) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert reconnect.next_delay_s(0.0) == 4
    reconnect.reset()
    assert reconnect.next_delay_s(1.0) == 1
    for _ in range(5000):
        assert reconnect.next_delay_s(1.0) <= 8
