"""Claiming: what a lane holds costs nobody who only passes it, and no more is loaded than fits."""

from dataclasses import replace
from pathlib import Path

from gateway.messages.queue.claim import LaneKey, due_lanes
from gateway.store.store import Store
from gateway.store.tx import Tx
from tests.support.fakes import FakeUpstream
from tests.world import MAIL, make_settings, rig

NOW_MS = 1_000
INSERT = """
INSERT INTO delivery (account_id, message_id, n, address, destination, status, price_credits,
  refunded_credits, attempts, next_attempt_ms, updated_ms)
VALUES (?, ?, 0, 'a@example.net', ?, 'queued', 1, 0, 0, ?, 0)
"""
START = LaneKey("", "")


async def opened(path: Path, rows: list[tuple[str, str, str, int]]) -> Store:
    """A store whose queue holds these: account, message, destination, next attempt."""
    store = Store.open(f"sqlite:{path / 'gateway.db'}", upgrade=True)
    await store.write(lambda tx: tx.run_many(INSERT, rows))
    return store


async def test_due_lanes_come_in_order_once_and_only_when_something_is_due(tmp_path: Path) -> None:
    rows = [
        ("acct-b", "m1", "mx/a.example", NOW_MS),
        ("acct-a", "m2", "mx/a.example", NOW_MS),
        ("acct-a", "m3", "mx/a.example", NOW_MS - 1),
        ("acct-c", "m4", "mx/a.example", NOW_MS + 1),
        ("acct-a", "m5", "mx/b.example", NOW_MS),
    ]
    store = await opened(tmp_path, rows)
    try:
        lanes, place = await store.read(lambda tx: due_lanes(tx, after=START, now_ms=NOW_MS, limit=10))
        assert lanes == [
            LaneKey("mx/a.example", "acct-a"),
            LaneKey("mx/a.example", "acct-b"),
            LaneKey("mx/b.example", "acct-a"),
        ]
        assert place is None
        first, place = await store.read(lambda tx: due_lanes(tx, after=START, now_ms=NOW_MS, limit=2))
        assert place == first[-1] == LaneKey("mx/a.example", "acct-b")
        rest, place = await store.read(lambda tx: due_lanes(tx, after=first[-1], now_ms=NOW_MS, limit=10))
        assert (first + rest, place) == (lanes, None)
    finally:
        await store.close()


async def test_a_long_lane_is_passed_in_one_jump(tmp_path: Path) -> None:
    rows = [("acct", f"m{number}", "dead", NOW_MS) for number in range(5_000)]
    store = await opened(tmp_path, [*rows, ("acct", "other", "live", NOW_MS)])

    def steps(tx: Tx) -> tuple[int, list[LaneKey]]:
        """Instructions of SQLite's machine that a whole round takes."""
        taken = [0]

        def count() -> int:
            taken[0] += 1
            return 0

        tx._driver.set_progress_handler(count, 1)
        lanes, _ = due_lanes(tx, after=START, now_ms=NOW_MS, limit=10)
        tx._driver.set_progress_handler(None, 0)
        return taken[0], lanes

    try:
        taken, lanes = await store.read(steps)
    finally:
        await store.close()
    assert lanes == [LaneKey("dead", "acct"), LaneKey("live", "acct")]
    assert taken < 500, taken


async def test_no_more_content_is_loaded_than_there_is_memory_for(tmp_path: Path) -> None:
    defaults = make_settings()
    settings = replace(defaults, limits=replace(defaults.limits, queue_memory_octets=30_000))
    upstream = FakeUpstream(per_domain=True)
    upstream.gate.clear()
    small = MAIL + b"x" * 9_000 + b"\r\n"
    larger_than_all = MAIL + b"x" * 50_000 + b"\r\n"
    async with rig(tmp_path, [upstream], settings=settings) as one:
        sent = [
            await one.send_mail(f"{number}@{domain}.example", content=content)
            for number, (domain, content) in enumerate(
                [("a", small)] * 4 + [("b", small)] * 4 + [("c", larger_than_all)] + [("a", small)] * 4
            )
        ]
        lanes = one.road.dispatcher.lanes
        for _ in range(4):
            await one.road.queue.claim_round()
            assert 0 < lanes.octets <= 30_000
            held = await one.store.read(lambda tx: tx.one("SELECT count(*) FROM delivery WHERE holder <> ''"))
            assert held == (lanes.deliveries,)  # nothing is claimed only to be put back
        upstream.gate.set()
        for verdict in sent:
            assert verdict.id is not None
            await one.settled(verdict.id, "delivered")
        assert (lanes.octets, lanes.deliveries) == (0, 0)
