"""The wall clock was set back: retries that wait for a time of the old clock are due as much earlier.

What was scheduled stays where it is: its time is the client's. `ClockWatch` sees the jump by the clock that
never jumps; every process does, and a row is moved once, because moving it marks it with the new time.
"""

from functools import partial

from gateway.clock import Clock
from gateway.store.locks import Locks
from gateway.store.store import Store
from gateway.store.tx import Row, Tx

_LEAST_MS = 1000
_ROWS_MAX = 50_000
_SLICE = 1000
_WAITING = """
SELECT d.account_id, d.message_id, d.n FROM delivery d
WHERE d.holder IS NULL AND d.status = 'queued' AND d.next_attempt_ms > ? AND d.updated_ms > ? AND NOT EXISTS (
  SELECT 1 FROM message m
  WHERE m.account_id = d.account_id AND m.id = d.message_id AND m.send_at_ms = d.next_attempt_ms)
LIMIT ?
"""
_MOVE = """
UPDATE delivery SET next_attempt_ms = next_attempt_ms - ?, updated_ms = ?
WHERE account_id = ? AND message_id = ? AND n = ? AND holder IS NULL AND status = 'queued' AND updated_ms > ?
"""


class ClockWatch:
    """Compares the two clocks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = self._offset()

    def look(self) -> int:
        """By how many milliseconds the wall clock was set back since the last look; 0 where it was not."""
        before_ms, self._offset_ms = self._offset_ms, self._offset()
        back_ms = before_ms - self._offset_ms
        return back_ms if back_ms >= _LEAST_MS else 0

    def _offset(self) -> int:
        return self._clock.now_ms() - int(self._clock.monotonic_s() * 1000)


async def bring_forward(store: Store, *, now_ms: int, back_ms: int) -> int:
    """Makes retries that were put off by the old clock due `back_ms` earlier; how many."""
    moved = 0
    while keys := await store.read(lambda tx: tx.rows(_WAITING, (now_ms, now_ms, _ROWS_MAX))):
        for start in range(0, len(keys), _SLICE):
            move = partial(_move, keys=keys[start : start + _SLICE], now_ms=now_ms, back_ms=back_ms)
            messages = frozenset((key[0], key[1]) for key in keys[start : start + _SLICE])
            moved += await store.write(move, locks=Locks(messages=messages))
        if len(keys) < _ROWS_MAX:
            break
    return moved


def _move(tx: Tx, *, keys: list[Row], now_ms: int, back_ms: int) -> int:
    return tx.run_many(_MOVE, [(back_ms, now_ms, *key, now_ms) for key in keys])
