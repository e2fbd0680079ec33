"""A counter that somebody else keeps: read at every scrape from a function that only ever grows."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry


class WatchedCounter(Collector):
    """The family; `watch` adds one combination of label values."""

    def __init__(self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._sources: dict[tuple[str, ...], Callable[[], float]] = {}
        registry.register(self)

    def watch(self, source: Callable[[], float], *values: str) -> None:
        """From now on `source` tells the count for these label values."""
        self._sources[values] = source

    def describe(self) -> list[CounterMetricFamily]:
        """The family without samples, by which the registry knows its names."""
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The family with its samples."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, source in list(self._sources.items()):
            family.add_metric(values, source())
        yield family
