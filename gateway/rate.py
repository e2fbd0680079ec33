"""The rate of an account: a token bucket each (R29). Pure: the caller gives the time; memory is bounded."""

from collections import OrderedDict

_REMEMBERED = 50_000


class Bucket:
    """One account's tokens, as they were at its last request."""

    __slots__ = ("allowed", "at_s", "limit", "rate_per_s", "tokens")

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self.set_rate(rate_per_s)
        self.tokens = self.limit
        self.at_s = now_s
        self.allowed = True
        """Whether there was a token for the last request."""

    def set_rate(self, rate_per_s: float) -> None:
        """How many tokens a second come from now on."""
        self.rate_per_s = rate_per_s
        self.limit = max(1.0, rate_per_s)
        """What it holds: what one second brings, at least one token."""

    @property
    def next_s(self) -> float:
        """When the next token comes, in seconds from the last request."""
        return max(0.0, 1.0 - self.tokens) / self.rate_per_s

    @property
    def fields(self) -> bytes:
        """What a client is told: the limit, the tokens left, and the seconds until all are back."""
        limit, tokens = self.limit, self.tokens
        full_s = (limit - tokens) / self.rate_per_s
        return b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n" % (
            limit,
            max(tokens, 0),
            -(-full_s // 1),
        )


class Buckets:
    """A bucket per account."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._remembered = remembered

    def take(self, account_id: str, rate_per_s: float, now_s: float) -> Bucket:
        """The account's bucket after a token was taken, if there was one (`allowed`)."""
        bucket = self._buckets.get(account_id)
        if bucket is None:
            bucket = self._keep(account_id, Bucket(rate_per_s, now_s))
        else:
            self._buckets.move_to_end(account_id)
        if rate_per_s != bucket.rate_per_s:
            bucket.set_rate(rate_per_s)
        tokens = bucket.tokens + (now_s - bucket.at_s) * rate_per_s
        limit = bucket.limit
        tokens = min(tokens, limit)
        bucket.at_s = now_s
        bucket.allowed = allowed = tokens >= 1.0
        bucket.tokens = tokens - 1.0 if allowed else tokens
        return bucket

    def owe(self, account_id: str, tokens: int) -> None:
        """Takes more than one request's token (a batch), if need be on credit: the next ones wait for it."""
        bucket = self._buckets.get(account_id)
        if bucket is not None:
            bucket.tokens -= tokens

    def _keep(self, account_id: str, bucket: Bucket) -> Bucket:
        self._buckets[account_id] = bucket
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return bucket
