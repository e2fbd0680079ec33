"""The wait before the next attempt grows to its cap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.settle.backoff import next_delay_s


@pytest.mark.parametrize(
    ("attempt", "delay_s"),
    [(1, 60), (2, 120), (3, 240), (8, 7680), (9, 14_400), (10, 14_400), (10**9, 14_400)],
)
def test_the_wait_grows_with_every_attempt_up_to_its_cap(attempt: int, delay_s: float) -> None:
    assert next_delay_s(attempt, 60, 2, 14_400, 0.2, 0) == pytest.approx(delay_s)


def test_jitter_takes_off_a_share_and_never_adds() -> None:
    assert next_delay_s(2, 60, 2, 14_400, 0.5, 0.5) == pytest.approx(90)
    assert next_delay_s(2, 60, 2, 14_400, 1, 0.999) == pytest.approx(0.12)


@given(
    st.integers(1, 2000),
    st.floats(0.001, 1e6),
    st.floats(1, 100),
    st.floats(1, 1e4),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_every_wait_lies_between_its_bounds(
    attempt: int, first_s: float, factor: float, times: float, jitter: float, u: float
) -> None:
    max_s = first_s * times
    delay_s = next_delay_s(attempt, first_s, factor, max_s, jitter, u)
    assert first_s * (1 - jitter) * (1 - 1e-9) <= delay_s <= max_s
    assert next_delay_s(attempt + 1, first_s, factor, max_s, jitter, u) >= delay_s * (1 - 1e-9)


@pytest.mark.parametrize(
    "wrong",
    [(0, 60, 2, 100, 0, 0), (1, 0, 2, 100, 0, 0), (1, 60, 0.5, 100, 0, 0), (1, 60, 2, 59, 0, 0),
     (1, 60, 2, 100, 1.1, 0), (1, 60, 2, 100, 0, 1.0)],
)  # fmt: skip
def test_a_schedule_out_of_range_is_a_mistake(wrong: tuple[int, float, float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"out of range|the first is 1"):
        next_delay_s(*wrong)
