"""When a link may send next: its rate, its back-off after a throttle, its wait before a reconnect. Pure.

Times and random numbers (0 ≤ r < 1) are passed in. Nothing here raises.
"""

from typing import Final

_BURST_S: Final = 0.1


class Rate:
    """At most `per_s` sends a second, with bursts of a tenth of a second; 0 is no limit.

    The generic cell rate algorithm (ITU-T I.371): one number instead of a bucket to refill.
    """

    def __init__(self, per_s: float) -> None:
        self.limited = per_s > 0
        self._interval_s = 1.0 / per_s if per_s else 0.0
        self._burst_s = max(0.0, _BURST_S - self._interval_s)
        self._next = 0.0

    def ready_at(self) -> float:
        """The time from which one more send is within the rate."""
        return self._next - self._burst_s

    def sent(self, now: float) -> None:
        """One was sent."""
        if self._interval_s:
            self._next = max(self._next, now) + self._interval_s


class Throttle:
    """A pause of the whole link after ESME_RTHROTTLED and its kind: it doubles while the peer goes on
    throttling, and halves for every `decay_s` without one.
    """

    def __init__(self, *, initial_s: float = 0.25, max_s: float = 30.0, decay_s: float = 10.0) -> None:
        self._initial_s, self._max_s, self._decay_s = initial_s, max_s, decay_s
        self._delay_s = 0.0
        self.until = 0.0
        """The end of the pause."""

    def throttled(self, now: float, random: float) -> None:
        """The peer throttled. Answers to what was sent before the pause do not make it longer."""
        if now < self.until:
            return
        quiet_s = now - self.until
        decayed_s = self._delay_s * 0.5 ** (quiet_s / self._decay_s)
        self._delay_s = min(self._max_s, max(self._initial_s, 2 * decayed_s))
        self.until = now + self._delay_s * (0.75 + 0.5 * random)


class Reconnect:
    """Waits that double from `initial_s` to `max_s`, each drawn between its half and its whole."""

    def __init__(self, *, initial_s: float = 0.5, max_s: float = 60.0) -> None:
        self._initial_s, self._max_s = initial_s, max_s
        self._attempt = 0

    def next_delay_s(self, random: float) -> float:
        """How long to wait before the next try."""
        delay_s = min(self._max_s, self._initial_s * 2.0 ** min(self._attempt, 30))
        self._attempt += 1
        return delay_s * (0.5 + 0.5 * random)

    def reset(self) -> None:
        """The link has proved good; the next wait is short again."""
        self._attempt = 0
