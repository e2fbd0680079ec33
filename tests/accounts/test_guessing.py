"""The delays of `gateway.accounts.guessing`: they grow, end, never lock anybody out, and stay bounded."""

from config.sections.limits import Limits
from gateway.accounts.guessing import LOOKS_PER_S, LOOKS_SAVED, Guessing, Pair

LIMITS = Limits(
    auth_free_failures=3,
    auth_delay_first_s=1.0,
    auth_delay_max_s=8.0,
    auth_forget_s=100.0,
    auth_remembered=50,
)
HERE, THERE, ELSEWHERE = "192.0.2.1", "198.51.100.7", "203.0.113.9"


def pair(prefix: str, user: str, door: str = "smpp") -> Pair:
    return Pair(door, prefix, user)


def failing(guessing: Guessing, peer: str, user: str, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        guessing.failed(pair(peer, user), now_s)


def test_the_first_failures_are_free() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 3)
    assert guessing.delay_s(pair(HERE, "demo"), 0.0) == 0


def test_the_delay_of_an_address_doubles_up_to_the_limit() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "a", 3)
    delays = []
    for number in range(6):
        guessing.failed(pair(HERE, f"user{number}"), 0.0)  # another user each time: the address pays
        delays.append(guessing.delay_s(pair(HERE, "fresh"), 0.0))
    assert delays == [1, 2, 4, 8, 8, 8]


def test_a_delay_ends() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 4)
    assert guessing.delay_s(pair(HERE, "demo"), 0.0) == 1
    assert guessing.delay_s(pair(HERE, "demo"), 0.75) == 0.25
    assert guessing.delay_s(pair(HERE, "demo"), 1.0) == 0


def test_asking_too_early_prolongs_nothing() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 4)
    for tenth in range(10):
        assert guessing.delay_s(pair(HERE, "demo"), tenth / 10) > 0
    assert guessing.delay_s(pair(HERE, "demo"), 1.0) == 0


def test_guessing_one_user_from_many_addresses_is_slowed_for_each() -> None:
    guessing = Guessing(LIMITS)
    for number in range(10):
        guessing.failed(pair(f"198.51.100.{number}", "demo"), 0.0)
    assert guessing.delay_s(pair(ELSEWHERE, "demo"), 0.0) == 8
    assert guessing.delay_s(pair(ELSEWHERE, "other"), 0.0) == 0


def test_an_attacker_never_locks_the_right_password_out() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, THERE, "demo", 100)
    wait_s = guessing.delay_s(pair(HERE, "demo"), 0.0)
    assert wait_s == 8
    for second in range(1, 8):  # the attack goes on meanwhile, from everywhere
        guessing.failed(pair(f"203.0.113.{second}", "demo"), float(second))
        assert guessing.delay_s(pair(HERE, "demo"), float(second)) == wait_s - second
    assert guessing.delay_s(pair(HERE, "demo"), wait_s) == 0


def test_a_neighbour_with_an_old_key_does_not_keep_a_good_one_out() -> None:
    guessing = Guessing(LIMITS)
    for second in range(30):  # the neighbour tries again and again, as soon as it may and before
        guessing.failed(pair(HERE, "api:old"), float(second))
    assert guessing.delay_s(pair(HERE, "api:good"), 30.0, guessable=False) == 8
    for second in range(30, 38):
        guessing.failed(pair(HERE, "api:old"), float(second))
    assert guessing.delay_s(pair(HERE, "api:good"), 38.0, guessable=False) == 0
    assert guessing.delay_s(pair(HERE, "smpp:demo"), 38.0) == 7  # a short password waits for the address


def test_guessing_long_secrets_is_slowed_too() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "api:a", 10)
    assert guessing.delay_s(pair(HERE, "api:a"), 0.0, guessable=False) == 8
    assert guessing.delay_s(pair(HERE, "api:b"), 0.0, guessable=False) == 8
    assert guessing.delay_s(pair(THERE, "api:b"), 0.0, guessable=False) == 0


def test_failures_at_one_door_are_not_held_against_another() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 100)
    assert guessing.delay_s(pair(HERE, "demo"), 0.0) == 8
    for door in ("smtp", "api"):
        assert guessing.delay_s(pair(HERE, "demo", door), 0.0) == 0
        assert guessing.delay_s(pair(HERE, "demo", door), 0.0, guessable=False) == 0


def test_a_known_pair_is_looked_at_whatever_failed() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 100)
    assert guessing.delay_s(pair(HERE, "demo"), 0.0) == 8
    assert guessing.may_look(pair(HERE, "demo"), 0.0)


def spend(guessing: Guessing, known: Pair, looks: int, now_s: float) -> int:
    """Looks at up to so many wrong secrets; how many it were."""
    for number in range(looks):
        if not guessing.may_look(known, now_s):
            return number
        guessing.looked(known, now_s)
    return looks


def test_500_wrong_secrets_a_second_leave_a_known_pair_looks_for_an_hour() -> None:
    guessing, known = Guessing(LIMITS), pair(HERE, "demo")
    second = 0
    while spend(guessing, known, 500, float(second)) == 500:
        second += 1
    assert 3590 < second < 3610
    assert guessing.may_look(pair(HERE, "other"), float(second))
    assert guessing.may_look(pair(THERE, "demo"), float(second))
    # From now on 20 a second, however many come.
    assert sum(spend(guessing, known, 500, second + after) for after in range(1, 1001)) == 1000 * LOOKS_PER_S


def test_looks_come_back() -> None:
    guessing, known = Guessing(LIMITS), pair(HERE, "demo")
    assert spend(guessing, known, 10_000_000, 0.0) == LOOKS_SAVED
    assert not guessing.may_look(known, 0.04)
    assert guessing.may_look(known, 0.06)
    assert spend(guessing, known, 10_000_000, 3600.0) == 3600 * LOOKS_PER_S


def test_failures_are_forgotten() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 50)
    assert guessing.delay_s(pair(HERE, "demo"), 101.0) == 0
    guessing.failed(pair(HERE, "demo"), 101.0)
    assert guessing.delay_s(pair(HERE, "demo"), 101.0) == 0


def test_memory_is_bounded() -> None:
    guessing = Guessing(LIMITS)
    for number in range(5000):
        one = pair(f"10.0.{number // 256}.{number % 256}", f"user{number}")
        failing(guessing, one.prefix, one.user, 5)
        guessing.looked(one, 0.0)
    assert len(guessing) == 4 * LIMITS.auth_remembered
