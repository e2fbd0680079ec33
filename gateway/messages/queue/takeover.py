"""Which processes are dead: those whose lease stood still for its whole length, by our own monotonic clock.

The times in a lease are those of the clock of whoever wrote it. They are compared with each other, never with
ours: a clock that is set, or differs from machine to machine, makes nobody dead and keeps nobody alive.
"""

from collections.abc import Mapping

EVERYONE_MS = 1 << 62


class TakeoverWatch:
    """Remembers since when each lease has not been renewed. Pure: time is handed in.

    Where we have not looked for a while (the database was away, this process stood still), nobody else may
    have been able to renew either: the watch begins anew.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_s = 0.0

    def dead(self, held: Mapping[str, int], now_s: float) -> dict[str, int]:
        """Those of `held` that are dead, with the lease that was not renewed; `now_s` is monotonic."""
        if now_s - self._looked_s > self._lease_s * 2 / 3:  # we look every third of it
            self._seen = {}
        self._looked_s = now_s
        self._seen = {
            holder: seen
            if (seen := self._seen.get(holder)) is not None and seen[0] == expires_ms
            else (expires_ms, now_s)
            for holder, expires_ms in held.items()
        }
        return {
            holder: expires_ms
            for holder, (expires_ms, since_s) in self._seen.items()
            if not expires_ms or now_s - since_s >= self._lease_s
        }
