"""Buckets end with their day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.retention import DAY_MS, day_of, first_kept_day


def test_a_bucket_is_a_day_in_utc() -> None:
    assert (day_of(0), day_of(DAY_MS - 1), day_of(DAY_MS)) == (0, 0, 1)


def test_a_bucket_is_over_when_its_last_instant_is_old_enough() -> None:
    day = 20_000
    begins_ms = day * DAY_MS
    assert first_kept_day(begins_ms + 91 * DAY_MS - 1, 90) == day
    assert first_kept_day(begins_ms + 91 * DAY_MS, 90) == day + 1


@given(st.integers(0, 4 * 10**12), st.integers(0, 4 * 10**12), st.integers(1, 4000))
def test_nothing_younger_than_its_days_is_dropped_and_nothing_much_older_is_kept(
    at_ms: int, now_ms: int, keep_days: int
) -> None:
    dropped = day_of(at_ms) < first_kept_day(now_ms, keep_days)
    age_ms = now_ms - at_ms
    if dropped:
        assert age_ms > keep_days * DAY_MS
    else:
        assert age_ms <= (keep_days + 1) * DAY_MS


def test_keeping_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="keep_days"):
        first_kept_day(0, 0)
