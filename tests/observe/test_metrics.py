"""What is counted, under which labels, at what cost; and what the database is asked."""

import asyncio
import timeit
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.messages import query
from gateway.messages.events import EventKind
from gateway.messages.model import (
    Channel,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    MailEnvelope,
    Message,
    Outcome,
    Status,
    Submitted,
    Unknown,
    Work,
)
from gateway.messages.settle.settlement import Settlement
from gateway.observe.bounded import Children
from gateway.observe.histogram import HotHistogram
from gateway.observe.metrics import Metrics
from gateway.observe.observer import MetricsObserver
from gateway.observe.readings import Readings
from gateway.store.errors import StoreBusy
from gateway.store.store import Store
from gateway.upstreams.smpp_operator import LinkState
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, OTHER_ACCOUNT, rig

NOW_MS = 1_790_000_000_000


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The sample of this name and these labels."""
    return metrics.registry.get_sample_value(f"gateway_{name}", labels)


def message(*prices: int, channel: Channel = Channel.MAIL, **fields: Any) -> Message:
    deliveries = [
        Delivery(n=n, address="b@example.net", destination="mx/example.net", price_credits=price)
        for n, price in enumerate(prices)
    ]
    return Message(
        account_id=ACCOUNT,
        id="1" * 26,
        channel=channel,
        ingress="smtp",
        sender="a@example.org",
        envelope=MailEnvelope(mail_from="a@example.org"),
        content=b"",
        accepted_ms=NOW_MS,
        expires_ms=NOW_MS + 1000,
        deliveries=deliveries,
        **fields,
    )


def attempt(observer: MetricsObserver, status: Status, outcome: Outcome, **fields: Any) -> None:
    """One attempt for the first delivery of a message that costs 3."""
    sent = message(3, 5, **fields.pop("message", {}))
    defaults = {"attempts": 1, "kind": EventKind.DELIVERED, "at_ms": NOW_MS + 2500}
    settlement = Settlement(
        address="ada@example.net",
        account_id=ACCOUNT,
        message_id=sent.id,
        n=0,
        status=status,
        next_attempt_ms=0,
        **{**defaults, **fields},
    )
    observer.attempted(Work(sent, "mx/example.net", sent.deliveries), settlement, outcome)


# --- the observer ------------------------------------------------------------------------------------------


def test_an_accepted_message_is_counted_timed_and_its_price_debited(metrics: Metrics) -> None:
    MetricsObserver(metrics).accepted(message(3, 5), 0.004)
    assert value(metrics, "accepted_total", channel="mail", ingress="smtp") == 1
    assert value(metrics, "accept_seconds_count", channel="mail") == 1
    assert value(metrics, "accept_seconds_bucket", channel="mail", le="0.0025") == 0
    assert value(metrics, "accept_seconds_bucket", channel="mail", le="0.005") == 1
    assert value(metrics, "credits_debited_total", product="mail") == 8


@pytest.mark.parametrize(
    ("status", "outcome", "label"),
    [
        (Status.DELIVERED, Delivered(), "delivered"),
        (Status.SENT, Submitted(upstream="x", upstream_ids=("1",)), "submitted"),
        (Status.QUEUED, Deferred(), "deferred"),
        (Status.QUEUED, Deferred(counts=False), "postponed"),
        (Status.QUEUED, Unknown(), "unknown"),
        (Status.FAILED, Failed(), "failed"),
        (Status.FAILED, Deferred(), "failed"),  # no time left for another attempt
        (Status.FAILED, Unknown(), "failed"),
    ],
)
def test_each_end_of_an_attempt_has_its_outcome(
    metrics: Metrics, status: Status, outcome: Outcome, label: str
) -> None:
    attempt(MetricsObserver(metrics), status, outcome)
    assert value(metrics, "deliveries_total", channel="mail", upstream="mx", outcome=label) == 1


def test_only_attempts_after_the_first_are_retries(metrics: Metrics) -> None:
    observer = MetricsObserver(metrics)
    attempt(observer, Status.QUEUED, Deferred(), attempts=1)
    assert value(metrics, "retries_total", channel="mail", upstream="mx") is None
    attempt(observer, Status.QUEUED, Deferred(), attempts=2)
    attempt(observer, Status.QUEUED, Deferred(counts=False), attempts=2, kind=None)
    attempt(observer, Status.DELIVERED, Delivered(), attempts=3)
    assert value(metrics, "retries_total", channel="mail", upstream="mx") == 2


def test_the_way_is_timed_from_acceptance_or_from_the_time_it_was_scheduled_for(metrics: Metrics) -> None:
    observer = MetricsObserver(metrics)
    attempt(observer, Status.DELIVERED, Delivered())
    assert value(metrics, "end_to_end_seconds_sum", channel="mail") == 2.5
    attempt(observer, Status.DELIVERED, Delivered(), message={"send_at_ms": NOW_MS + 2000})
    assert value(metrics, "end_to_end_seconds_sum", channel="mail") == 3.0
    attempt(observer, Status.DELIVERED, Delivered(), at_ms=NOW_MS - 60_000)  # the clock was put back
    assert value(metrics, "end_to_end_seconds_sum", channel="mail") == 3.0
    observer.receipted("operator", "delivered", 4.0)
    assert value(metrics, "end_to_end_seconds_sum", channel="sms") == 4.0
    assert value(metrics, "deliveries_total", channel="sms", upstream="operator", outcome="delivered") == 1


def test_a_failed_receipt_is_no_delivery(metrics: Metrics) -> None:
    MetricsObserver(metrics).receipted("operator", "failed", 4.0)
    assert value(metrics, "deliveries_total", channel="sms", upstream="operator", outcome="failed") == 1
    assert value(metrics, "end_to_end_seconds_count", channel="sms") is None


def test_a_refund_counts_the_price_of_its_delivery_alone(metrics: Metrics) -> None:
    attempt(MetricsObserver(metrics), Status.FAILED, Failed(), refund=True)
    assert value(metrics, "credits_refunded_total", product="mail") == 3


def test_a_call_of_the_observer_costs_microseconds(metrics: Metrics) -> None:
    observer = MetricsObserver(metrics)
    sent = message(1)
    work = Work(sent, "mx/example.net", sent.deliveries)
    settlement = Settlement(
        address="ada@example.net",
        account_id=ACCOUNT,
        message_id=sent.id,
        n=0,
        status=Status.DELIVERED,
        attempts=1,
        next_attempt_ms=0,
        at_ms=NOW_MS + 300,
    )
    outcome = Delivered()
    calls = 5000
    for call in (
        lambda: observer.accepted(sent, 0.004),
        lambda: observer.attempted(work, settlement, outcome),
        lambda: observer.receipted("operator", "delivered", 1.5),
    ):
        seconds = min(timeit.repeat(call, number=calls, repeat=7)) / calls
        assert seconds < 8e-6  # about 1 µs on a quiet machine; a label lookup or two would already cost 5


# --- labels are bounded ------------------------------------------------------------------------------------


def test_no_text_becomes_a_label(metrics: Metrics) -> None:
    observer = MetricsObserver(metrics)
    observer.refused("mail", "smtp", "no bob@example.org here")
    observer.auth_failed("smtp", "+41791234567")
    observer.receipted("x" * 65, "delivered", 1.0)
    metrics.webhook("https://example.org/hook?token=1")
    exposed = generate_latest(metrics.registry).decode()
    assert value(metrics, "refused_total", channel="mail", ingress="smtp", reason="other") == 1
    assert value(metrics, "auth_failures_total", ingress="smtp", reason="other") == 1
    for text in ("example.org", "41791234567", "xxxxx"):
        assert text not in exposed


def test_a_thousand_reasons_make_two_hundred_and_one_series(metrics: Metrics) -> None:
    observer = MetricsObserver(metrics)
    for number in range(1000):
        observer.refused("mail", "smtp", f"reason_{number}")
    lines = [
        line for line in generate_latest(metrics.registry).decode().splitlines() if "refused_total{" in line
    ]
    assert len(lines) == 201
    assert value(metrics, "refused_total", channel="other", ingress="other", reason="other") == 800
    assert len(metrics.refused) == 200


def test_a_child_is_looked_up_once() -> None:
    class Family:
        calls = 0

        def labels(self, *values: str) -> object:
            self.calls += 1
            return object()

    family = Family()
    children: Children[object] = Children(family)
    assert children["a", "b"] is children["a", "b"]
    assert family.calls == 1


# --- the histogram of the hot path -------------------------------------------------------------------------


def test_the_hot_histogram_says_what_the_librarys_own_says() -> None:
    bounds = (0.001, 0.5, 1, 2.5, 86_400)
    hot, own = CollectorRegistry(), CollectorRegistry()
    ours = HotHistogram("h_seconds", "Text.", ["channel"], buckets=bounds, registry=hot)
    theirs = Histogram("h_seconds", "Text.", ["channel"], buckets=bounds, registry=own)
    for amount in (0.0, 0.001, 0.0011, 0.5, 0.7, 1.0, 3.0, 86_400.0, 1e9):
        ours.labels("mail").observe(amount)
        theirs.labels("mail").observe(amount)

    def samples(registry: CollectorRegistry) -> set[tuple[str, str, float]]:
        (family,) = registry.collect()
        told = [one for one in family.samples if not one.name.endswith("_created")]
        return {(one.name, str(sorted(one.labels.items())), one.value) for one in told}

    assert samples(hot) == samples(own)
    assert ours.labels("mail") is ours.labels("mail")
    with pytest.raises(ValueError, match="labels"):
        ours.labels("mail", "smtp")


# --- what is -----------------------------------------------------------------------------------------------


class _Linked(FakeUpstream):
    link_state = LinkState(binds=2, bound=1, outstanding=7, waiting=3, throttled=5, pace_per_s=45.0)


async def test_links_memory_and_the_writer_are_read_at_the_scrape(tmp_path: Path, metrics: Metrics) -> None:
    upstream = _Linked("operator")
    upstream.gate.clear()
    async with rig(tmp_path, [upstream]) as one:
        metrics.watch(one.store, one.road)
        assert value(metrics, "memory_deliveries") == 0
        assert value(metrics, "store_writable") == 1
        assert value(metrics, "operations_waiting") == 0
        await one.send_mail("b@example.net", "c@example.net")
        assert value(metrics, "memory_deliveries") == 2
        assert (value(metrics, "memory_octets") or 0) > 50
        one.store.writer.failing = True
        assert value(metrics, "store_writable") == 0
        one.store.writer.failing = False
        found = {
            name: value(metrics, f"smpp_{name}", upstream="operator")
            for name in ("binds", "bound", "outstanding", "waiting", "pace", "throttled_total")
        }
        assert found == {
            "binds": 2,
            "bound": 1,
            "outstanding": 7,
            "waiting": 3,
            "pace": 45,
            "throttled_total": 5,
        }
        upstream.gate.set()


def test_a_commit_is_counted_with_its_size_and_time(metrics: Metrics) -> None:
    metrics.commit(40, 0.003)
    assert value(metrics, "commit_operations_sum") == 40
    assert value(metrics, "commit_seconds_bucket", le="0.005") == 1
    assert value(metrics, "commit_seconds_bucket", le="0.0025") == 0


def test_process_and_build_are_told(metrics: Metrics) -> None:
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert (value(metrics, name) or 0) > 0
    assert b"gateway_build_info{" in generate_latest(metrics.registry)


# --- what the database knows -------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
async def test_queue_and_balances_are_read_from_the_database(tmp_path: Path, metrics: Metrics) -> None:
    clock = FakeClock()

    def answer(work: Work, _attempt: int) -> list[Outcome]:
        return [Deferred(reply="later")] * len(work.deliveries)

    async with rig(tmp_path, [FakeUpstream(answer=answer)], clock=clock) as one:
        await one.credits.grant(OTHER_ACCOUNT, "mail", 1000)
        await one.send_mail("b@example.net", "c@example.net")
        clock.advance(120)
        await one.send_mail("d@example.net")
        await one.send_mail("e@example.net", send_at_ms=clock.now_ms() + 3_600_000)
        readings = Readings(metrics, one.store, clock)
        await readings.read_once()
        assert value(metrics, "queue_deliveries", channel="mail") == 4
        assert value(metrics, "queue_oldest_seconds", channel="mail") == 120
        assert value(metrics, "queue_deliveries", channel="sms") == 0
        assert value(metrics, "queue_oldest_seconds", channel="sms") == 0
        assert value(metrics, "credits_balance", product="mail") == 1100 - 4
        assert value(metrics, "credits_balance", product="sms") == 100
        assert value(metrics, "credits_granted", product="mail", source="grant") == 1100
        assert (value(metrics, "store_size_octets") or 0) > 50_000
        assert value(metrics, "readings_timestamp_seconds") == clock.now_ms() / 1000


async def test_a_mail_that_is_only_scheduled_makes_no_old_queue(tmp_path: Path, metrics: Metrics) -> None:
    clock = FakeClock()
    async with rig(tmp_path, [FakeUpstream()], clock=clock) as one:
        await one.send_mail("e@example.net", send_at_ms=clock.now_ms() + 3_600_000)
        clock.advance(1800)
        readings = Readings(metrics, one.store, clock)
        await readings.read_once()
        assert value(metrics, "queue_deliveries", channel="mail") == 1
        assert value(metrics, "queue_oldest_seconds", channel="mail") == 0


async def test_a_database_that_does_not_answer_leaves_the_gauges_and_the_task_alive(
    tmp_path: Path, metrics: Metrics
) -> None:
    async with rig(tmp_path, [FakeUpstream()]) as one:
        tries = 0
        recovered = asyncio.Event()
        read = one.store.read

        async def broken(function: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise StoreBusy("busy")
            result = await read(function)
            recovered.set()
            return result

        one.store.read = broken  # type: ignore[method-assign]  # a store that fails twice
        readings = Readings(metrics, one.store, FakeClock(), every_s=0.001)
        await readings.start()
        async with asyncio.timeout(5):
            await recovered.wait()
        await readings.stop()
        one.store.read = read  # type: ignore[method-assign]  # the fault itself
        assert value(metrics, "credits_balance", product="mail") == 100


async def test_queue_depth_reads_what_waits_and_never_the_history(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:{tmp_path / 'gateway.db'}", upgrade=True)
    try:
        plan = await store.read(_plan)
    finally:
        await store.close()
    waiting, held = (step for step in plan if " d " in step)
    assert "INDEX ix_delivery_due" in waiting
    assert "INDEX ix_delivery_held" in held
    assert sum("SEARCH m USING PRIMARY KEY" in step for step in plan) == 2
    assert len(plan) == 4  # nothing is gathered in between: memory does not grow with the queue


def _plan(tx: Any) -> list[str]:
    """How SQLite runs the statement of `query.queue_depth`."""
    statements: list[str] = []
    rows = tx.rows

    def spy(sql: str, row: Any = ()) -> Any:
        statements.append(sql)
        return rows(sql, row)

    tx.rows = spy
    query.queue_depth(tx)
    return [step[3] for one in statements for step in rows(f"EXPLAIN QUERY PLAN {one}")]
