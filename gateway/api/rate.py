"""The rate of an account: a token bucket each (R29). Pure: the caller gives the time; memory is bounded."""

from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED = 50_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether there was a token, how many are left, when the next one comes, and when all are back."""

    allowed: bool
    limit: int
    remaining: int
    next_s: float
    full_s: float


class Buckets:
    """A bucket per account; it holds what one second brings, at least one token."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._remembered = remembered

    def take(self, account_id: str, rate_per_s: float, now_s: float) -> Taken:
        """Takes a token if there is one."""
        size = max(1.0, rate_per_s)
        bucket = self._buckets.get(account_id)
        if bucket is None:
            bucket = self._keep(account_id, _Bucket(size, now_s))
        else:
            bucket.tokens = min(size, bucket.tokens + (now_s - bucket.at_s) * rate_per_s)
            bucket.at_s = now_s
            self._buckets.move_to_end(account_id)
        allowed = bucket.tokens >= 1.0
        if allowed:
            bucket.tokens -= 1.0
        return Taken(
            allowed,
            int(size),
            max(0, int(bucket.tokens)),
            max(0.0, 1.0 - bucket.tokens) / rate_per_s,
            (size - bucket.tokens) / rate_per_s,
        )

    def owe(self, account_id: str, tokens: int) -> None:
        """Takes more than one request's token (a batch), if need be on credit: the next ones wait for it."""
        bucket = self._buckets.get(account_id)
        if bucket is not None:
            bucket.tokens -= tokens

    def _keep(self, account_id: str, bucket: _Bucket) -> _Bucket:
        self._buckets[account_id] = bucket
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return bucket
