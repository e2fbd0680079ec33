"""The closing table: for each entry the most CPU and memory for a KiB of input. Pure."""

from collections.abc import Iterable, Sequence

from tests.fuzz.cost.entry import KIB, Entry
from tests.fuzz.cost.worker import Result

_LEAST_OCTETS = 8 * KIB
"""Smaller inputs tell of what a call costs at all, not of what a KiB does."""
_HEAD = """\
| entry point | fed up to | CPU per KiB | the slowest call | memory per KiB | cases | findings |
|---|---|---|---|---|---|---|
"""


def table(entries: Iterable[Entry], results: Sequence[Result]) -> str:
    """A line for each entry, in Markdown."""
    by_entry: dict[str, list[Result]] = {entry.name: [] for entry in entries}
    for result in results:
        by_entry[result.case.entry].append(result)
    return _HEAD + "".join(_line(name, some) for name, some in by_entry.items())


def _line(name: str, results: Sequence[Result]) -> str:
    measured = [result.measured for result in results if result.measured is not None]
    samples = [sample for one in measured for sample in one.samples]
    most = max((sample.octets for sample in samples), default=0)
    large = [sample for sample in samples if sample.octets >= min(_LEAST_OCTETS, most)]
    per_kib_us = max((sample.cpu_s * 1e6 * KIB / sample.octets for sample in large), default=0.0)
    slowest_ms = max((sample.cpu_s * 1e3 for sample in samples), default=0.0)
    peaks = [one.peak_octets / one.samples[-1].octets for one in measured if one.samples
             and one.samples[-1].octets >= min(_LEAST_OCTETS, most)]  # fmt: skip
    found = sum(bool(result.findings) for result in results)
    return (
        f"| {name} | {most / KIB:.0f} KiB | {per_kib_us:.1f} µs | {slowest_ms:.1f} ms "
        f"| {max(peaks, default=0.0):.1f} KiB | {len(results)} | {found or '–'} |\n"
    )
