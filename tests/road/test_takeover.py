"""Who counts as dead: a lease that stood still while we looked, and never one that nobody could renew."""

from gateway.messages.queue.takeover import TakeoverWatch

LEASE_S = 15.0


def looks(watch: TakeoverWatch, held: dict[str, int], *times_s: float) -> list[list[str]]:
    """Whom each look at these times finds dead."""
    return [sorted(watch.dead(held, now_s)) for now_s in times_s]


def test_a_lease_that_stands_still_for_its_length_is_a_dead_processs() -> None:
    assert looks(TakeoverWatch(LEASE_S), {"a": 1}, 100, 105, 110, 115) == [[], [], [], ["a"]]


def test_a_lease_that_moves_is_not() -> None:
    watch = TakeoverWatch(LEASE_S)
    for number in range(20):
        assert watch.dead({"a": number + 1}, 100 + number * 5) == {}


def test_a_holder_without_a_lease_is_dead_at_once() -> None:
    assert looks(TakeoverWatch(LEASE_S), {"a": 0}, 100) == [["a"]]


def test_nobody_is_dead_right_after_the_database_was_away() -> None:
    watch = TakeoverWatch(LEASE_S)
    assert looks(watch, {"a": 1}, 100, 105) == [[], []]
    # For a minute no one could look or renew; the other may just be reconnecting.
    assert looks(watch, {"a": 1}, 165, 170, 175) == [[], [], []]
    assert looks(watch, {"a": 1}, 180) == [["a"]]
