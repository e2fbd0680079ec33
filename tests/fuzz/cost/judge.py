"""Whether what was measured is linear, quick and small enough. Pure.

The factors are wide: a machine shared with others doubles a figure now and then, while a quadratic parser
multiplies it by a hundred where its input grows by ten. What is found is measured again before it counts
(`worker`).
"""

from dataclasses import dataclass

from tests.fuzz.cost.entry import Entry
from tests.fuzz.cost.measure import Measured

NOISE_S = 0.001
"""Below a millisecond nothing is compared."""
GROWTH_FACTOR = 4.0
"""Ten times the input may take forty times the CPU; twenty of them are noise."""
_DECADE = 8.0
"""Sizes are compared that differ by about a decade, or more."""
CALL_FACTOR = 4.0
"""A call may take four times its `call_ms` before it is a finding, for the same reason."""
MEMORY_FLOOR_OCTETS = 512 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: `kind` is growth, slow, memory, raised or frozen."""

    kind: str
    text: str


def judge(entry: Entry, measured: Measured) -> list[Finding]:
    """Everything that is wrong with a case."""
    findings = []
    if measured.raised:
        findings.append(Finding("raised", measured.raised))
    growth = _growth(measured, entry.compared_from_octets)
    if growth:
        findings.append(Finding("growth", growth))
    slowest = max(measured.samples, key=lambda sample: sample.cpu_s, default=None)
    if slowest is not None and slowest.cpu_s * 1000 > entry.call_ms * CALL_FACTOR:
        text = f"{slowest.cpu_s * 1000:.0f} ms for {slowest.octets} octets, {entry.call_ms:g} ms are meant"
        findings.append(Finding("slow", text))
    if measured.samples and not measured.raised:
        octets = measured.samples[-1].octets
        if measured.peak_octets > entry.memory_multiple * octets + MEMORY_FLOOR_OCTETS:
            multiple = measured.peak_octets / octets
            text = f"{multiple:.0f} octets each of {octets}, {entry.memory_multiple:g} are meant"
            findings.append(Finding("memory", text))
    return findings


def _growth(measured: Measured, from_octets: int) -> str:
    """The first size at which the CPU had grown beyond linear since a decade before, in words; or nothing."""
    for position, later in enumerate(measured.samples):
        for earlier in measured.samples[:position]:
            ratio = later.octets / earlier.octets
            allowed_s = max(earlier.cpu_s, NOISE_S) * ratio * GROWTH_FACTOR
            if earlier.octets >= from_octets and ratio >= _DECADE and later.cpu_s > allowed_s:
                return (
                    f"{earlier.octets} octets {earlier.cpu_s * 1000:.2f} ms, "
                    f"{later.octets} octets {later.cpu_s * 1000:.0f} ms"
                )
    return ""
