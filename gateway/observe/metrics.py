"""The gateway's metrics on a registry of their own, each with bounded labels; docs/metrics.md explains them.

What happens is counted where it happens, through `MetricsObserver` and the methods here. What simply is
(queues in memory, links, connections) is read when Prometheus asks, by the `watch…` functions, from
attributes that cost nothing. What only the database knows is told by `gateway.observe.readings`, never in a
scrape.
"""

import platform
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol, runtime_checkable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from gateway.messages.deliver.lanes import Lanes
from gateway.observe.bounded import Children
from gateway.observe.histogram import HotHistogram, Observations
from gateway.observe.probed import Probed
from gateway.observe.watched import WatchedCounter
from gateway.road import Road
from gateway.store.store import Store
from gateway.store.writer import Writer
from gateway.upstreams.smpp_operator import LinkState

_ACCEPT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_END_TO_END_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400, 432_000)
_COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_STALL_S = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_COMMIT_OPERATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@runtime_checkable
class Linked(Protocol):
    """An upstream that has binds to show."""

    name: str

    @property
    def link_state(self) -> LinkState:
        """The binds as they are now."""
        ...


class Metrics:
    """Every metric there is. One per process; tests make their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # A series of its own for the birthday of every counter tells nobody anything.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library types few of its functions
        self.registry = registry if registry is not None else CollectorRegistry()
        self._road()
        self._store()
        self._doors()
        self._ways_out()
        self._process()
        ProcessCollector(namespace="gateway", registry=self.registry)
        build = Info("gateway_build", "What runs here.", registry=self.registry)
        build.info({"version": _version(), "python": platform.python_version()})

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"gateway_{name}", text, labels, registry=self.registry)

    def _hot(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Children[Observations]:
        return Children(
            HotHistogram(f"gateway_{name}", text, labels, buckets=buckets, registry=self.registry)
        )

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"gateway_{name}", text, buckets=buckets, registry=self.registry)

    # --- what there is -------------------------------------------------------------------------------

    def _road(self) -> None:
        self.accepted: Children[Counter] = Children(
            self._counter("accepted_total", "Messages that are durable and paid for.", "channel", "ingress")
        )
        self.refused: Children[Counter] = Children(
            self._counter("refused_total", "Submissions refused.", "channel", "ingress", "reason")
        )
        self.accept_seconds = self._hot(
            "accept_seconds", "From a submission's arrival to its COMMIT.", _ACCEPT_S, "channel"
        )
        self.deliveries: Children[Counter] = Children(
            self._counter(
                "deliveries_total",
                "Ends of attempts (and of waits for receipts), one per recipient.",
                "channel",
                "upstream",
                "outcome",
            )
        )
        self.retries: Children[Counter] = Children(
            self._counter("retries_total", "Attempts that were not the first.", "channel", "upstream")
        )
        self.end_to_end_seconds = self._hot(
            "end_to_end_seconds", "From acceptance to delivery, per recipient.", _END_TO_END_S, "channel"
        )
        self.queue_deliveries = self._gauge(
            "queue_deliveries", "Recipients still to be delivered to, scheduled ones included.", "channel"
        )
        self.queue_oldest_seconds = self._gauge(
            "queue_oldest_seconds", "For how long the oldest of them could have been delivered.", "channel"
        )
        self.memory_deliveries = self._gauge("memory_deliveries", "Deliveries held in memory.")
        self.memory_octets = self._gauge("memory_octets", "Octets of content held in memory.")
        self.lease_lost = self._counter(
            "lease_lost_total", "How often this process stood still until its lease was another's."
        )

    def _store(self) -> None:
        self._commit_operations = self._histogram(
            "commit_operations", "Operations written by one COMMIT.", _COMMIT_OPERATIONS
        )
        self._commit_seconds = self._histogram(
            "commit_seconds", "How long a transaction took, its fsync included.", _COMMIT_S
        )
        self.operations_waiting = self._gauge("operations_waiting", "Operations that wait for COMMIT.")
        self.store_writable = self._gauge("store_writable", "1 while the database takes what is written.")
        self.store_size_octets = self._gauge("store_size_octets", "Size of the database.")
        self.readings_timestamp_seconds = self._gauge(
            "readings_timestamp_seconds", "When the gauges that need the database were last read."
        )
        self.credits_balance = self._gauge(
            "credits_balance", "Credits that can be spent, all accounts together.", "product"
        )
        self.credits_granted = self._gauge(
            "credits_granted", "Credits ever released into lots that still exist.", "product", "source"
        )
        self.credits_debited: Children[Counter] = Children(
            self._counter("credits_debited_total", "Credits paid for accepted messages.", "product")
        )
        self.credits_refunded: Children[Counter] = Children(
            self._counter("credits_refunded_total", "Credits given back.", "product")
        )

    def _doors(self) -> None:
        self._connections = self._gauge("connections", "Open connections of clients.", "ingress")
        self._auth_failures: Children[Counter] = Children(
            self._counter("auth_failures_total", "Logins refused.", "ingress", "reason")
        )
        self._connections_refused: Children[Counter] = Children(
            self._counter(
                "connections_refused_total",
                "Connections turned away, or closed for another.",
                "ingress",
                "reason",
            )
        )
        self._probe_success = self._gauge("probe_success", "1 if the last probe succeeded.", "service")
        self._probe_duration = self._gauge("probe_duration_seconds", "How long it took.", "service")
        self._probe_timestamp = self._gauge("probe_last_timestamp_seconds", "When it ended.", "service")

    def _ways_out(self) -> None:
        self._webhooks: Children[Counter] = Children(
            self._counter("webhook_tries_total", "Ends of tries to tell a webhook.", "outcome")
        )
        self._binds = self._gauge("smpp_binds", "SMPP binds to keep up.", "upstream")
        self._bound = self._gauge("smpp_bound", "SMPP binds that are up.", "upstream")
        self._outstanding = self._gauge(
            "smpp_outstanding", "submit_sm in the windows, without an answer yet.", "upstream"
        )
        self._smpp_waiting = self._gauge(
            "smpp_waiting", "submit_sm that wait for window or rate.", "upstream"
        )
        self._pace = self._gauge(
            "smpp_pace", "Segments a second that the operator is given; 0 is no limit.", "upstream"
        )
        self._throttled = WatchedCounter(
            "gateway_smpp_throttled_total",
            "Answers that told us to slow down.",
            ["upstream"],
            registry=self.registry,
        )

    def _process(self) -> None:
        self._loop_stalls = self._histogram(
            "loop_stall_seconds", "Times in which the event loop did not turn for 250 ms and more.", _STALL_S
        )
        self._job_success = self._gauge(
            "job_last_success_timestamp_seconds", "When the job last succeeded here; 0 until then.", "job"
        )
        self._job_period = self._gauge("job_period_seconds", "How often the job is due.", "job")
        self._job_failures: Children[Counter] = Children(
            self._counter("job_failures_total", "Rounds of the job that failed.", "job")
        )
        self._replaced: Children[Counter] = Children(
            self._counter("workers_replaced_total", "Worker processes that were started again.", "reason")
        )

    # --- what happens --------------------------------------------------------------------------------

    def job_started(self, job: str, every_s: float) -> None:
        """See `gateway.jobs.loop.Watch`."""
        self._job_period.labels(job).set(every_s)
        self._job_success.labels(job)
        self._job_failures[(job,)]

    def job_succeeded(self, job: str) -> None:
        """See `gateway.jobs.loop.Watch`."""
        self._job_success.labels(job).set_to_current_time()

    def job_failed(self, job: str) -> None:
        """See `gateway.jobs.loop.Watch`."""
        self._job_failures[(job,)].inc()

    def commit(self, operations: int, seconds: float) -> None:
        """A transaction is through; called in the writer's thread (`Store.open(observe=…)`)."""
        self._commit_operations.observe(operations)
        self._commit_seconds.observe(seconds)

    def auth_failed(self, ingress: str, reason: str) -> None:
        """A login was refused."""
        self._auth_failures[ingress, reason].inc()

    def connection_refused(self, ingress: str, reason: str) -> None:
        """A connection was turned away, or closed for another."""
        self._connections_refused[ingress, reason].inc()

    def webhook(self, outcome: str) -> None:
        """A try ended: delivered, retried, failed (`WebhookSender(observe=…)`)."""
        self._webhooks[(outcome,)].inc()

    def refunded(self, product: str, credits: int) -> None:
        """Credits went back."""
        self.credits_refunded[(product,)].inc(credits)

    def stalled(self, seconds: float) -> None:
        """The event loop did not turn for so long (`LoopWatch`)."""
        self._loop_stalls.observe(seconds)

    def replaced(self, reason: str) -> None:
        """A worker was started again: it had "died", or was "silent" and was killed."""
        self._replaced[(reason,)].inc()

    def probed(self, result: Probed) -> None:
        """A probe has its result."""
        self._probe_success.labels(result.service).set(int(result.success))
        self._probe_duration.labels(result.service).set(result.seconds)
        self._probe_timestamp.labels(result.service).set(result.at_ms / 1000)

    # --- what is -------------------------------------------------------------------------------------

    def watch(self, store: Store, road: Road) -> None:
        """Shows the writer's queue, what delivery holds in memory, and the binds of the upstreams."""
        self.watch_writer(store.writer)
        self.watch_lanes(road.dispatcher.lanes)
        self.watch_upstreams(road.upstreams.values())

    def watch_writer(self, writer: Writer) -> None:
        """Shows the writer's queue, and whether the store is writable."""
        self.operations_waiting.set_function(lambda: writer.waiting)
        self.store_writable.set_function(lambda: not writer.failing)

    def watch_lanes(self, lanes: Lanes) -> None:
        """Shows what delivery holds in memory."""
        self.memory_deliveries.set_function(lambda: lanes.deliveries)
        self.memory_octets.set_function(lambda: lanes.octets)

    def watch_upstreams(self, upstreams: Iterable[object]) -> None:
        """Shows the binds of those upstreams that have some."""
        for upstream in upstreams:
            if isinstance(upstream, Linked):
                self._watch_links(upstream)

    def _watch_links(self, upstream: Linked) -> None:
        name = upstream.name
        self._binds.labels(name).set_function(lambda: upstream.link_state.binds)
        self._bound.labels(name).set_function(lambda: upstream.link_state.bound)
        self._outstanding.labels(name).set_function(lambda: upstream.link_state.outstanding)
        self._smpp_waiting.labels(name).set_function(lambda: upstream.link_state.waiting)
        self._pace.labels(name).set_function(lambda: upstream.link_state.pace_per_s)
        self._throttled.watch(lambda: upstream.link_state.throttled, name)

    def watch_connections(self, ingress: str, count: Callable[[], int]) -> None:
        """Shows how many connections the listeners of `ingress` (smtp, http, smpp) have."""
        self._connections.labels(ingress).set_function(count)


def _version() -> str:
    try:
        return version("gateway")
    except PackageNotFoundError:
        return "unknown"
