"""What one input costs: CPU as the least of several runs, memory as the peak of one more.

CPU is told as of the machine that the limits are meant for: a shared one may be several times slower for a
while, of which the system says nothing. So each run is followed by a loop whose time there is known.
"""

import time
import tracemalloc
from dataclasses import dataclass

from tests.fuzz.cost.entry import Entry
from tests.fuzz.cost.forms import Case

_RUNS = 3
_LONG_S = 0.05
"""A run that takes so long is not disturbed much: it is not repeated."""
_LOOP = 20_000
_LOOP_S = 0.0006
"""What the loop takes on the machine that the limits are meant for."""
_STOP_S = 0.25
"""A case grows no further once a run took so long: what is to be seen is seen."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What an input of `octets` octets cost."""

    octets: int
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case: its samples in growing sizes, and the peak of memory of the last."""

    samples: tuple[Sample, ...]
    peak_octets: int
    raised: str = ""
    """An exception that the entry let through, with its type."""


def measure(entry: Entry, case: Case, most_octets: int) -> Measured:
    """Runs the case in growing sizes up to `most_octets`."""
    samples: list[Sample] = []
    data = b""
    try:
        for count in case.counts(entry, most_octets):
            data = case.octets(entry, count)
            cpu_s = _cpu_s(entry, data)
            samples.append(Sample(len(data), cpu_s))
            if cpu_s > _STOP_S:
                break
        peak_octets = _peak_octets(entry, data)
    except Exception as error:  # noqa: BLE001 - whatever an entry raises is a finding
        return Measured(
            samples=tuple(samples), peak_octets=0, raised=f"{type(error).__name__}: {str(error)[:200]}"
        )
    return Measured(samples=tuple(samples), peak_octets=peak_octets)


def _cpu_s(entry: Entry, data: bytes) -> float:
    least = float("inf")
    for _ in range(_RUNS):
        started = time.process_time_ns()
        entry.run(data)
        least = min(least, (time.process_time_ns() - started) / 1e9 / slowdown())
        if least > _LONG_S:
            break
    return least


def slowdown() -> float:
    """How many times slower this machine is just now; 1 where it is faster."""
    return max(1.0, min(_loop_s() for _ in range(_RUNS)) / _LOOP_S)


def _loop_s() -> float:
    started = time.process_time_ns()
    total = 0
    for number in range(_LOOP):
        total += number
    return (time.process_time_ns() - started) / 1e9


def _peak_octets(entry: Entry, data: bytes) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        entry.run(data)
        return max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
