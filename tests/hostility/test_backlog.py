"""A long queue for a dead destination: the daemon starts with it, others are delivered, memory is bounded.

`bench/backlog.py` measures the same with a million messages; here nothing is asserted on time.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bench import backlog
from tests.hostility.sink import sink
from tests.hostility.world import World, until

BACKLOG = 50_000
HELD = 10_000
OTHERS = 500
MEMORY_MESSAGES = 5_000
MOST_OCTETS = 160 << 20  # over what an empty daemon has: 5,000 messages of 1 KB, two processes' page caches


@pytest.mark.timeout(240)
async def test_50000_queued_for_a_dead_destination_neither_stop_the_start_nor_the_others(
    tmp_path: Path,
) -> None:
    with sink() as target:
        sections = backlog.sections(target.port)
        sections["limits"] = {"queue_memory_messages": MEMORY_MESSAGES}
        world = await World.make(tmp_path, **sections)
        await world.start()
        empty_octets = world.peak_octets()
        await world.stop()
        backlog.fill(world, BACKLOG, held=HELD)
        await world.start()
        try:
            await until(lambda: count(world, "holder IS NOT NULL") < HELD, what="the dead process's share")
            await backlog.load(world, target, OTHERS)
            assert target.counts().messages == OTHERS
            grown = world.peak_octets() - empty_octets
            print(f"with a backlog of {BACKLOG}: {grown >> 20} MiB more")  # noqa: T201 - for docs/limits.md
            assert grown < MOST_OCTETS, grown
        finally:
            code = await world.stop()
        assert code == 0
        world.check_log()
        assert count(world, "status = 'queued'") == BACKLOG  # nothing of it was lost or given up
        assert count(world, "holder IS NOT NULL") == 0  # and a clean stop holds nothing back


def count(world: World, condition: str) -> int:
    """Deliveries for the dead destination that are so."""
    with closing(sqlite3.connect(world.database)) as connection:
        found = connection.execute(
            f"SELECT count(*) FROM delivery WHERE destination = ? AND {condition}", (backlog.DEAD,)
        )
        return int(found.fetchone()[0])
