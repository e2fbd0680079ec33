"""The metrics of several processes as one: what a supervisor shows of its workers.

Counters, histograms and what each process has of its own (memory, connections, binds) are summed; what every
process reads from the same database is shown once (the largest); a process that does not answer is left out
and counted in `gateway_workers`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

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
        "gateway_process_virtual_memory_bytes",
        "gateway_process_resident_memory_bytes",
        "gateway_process_open_fds",
    }
)
_SMALLEST_GAUGES = frozenset({"gateway_store_writable", "gateway_process_start_time_seconds"})

Scrape = Callable[[], str | None]
"""The exposition of one process, None when it does not answer."""


class MergedCollector(Collector):
    """The workers' metrics and the supervisor's own, merged at every scrape."""

    def __init__(self, own: CollectorRegistry, scrapes: Callable[[], Sequence[Scrape]]) -> None:
        self._own = own
        self._scrapes = scrapes

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the families are the workers'."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family once."""
        texts = [scrape() for scrape in self._scrapes()]
        yield from merge(
            [
                self._own.collect(),
                *(text_string_to_metric_families(text) for text in texts if text is not None),
            ]
        )
        workers = GaugeMetricFamily("gateway_workers", "Worker processes by state.", labels=["state"])
        up = sum(text is not None for text in texts)
        workers.add_metric(["up"], up)
        workers.add_metric(["silent"], len(texts) - up)
        yield workers


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
