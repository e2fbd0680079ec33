"""What was promised of the gateway in a case, and whether a figure keeps it.

A promise bounds one figure, or its ratio to the same figure of another row: a peer's, or the gateway's own in
another case.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_WORDS = {
    "messages_per_s": "speed",
    "accepted_per_s": "acceptance",
    "cpu_s_per_1000": "CPU",
    "memory_mib": "memory",
    "p99_ms": "p99",
}
_UNITS = {"memory_mib": " MiB", "p99_ms": " ms"}

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """At `most`, or at `least`, with an `aim` that is striven for.

    `peer`: the bound is on the ratio to that server's figure, in this case or in `case`. `fsyncs`: so many
    times the disk's own fsync, measured in the same runs, are added to the bound.
    """

    figure: str
    most: float | None = None
    least: float | None = None
    aim: float | None = None
    peer: str = ""
    case: str = ""
    fsyncs: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The promise in words, what was measured, and whether it is kept."""

    promised: str
    measured: str
    value: float
    kept: bool
    aim_kept: bool | None


def judge(promise: Promise, own: Figures, peer: Figures | None) -> Verdict | None:
    """The verdict on medians; None where there is no such peer, or its figure is nought."""
    value = own[promise.figure]
    if promise.peer:
        if peer is None or not peer[promise.figure]:
            return None
        value /= peer[promise.figure]
    bound = _bound(promise, own)
    return Verdict(
        promised=_promised(promise, bound),
        measured=_amount(value, promise),
        value=value,
        kept=_within(value, bound, promise),
        aim_kept=None if promise.aim is None else _within(value, promise.aim, promise),
    )


def _bound(promise: Promise, own: Figures) -> float:
    fixed = promise.most if promise.most is not None else promise.least
    return (fixed or 0.0) + promise.fsyncs * own["fsync_ms"]


def _within(value: float, bound: float, promise: Promise) -> bool:
    return value <= bound if promise.most is not None else value >= bound


def _promised(promise: Promise, bound: float) -> str:
    sign = "≤" if promise.most is not None else "≥"
    text = f"{_WORDS[promise.figure]} {sign} {_amount(bound, promise)}"
    if promise.peer:
        of = "" if text.endswith("×") else " of"
        text += f"{of} {promise.peer}'s" + (f" in {promise.case}" if promise.case else "")
    if promise.fsyncs:
        text += f" ({promise.fsyncs:g} × fsync + {promise.most:g} ms)"
    if promise.aim is not None:
        text += f"; aim {_amount(promise.aim, promise)}"
    return text


def _amount(value: float, promise: Promise) -> str:
    """A figure with its unit, or a ratio as people say it: 1/5.2, 1.8 ×."""
    if not promise.peer:
        return f"{value:.0f}{_UNITS.get(promise.figure, '')}"
    if promise.most is not None and 0 < value < 1:
        return f"1/{1 / value:.3g}"
    return f"{value:.3g} ×"
