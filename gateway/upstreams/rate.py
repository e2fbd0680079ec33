"""A rate limit that makes callers wait their turn."""

import asyncio


class Rate:
    """At most `per_s` turns a second, evenly; 0 for no limit. Waiting callers are bounded by concurrency."""

    def __init__(self, per_s: float) -> None:
        self._gap_s = 1 / per_s if per_s > 0 else 0.0
        self._next_s = 0.0

    @property
    def is_unlimited(self) -> bool:
        """Whether nobody ever has to wait."""
        return not self._gap_s

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        if not self._gap_s:
            return
        now_s = asyncio.get_running_loop().time()
        at_s = max(now_s, self._next_s)
        self._next_s = at_s + self._gap_s
        if at_s > now_s:
            await asyncio.sleep(at_s - now_s)
