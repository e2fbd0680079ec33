"""The delays of `gateway.accounts.guessing`: they grow, end, never lock anybody out, and stay bounded."""

import pytest

from config.schema import Limits
from gateway.accounts.guessing import Guessing, address_of

LIMITS = Limits(
    auth_free_failures=3,
    auth_delay_first_s=1.0,
    auth_delay_max_s=8.0,
    auth_forget_s=100.0,
    auth_remembered=50,
)
HERE, THERE, ELSEWHERE = "192.0.2.1", "198.51.100.7", "203.0.113.9"


def failing(guessing: Guessing, peer: str, user: str, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        guessing.failed(peer, user, now_s)


def test_the_first_failures_are_free() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 3)
    assert guessing.delay_s(HERE, "demo", 0.0) == 0


def test_the_delay_of_an_address_doubles_up_to_the_limit() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "a", 3)
    delays = []
    for number in range(6):
        guessing.failed(HERE, f"user{number}", 0.0)  # another user each time: the address pays
        delays.append(guessing.delay_s(HERE, "fresh", 0.0))
    assert delays == [1, 2, 4, 8, 8, 8]


def test_a_delay_ends() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 4)
    assert guessing.delay_s(HERE, "demo", 0.0) == 1
    assert guessing.delay_s(HERE, "demo", 0.75) == 0.25
    assert guessing.delay_s(HERE, "demo", 1.0) == 0


def test_asking_too_early_prolongs_nothing() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 4)
    for tenth in range(10):
        assert guessing.delay_s(HERE, "demo", tenth / 10) > 0
    assert guessing.delay_s(HERE, "demo", 1.0) == 0


def test_guessing_one_user_from_many_addresses_is_slowed_for_each() -> None:
    guessing = Guessing(LIMITS)
    for number in range(10):
        guessing.failed(f"198.51.100.{number}", "demo", 0.0)
    assert guessing.delay_s(ELSEWHERE, "demo", 0.0) == 8
    assert guessing.delay_s(ELSEWHERE, "other", 0.0) == 0


def test_an_attacker_never_locks_the_right_password_out() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, THERE, "demo", 100)
    wait_s = guessing.delay_s(HERE, "demo", 0.0)
    assert wait_s == 8
    for second in range(1, 8):  # the attack goes on meanwhile, from everywhere
        guessing.failed(f"203.0.113.{second}", "demo", float(second))
        assert guessing.delay_s(HERE, "demo", float(second)) == wait_s - second
    assert guessing.delay_s(HERE, "demo", wait_s) == 0


def test_an_address_that_succeeded_before_does_not_wait_for_others_failures() -> None:
    guessing = Guessing(LIMITS)
    guessing.succeeded(HERE, "demo")
    failing(guessing, THERE, "demo", 100)
    assert guessing.trusts(HERE, "demo")
    assert guessing.delay_s(HERE, "demo", 0.0) == 0
    assert not guessing.trusts(THERE, "demo")


def test_a_neighbour_with_an_old_key_does_not_keep_a_good_one_out() -> None:
    guessing = Guessing(LIMITS)
    for second in range(30):  # the neighbour tries again and again, as soon as it may and before
        guessing.failed(HERE, "api:old", float(second))
    assert guessing.delay_s(HERE, "api:good", 30.0, guessable=False) == 8
    for second in range(30, 38):
        guessing.failed(HERE, "api:old", float(second))
    assert guessing.delay_s(HERE, "api:good", 38.0, guessable=False) == 0
    assert guessing.delay_s(HERE, "smpp:demo", 38.0) == 7  # a short password waits for the address


def test_guessing_long_secrets_is_slowed_too() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "api:a", 10)
    assert guessing.delay_s(HERE, "api:a", 0.0, guessable=False) == 8
    assert guessing.delay_s(HERE, "api:b", 0.0, guessable=False) == 8
    assert guessing.delay_s(THERE, "api:b", 0.0, guessable=False) == 0


def test_success_with_an_own_account_does_not_buy_free_guesses() -> None:
    guessing = Guessing(LIMITS)
    for _ in range(10):
        guessing.failed(HERE, "victim", 0.0)
        guessing.succeeded(HERE, "mine")
    assert guessing.delay_s(HERE, "victim", 0.0) == 8


def test_failures_are_forgotten() -> None:
    guessing = Guessing(LIMITS)
    failing(guessing, HERE, "demo", 50)
    assert guessing.delay_s(HERE, "demo", 101.0) == 0
    guessing.failed(HERE, "demo", 101.0)
    assert guessing.delay_s(HERE, "demo", 101.0) == 0


def test_memory_is_bounded() -> None:
    guessing = Guessing(LIMITS)
    for number in range(5000):
        peer = f"10.0.{number // 256}.{number % 256}"
        failing(guessing, peer, f"user{number}", 5)
        guessing.succeeded(peer, f"mine{number}")
    assert len(guessing) <= 4 * LIMITS.auth_remembered


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_one_site_is_one_address(peer: str, address: str) -> None:
    assert address_of(peer) == address
