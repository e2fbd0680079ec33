"""What was done to the processes, and which of it explains that something arrived twice. Pure.

A duplicate has a cause in docs/promises.md ("Where a duplicate can happen"), or it is a fault of ours. The
cause is looked for at the copy before: who sent it, and what became of that process before it could settle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.crash.seen import Copy

FLIGHT_S = 2.0
"""How long a copy may take from the far end to the settlement's commit, on a crowded machine."""
SILENCE_S = 2.0
"""How much longer where the far end says nothing: the daemons' `data_timeout_s` and `response_timeout_s`."""
LAG_S = 1.0
"""How late the harness may read what had been sent before."""
THAW_S = 0.25
"""How soon after it goes on a process has sent what it had asked for before, on a busy machine."""
FREEZES_PER_THAW = 10
"""Between asking and sending is the rest of a turn of the loop: seldom does a pause fall just there."""

UNEXPLAINED = "unexplained"
UNKNOWN = "no answer (message.unknown)"
PARTLY = "some parts taken, others not"
IN_FLIGHT = "in flight at the freeze"
LEASE_LOST = "in flight when its lease was lost"
THAW = "between check and octet"


@dataclass(slots=True, eq=False)
class Incident:
    """Something that happened to processes: they ended (`ends`), or stood still from `from_s` to `to_s`.

    A process that lost its lease without standing still (the machine was too busy, or another held the
    database up) could send until `to_s`, and not settle any more. One that ended in good order `explains` no
    duplicate: it had settled everything. The death of a far end is none of these: what it had not answered is
    told as unknown.
    """

    kind: str
    pids: frozenset[int]
    from_s: float
    to_s: float = math.inf
    ends: bool = True
    explains: bool = True
    duplicates: int = 0

    @property
    def thaws(self) -> bool:
        """Whether it stood still and went on."""
        return not self.ends and self.kind != LEASE_LOST


@dataclass(slots=True)
class Incidents:
    """Everything that happened, in its order."""

    all: list[Incident] = field(default_factory=list)

    def begin(self, kind: str, pids: Sequence[int], now_s: float, *, ends: bool = True) -> Incident:
        """Notes one that begins now; whoever makes it happen sets its `to_s`."""
        one = Incident(kind, frozenset(pids), now_s, ends=ends)
        self.all.append(one)
        return one

    def cause(self, before: Copy, copy: Copy, *, unknown: bool) -> tuple[str, Incident | None]:
        """Why `copy` came although `before` had; `unknown`: the gateway told that it did not know."""
        if unknown and not before.answered:
            return UNKNOWN, None
        for one in self.all:
            if one.ends and _struck(one, before, held_up_s=self._held_up_s(before, one)):
                return one.kind, one
        frozen = [one for one in self.all if one.thaws]
        for one in frozen:
            if _struck(one, before):
                return IN_FLIGHT, one
            if _thawing(one, copy) or _thawing(one, before):
                return THAW, one
        for one in self.all:
            if one.kind == LEASE_LOST and _struck(one, before):
                return LEASE_LOST, one
        return (UNKNOWN if unknown else UNEXPLAINED), None

    def around(self, copy: Copy) -> str:
        """What happened to the sender of `copy`, in seconds from its arrival: for whoever seeks a cause."""
        return "; ".join(
            f"{one.kind} {one.from_s - copy.at_s:+.2f} to {one.to_s - copy.at_s:+.2f}"
            for one in self.all
            if copy.pid in one.pids
        )

    def struck(self, copy: Copy) -> bool:
        """Whether something happened to its sender before it can be sure to have settled."""
        return any(_struck(one, copy) for one in self.all)

    def _held_up_s(self, copy: Copy, end: Incident) -> float:
        """For how long between `copy` and the end of its sender others stood still: one that does so inside a
        transaction holds up everybody's commits.
        """
        return sum(
            max(0.0, min(one.to_s, end.from_s) - max(one.from_s, copy.at_s))
            for one in self.all
            if one.thaws and copy.pid not in one.pids
        )


def _struck(one: Incident, copy: Copy, *, held_up_s: float = 0.0) -> bool:
    """Its sender was struck when it had just sent `copy`; while it stands still it sends nothing more."""
    if not one.explains:
        return False
    lag_s = LAG_S if one.ends else 0.0
    flight_s = held_up_s + (FLIGHT_S if copy.answered else FLIGHT_S + SILENCE_S)
    return one.from_s - flight_s <= copy.at_s <= one.to_s + lag_s and _is_of(one, copy)


def _thawing(one: Incident, copy: Copy) -> bool:
    return copy.pid in one.pids and one.to_s < copy.at_s <= one.to_s + THAW_S


def _is_of(one: Incident, copy: Copy) -> bool:
    return copy.pid in one.pids or not copy.pid
