"""The metrics of several processes as one: what a supervisor shows of its workers.

Counters, histograms and what each process has of its own (memory, connections, binds) are summed; what every
process reads from the same database is shown once (the largest). A process that does not answer is counted in
`gateway_workers`; only what it has counted before is shown of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_SUMMED_GAUGES = frozenset(
    {
        "gateway_memory_deliveries",
        "gateway_memory_octets",
        "gateway_operations_waiting",
        "gateway_connections",
        "gateway_smpp_bound",
        "gateway_smpp_outstanding",
        "gateway_smpp_waiting",
        "gateway_smpp_pace",
        "gateway_process_virtual_memory_bytes",
        "gateway_process_resident_memory_bytes",
        "gateway_process_open_fds",
    }
)
_SMALLEST_GAUGES = frozenset({"gateway_store_writable", "gateway_process_start_time_seconds"})

_CUMULATIVE = frozenset({"counter", "histogram"})


class Process(Protocol):
    """One process whose metrics are shown."""

    births: int
    """How often it was started: another number, another process, whose counters begin at 0."""

    def scrape(self) -> str | None:
        """Its exposition, None when it does not answer."""
        ...


class MergedCollector(Collector):
    """The workers' metrics and the supervisor's own, merged at every scrape.

    What a process has counted stays when it ends, and while it does not answer: a sum never goes backwards.
    """

    def __init__(self, own: CollectorRegistry, processes: Sequence[Process]) -> None:
        self._own = own
        self._processes = processes
        self._last: dict[int, tuple[int, list[Metric]]] = {}  # by place: which birth, and what it last told
        self._ended: list[Metric] = []  # what those counted that are no more
        self._lock = Lock()  # scrapes run in threads

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the families are the workers'."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family once."""
        told = [(process.births, process.scrape()) for process in self._processes]
        with self._lock:
            sources = [self._families(place, *one) for place, one in enumerate(told)]
            yield from merge([self._own.collect(), self._ended, *sources])
        workers = GaugeMetricFamily("gateway_workers", "Worker processes by state.", labels=["state"])
        up = sum(text is not None for _, text in told)
        workers.add_metric(["up"], up)
        workers.add_metric(["silent"], len(told) - up)
        yield workers

    def _families(self, place: int, birth: int, text: str | None) -> list[Metric]:
        """What the process at `place` tells, or has counted until it fell silent."""
        known_birth, known = self._last.get(place, (birth, []))
        if birth < known_birth:
            return []  # a slower scrape, which another has overtaken
        if birth != known_birth:
            self._ended = merge([self._ended, known])
            known = []
        now = known if text is None else list(text_string_to_metric_families(text))
        counted = [family for family in now if family.type in _CUMULATIVE]
        self._last[place] = birth, counted
        return counted if text is None else now


def merge(sources: Iterable[Iterable[Metric]]) -> list[Metric]:
    """One family per name; samples of the same name and labels become one by the rules of the module."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for source in sources:
        for family in source:
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            samples = values.setdefault(merged.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                if key in samples:
                    samples[key] = _together(family, samples[key], sample.value)
                else:
                    samples[key] = sample.value
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
    return list(families.values())


def _together(family: Metric, one: float, other: float) -> float:
    if family.type in {"counter", "histogram"} or family.name in _SUMMED_GAUGES:
        return one + other
    return min(one, other) if family.name in _SMALLEST_GAUGES else max(one, other)
