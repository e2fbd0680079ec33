"""Which day's bucket a thing falls into, and which buckets are kept.

A bucket is a day in UTC, as its number since 1970-01-01. It is dropped as a whole, once its last instant is
older than the days to keep.
"""

DAY_MS = 86_400_000


def day_of(at_ms: int) -> int:
    """The bucket of an instant."""
    return at_ms // DAY_MS


def first_kept_day(now_ms: int, keep_days: int) -> int:
    """The oldest bucket that still holds something younger than `keep_days`."""
    if keep_days < 1:
        raise ValueError(f"keep_days: {keep_days} is not 1 or more")
    return day_of(now_ms - keep_days * DAY_MS)
