"""Rate, throttle back-off and reconnect waits; time and chance are numbers."""

from smpp.pacing import Rate, Reconnect, Throttle


def test_rate_allows_a_tenth_of_a_second_at_once_then_one_per_interval() -> None:
    rate = Rate(100)
    times = []
    now = 50.0
    for _ in range(30):
        now = max(now, rate.ready_at())
        rate.sent(now)
        times.append(now)
    assert sum(1 for time in times if time == 50.0) in {10, 11}
    assert abs((times[-1] - times[19]) - 0.10) < 1e-6


def test_slow_rate_allows_one_at_a_time() -> None:
    rate = Rate(2)
    rate.sent(10.0)
    assert rate.ready_at() == 10.5


def test_idle_time_is_not_saved_up() -> None:
    rate = Rate(100)
    rate.sent(0.0)
    sent = 0
    while rate.ready_at() <= 1000.0:
        rate.sent(1000.0)
        sent += 1
    assert sent <= 11


def test_no_rate_is_no_limit() -> None:
    rate = Rate(0)
    for _ in range(1000):
        rate.sent(1.0)
    assert rate.ready_at() <= 0


def pause(throttle: Throttle, now: float) -> float:
    throttle.throttled(now, 0.5)
    return throttle.until - now


def test_pause_doubles_while_the_peer_goes_on_throttling_up_to_its_limit() -> None:
    throttle = Throttle(initial_s=1, max_s=4, decay_s=1000)
    now, pauses = 100.0, []
    for _ in range(4):
        pauses.append(round(pause(throttle, now), 1))
        now = throttle.until
    assert pauses == [1.0, 2.0, 4.0, 4.0]


def test_answers_to_what_was_sent_before_the_pause_do_not_lengthen_it() -> None:
    throttle = Throttle(initial_s=1)
    throttle.throttled(100.0, 0.5)
    end = throttle.until
    for _ in range(50):
        throttle.throttled(100.5, 0.5)
    assert throttle.until == end


def test_quiet_time_makes_the_next_pause_short_again() -> None:
    throttle = Throttle(initial_s=1, max_s=64, decay_s=10)
    now = 100.0
    for _ in range(5):
        throttle.throttled(now, 0.5)
        now = throttle.until
    assert 0.9 < pause(throttle, now + 100) < 1.1


def test_reconnect_waits_double_with_jitter_and_start_again_after_a_good_link() -> None:
    reconnect = Reconnect(initial_s=1, max_s=8)
    assert [reconnect.next_delay_s(1.0) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert reconnect.next_delay_s(0.0) == 4
    reconnect.reset()
    assert reconnect.next_delay_s(1.0) == 1
    for _ in range(5000):
        assert reconnect.next_delay_s(1.0) <= 8
