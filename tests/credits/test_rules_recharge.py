"""Auto-recharge buys when it should, once, and as much as is needed (R13)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credits.rules.recharge import Because, NoRecharge, Recharge, decide

NOW = 10_000_000
HOUR = 3_600_000


def ask(**given: Any) -> Recharge | NoRecharge:
    """A decision with the contract's defaults for whatever is not given."""
    asked: dict[str, Any] = {
        "balance": 0,
        "threshold": 100,
        "amount": 2000,
        "shortfall": 0,
        "open_orders": 0,
        "charged_today": 0,
        "daily_cap": 20_000,
        "declined_count": 0,
        "last_declined_ms": None,
        "now_ms": NOW,
    }
    return decide(**{**asked, **given})


@pytest.mark.parametrize(
    ("why", "asked", "credit"),
    [
        ("below the threshold by one", {"balance": 99}, 2000),
        ("nothing left at all", {"balance": 0}, 2000),
        ("one amount does not reach the threshold", {"balance": 10, "threshold": 100, "amount": 40}, 120),
        ("a shortfall above the threshold", {"balance": 500, "shortfall": 300}, 2000),
        ("a shortfall closes in one charge", {"balance": 99, "shortfall": 5000}, 6000),
        ("and leaves the threshold", {"balance": 99, "shortfall": 3950}, 6000),
        ("and leaves exactly the threshold", {"balance": 99, "shortfall": 3900}, 4000),
        ("the cap takes the comfort first", {"shortfall": 3950, "daily_cap": 4000}, 4000),
        ("then the shortfall, not the refill", {"balance": 9, "shortfall": 9000, "daily_cap": 4000}, 2000),
        ("the cap may be used up", {"charged_today": 18_000}, 2000),
        ("declines whose wait is over", {"declined_count": 1, "last_declined_ms": NOW - HOUR}, 2000),
    ],
)
def test_r13_a_recharge_buys_what_is_needed(why: str, asked: dict[str, int], credit: int) -> None:
    """R13: the balance below the threshold, or a shortfall."""
    assert ask(**asked) == Recharge(credit), why


@pytest.mark.parametrize(
    ("why", "asked", "because"),
    [
        ("the threshold itself is not below it", {"balance": 100}, Because.ENOUGH),
        ("an order is open", {"open_orders": 1}, Because.IN_FLIGHT),
        ("an order is open, for a shortfall too", {"open_orders": 1, "shortfall": 50}, Because.IN_FLIGHT),
        ("the day's cap is near", {"charged_today": 18_001}, Because.DAILY_CAP),
        ("the cap is below the shortfall", {"balance": 100, "shortfall": 20_001}, Because.DAILY_CAP),
    ],
)
def test_r13_no_recharge_has_its_reason(why: str, asked: dict[str, int], because: Because) -> None:
    """R13: strictly below, one in flight, a cap per day."""
    assert ask(**asked) == NoRecharge(because=because), why


@pytest.mark.parametrize(
    ("declines", "hours"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 24), (50, 24), (100_000, 24)]
)
def test_r13_after_declines_the_wait_doubles_up_to_a_day(declines: int, hours: int) -> None:
    """R13: back-off after a decline."""
    until = NOW + hours * HOUR
    waiting = NoRecharge(because=Because.BACKING_OFF, until_ms=until)
    assert ask(declined_count=declines, last_declined_ms=NOW, now_ms=until - 1) == waiting
    assert ask(declined_count=declines, last_declined_ms=NOW, now_ms=until) == Recharge(2000)


@pytest.mark.parametrize("wrong", [{"amount": 0}, {"shortfall": -1}, {"balance": -1}])
def test_numbers_out_of_range_are_mistakes(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="amount must be 1 or more"):
        ask(**wrong)


numbers = st.integers(0, 10_000)


@given(numbers, numbers, st.integers(1, 3000), numbers, numbers, numbers)
def test_r13_a_recharge_is_needed_whole_and_within_the_cap(
    balance: int, threshold: int, amount: int, shortfall: int, charged: int, cap: int
) -> None:
    """R13: multiples of the amount, never more than the cap, never without need."""
    decision = ask(
        balance=balance,
        threshold=threshold,
        amount=amount,
        shortfall=shortfall,
        charged_today=charged,
        daily_cap=cap,
    )
    needed = balance < threshold or shortfall > 0
    if isinstance(decision, NoRecharge):
        assert decision.because is (Because.DAILY_CAP if needed else Because.ENOUGH)
        return
    assert needed
    assert decision.credits % amount == 0
    assert decision.credits >= amount
    assert charged + decision.credits <= cap
    assert decision.credits - amount < shortfall + threshold
