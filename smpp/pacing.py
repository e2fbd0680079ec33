"""When a link may send next: the operator's pace, rests after throttling, waits before a reconnect. Pure.

Times and random numbers (0 ≤ r < 1) are passed in. Nothing here raises.

A throttle status (`smpp.constants.THROTTLE_STATUSES`) has two causes that look alike: the SMSC takes no more
just now, or it does not take this one message (a handset's full queue, a number that trips its software).
They differ in what passes besides. One that passes when it is offered again met the pace; one that is
throttled again while others pass is itself the reason, and changes nothing for the others. Where different
messages in a row are throttled and none passes, the link rests, and a few at a time find out when it is over.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_BURST_S: Final = 0.1
_CATCH_UP_S: Final = 0.02  # a burst of a pace that was found: what a late timer has missed
_KEPT: Final = 0.9  # of what the operator took a second; RFC 5681 halves, but there every loss is the rate's
_GROWTH_PER_S: Final = 0.01  # of the pace, for each second at full pace, and twice that 4 s later
_DOUBLING_S: Final = 4.0
_FORGOTTEN_S: Final = 24.0  # at full pace: thirty times the pace and more
_FAST_S: Final = 0.5  # in which a pace doubles whose limit has not been met yet
_LEAST_PER_S: Final = 0.5
_BUCKET_S: Final = 0.05
_LOOKS: Final = ((0.5, 1.5, 20), (2.0, 6.0, 4))  # the best of so long, within the last, of so many at least
_LONG_S: Final = 6.0
_MOMENT_S: Final = 0.05  # no pace is read off less
_ON_THE_WAY_S: Final = 0.25  # after a decrease, answers still tell of the pace before
_SETTLED_S: Final = 1.0
_AGAIN: Final = 0.93  # of the pace that was too fast: as good as there again
_FAR: Final = 0.7  # if less than this part of what is offered passes, the pace is far too fast
_BESIDE: Final = 0.02  # throttled for other reasons than the pace, of all
_STEP: Final = 1.2
_NEAR: Final = 16  # as many messages between two that met the pace, and they say the same
PROBES: Final = 4
"""So many at a time find out whether a rest was long enough."""
_RUN: Final = 4  # so many different messages in a row: that is hardly chance
_STRIKES: Final = 3
_SUSPECTS_MAX: Final = 1000
_SUSPECT_S: Final = 60.0


class Pace:
    """How fast an operator takes messages: at most `cap_per_s` (0 is no cap), and no faster than it is found
    to. Shared by the operator's binds.

    Without a cap and a finding there is no limit. Otherwise the generic cell rate algorithm (ITU-T I.371)
    spaces what is sent; idle or not, a burst is a tenth of a second at most. Additive increase,
    multiplicative decrease (Chiu and Jain 1989): a finding gives nine tenths of what was taken a second.
    While the pace is what holds messages back, it grows: doubling, until its limit is met; from then on by
    1 % a second, and faster the longer nothing speaks against it.
    """

    def __init__(self, cap_per_s: float = 0.0) -> None:
        self._cap_per_s = cap_per_s or math.inf
        self._known_per_s = 0.0  # the pace that was last found too fast
        self._slowed_at = -math.inf
        self._limit_met = False
        self._twice = False  # the last two findings say the same
        self._in_vain = 0
        self._taken_before = 0
        self._taken = 0
        self._base_per_s = self._grown_s = self._next = 0.0
        self._buckets: deque[tuple[float, int]] = deque(maxlen=int(_LONG_S / _BUCKET_S))
        self._bucket_at, self._bucket = -math.inf, 0
        self._set(self._cap_per_s)

    def _set(self, per_s: float) -> None:
        self.per_s = min(per_s, self._cap_per_s)
        """Messages a second; infinite while there is no limit."""
        self.limited = self.per_s < math.inf
        self._interval_s = 1.0 / self.per_s
        self._probe_s = max(0.0, _BURST_S - self._interval_s)
        found = self.per_s < self._cap_per_s
        self._burst_s = max(0.0, _CATCH_UP_S - self._interval_s) if found else self._probe_s

    def cap(self, per_s: float) -> None:
        """The cap is `per_s` from now on (0 is none): this process keeps more of the binds, or fewer."""
        found = self.per_s < self._cap_per_s
        self._cap_per_s = per_s or math.inf
        self._set(self.per_s if found else self._cap_per_s)

    # --- sending ----------------------------------------------------------------------------------------

    def ready_at(self, *, probing: bool = False) -> float:
        """The time from which one more is within the pace. Probes may come in a burst: they are few."""
        return self._next - (self._probe_s if probing else self._burst_s)

    def sent(self, now: float) -> None:
        """One was sent, within a limit."""
        held_back = now <= self._next + max(_MOMENT_S, self._interval_s / 10)
        if held_back and self.per_s < self._cap_per_s:
            self._grow()
        self._next = max(self._next, now) + self._interval_s

    def _grow(self) -> None:
        self._grown_s += self._interval_s
        if self._grown_s >= _FORGOTTEN_S:
            self._limit_met = False
            self._set(self._cap_per_s)
        elif self._limit_met:
            growth = _GROWTH_PER_S * _DOUBLING_S / math.log(2) * (2 ** (self._grown_s / _DOUBLING_S) - 1)
            self._set(self._base_per_s * math.exp(growth))
        else:
            self._set(self._base_per_s * 2 ** (self._grown_s / _FAST_S))

    # --- finding ----------------------------------------------------------------------------------------

    def taken(self, count: int, now: float) -> None:
        """The operator took `count` messages."""
        self._taken += count
        if now - self._bucket_at < _BUCKET_S:
            self._bucket += count
        else:
            self._buckets.append((self._bucket_at, self._bucket))
            self._bucket_at, self._bucket = now, count

    def taken_per_s(self, now: float) -> float:
        """How many messages a second the operator took just now, at best; 0 if there were none."""
        buckets = [one for one in (*self._buckets, (self._bucket_at, self._bucket)) if one[0] > now - _LONG_S]
        for span_s, within_s, enough in _LOOKS:
            best = _best([one for one in buckets if one[0] > now - within_s], span_s)
            if best >= enough and now - buckets[0][0] >= span_s:
                return (best - 1) / span_s
        total = sum(count for _, count in buckets)
        return total / max(now - buckets[0][0], _MOMENT_S) if total else 0.0

    def throttled(self) -> None:
        """A message was throttled, for whatever reason: no time to grow fast."""
        if self._limit_met:
            self._grow_slowly()

    def met(self, taken_per_s: float, refused_at: float, now: float, *, sure: bool) -> None:
        """A message that was throttled at `refused_at` has passed now: it had met the pace, at which the
        operator took `taken_per_s`. `sure`: it was not the only one.
        """
        if refused_at <= self._slowed_at + _ON_THE_WAY_S:
            if self._twice and not self._limit_met:
                self._grow_slowly()
            return
        again = self.per_s >= _AGAIN * self._known_per_s
        if not again and refused_at > self._slowed_at + _SETTLED_S:
            self._in_vain += 1
        if self.per_s < self._cap_per_s:
            self._grow_slowly()
        far = taken_per_s < _FAR * self.per_s
        if not sure or not (again or far):
            return
        if not far and self._in_vain > max(2, _BESIDE * (self._taken - self._taken_before)):
            # As many are throttled at a slower pace: it is not for the pace. Further up it may be.
            self._known_per_s, self._in_vain = _STEP * self.per_s, 0
        else:
            self.slow(taken_per_s, now)

    def _grow_slowly(self) -> None:
        self._base_per_s, self._grown_s, self._limit_met = self.per_s, 0.0, True

    def slow(self, taken_per_s: float, now: float) -> None:
        """The pace is too fast: the operator took `taken_per_s`. Nothing is known if that is 0."""
        per_s = max(_LEAST_PER_S, _KEPT * taken_per_s)
        if not taken_per_s or per_s >= self.per_s or now <= self._slowed_at + _ON_THE_WAY_S:
            return
        self._twice = self._known_per_s / 2 <= taken_per_s <= self._known_per_s * 2
        self._known_per_s = taken_per_s
        self._slowed_at, self._in_vain, self._taken_before = now, 0, self._taken
        self._base_per_s, self._grown_s = per_s, 0.0
        self._set(per_s)
        self._next = max(self._next, now + self._burst_s)  # no burst to begin with


def _best(buckets: Sequence[tuple[float, int]], span_s: float) -> int:
    """The most that `span_s` in a row had."""
    best = total = first = 0
    for at, count in buckets:
        total += count
        while buckets[first][0] <= at - span_s:
            total -= buckets[first][1]
            first += 1
        best = max(best, total)
    return best


@dataclass(slots=True)
class _Suspect:
    """A message (or a part of one) that was throttled and may be the reason itself."""

    strikes: int
    passes: int
    at: float
    taken_per_s: float


class Throttle:
    """What the throttle answers on one bind come to. It rests when different messages in a row were
    throttled, for `initial_s`, twice as long each time until one passes, `max_s` at most; findings go to its
    `pace`.
    """

    def __init__(self, pace: Pace | None = None, *, initial_s: float = 0.1, max_s: float = 1.0) -> None:
        self.pace = pace or Pace()
        self._initial_s, self._max_s = initial_s, max_s
        self._delay_s = 0.0
        self.until = 0.0
        """The end of the rest."""
        self.probing = False
        """Since the last rest none has passed: no more than `PROBES` at a time may try."""
        self.passes = 0
        """How many messages have passed; the link adds to it."""
        self.counted = 0
        """How many of them `count` has seen."""
        self.watchful = False
        """Whether `passed` wants to hear of every pass: there are suspects, or it is probing."""
        self._suspects: dict[object, _Suspect] = {}
        self._first: object = None  # of the run: what was throttled since the last pass
        self._run_passes = -1
        self._run = 0  # how many throttle answers of different messages it has
        self._in_a_row = False
        self._met_passes = -_NEAR - 1

    def count(self, now: float) -> None:
        """Some more have passed."""
        self.pace.taken(self.passes - self.counted, now)
        self.counted = self.passes

    def passed(self, part: object, now: float) -> None:
        """`part` has passed, and `passes` has counted it."""
        self.probing = False
        suspect = self._suspects.pop(part, None)
        if suspect is not None:
            near = self.passes - self._met_passes <= _NEAR
            self._met_passes = self.passes
            self.pace.met(suspect.taken_per_s, suspect.at, now, sure=near)
        self.watchful = bool(self._suspects)

    def throttled(self, part: object, message: object, now: float, random: float) -> bool:
        """`part` of `message` (None: a message of its own) was throttled. True if that is for itself: it was
        the third time, and others passed in between, or there were none.
        """
        self.count(now)
        self.watchful = True
        if self.passes != self._run_passes:
            self._run_passes, self._first, self._in_a_row = self.passes, message, False
            self._delay_s, self._run = 0.0, 1
        elif message is None or message != self._first:
            self._in_a_row = True
            self._run += 1
        self.pace.throttled()
        taken_per_s = self.pace.taken_per_s(now)
        if self._in_a_row and now >= self.until:
            # Answers to what was sent before a rest do not make it longer.
            self._delay_s = min(self._max_s, max(self._initial_s, 2 * self._delay_s))
            self.until = now + self._delay_s * (0.75 + 0.5 * random)
            self.probing = True
        if self._run == _RUN:
            self.pace.slow(max(taken_per_s, self.pace.per_s / 2) if self.pace.limited else taken_per_s, now)
        return message is not None and self._strike(part, taken_per_s, now)

    def _strike(self, part: object, taken_per_s: float, now: float) -> bool:
        suspects = self._suspects
        suspect = suspects.get(part)
        if suspect is None:
            while suspects and (
                len(suspects) >= _SUSPECTS_MAX or next(iter(suspects.values())).at < now - _SUSPECT_S
            ):
                del suspects[next(iter(suspects))]  # of which nothing was heard
            suspects[part] = _Suspect(1, self.passes, now, taken_per_s)
            return False
        if self.passes > suspect.passes or not self._in_a_row:
            suspect.strikes += 1
        suspect.passes, suspect.at, suspect.taken_per_s = self.passes, now, taken_per_s
        if suspect.strikes < _STRIKES:
            return False
        del suspects[part]
        return True


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
