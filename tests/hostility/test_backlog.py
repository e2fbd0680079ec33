"""A long queue for a dead destination: the daemon starts with it, others are delivered, memory is bounded.

`make bench CASES=backlog` measures the same with a million messages; here nothing is asserted on time.
"""

import asyncio
import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench import backlog
from bench.ports import free_port
from tests.hostility.sink import Sink, sink
from tests.hostility.world import World, until

BACKLOG = 50_000
HELD = 10_000
OTHERS = 500
CONNECTIONS = 10
CONTENT = b"Subject: x\r\nFrom: a@demo.example\r\nTo: b@example.net\r\n\r\nA line of text.\r\n"
MEMORY_MESSAGES = 5_000
MOST_OCTETS = 160 << 20  # over what an empty daemon has: 5,000 messages of 1 KB, two processes' page caches


@pytest.mark.timeout(240)
async def test_50000_queued_for_a_dead_destination_neither_stop_the_start_nor_the_others(
    tmp_path: Path,
) -> None:  # A5
    with sink() as target:
        settings = sections(target.port)
        settings["limits"] = {"queue_memory_messages": MEMORY_MESSAGES}
        world = await World.make(tmp_path, **settings)
        await world.start()
        empty_octets = world.peak_octets()
        await world.stop()
        backlog.fill(world.database, BACKLOG, held=HELD)
        await world.start()
        try:
            await until(lambda: count(world, "holder IS NOT NULL") < HELD, what="the dead process's share")
            await load(world, target, OTHERS)
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


def sections(sink_port: int) -> dict[str, dict[str, Any]]:
    """The configuration: mail for dead.example goes where nobody listens, all other mail to the sink."""
    nobody = free_port()
    relay = {"type": "relay", "host": "127.0.0.1", "tls": "none"}
    routes = [{"match": "dead.example", "upstream": backlog.DEAD}, {"match": "*", "upstream": "sink"}]
    return {
        "mail": {"route": routes},
        "metrics": {"enabled": True, "port": 0},
        "upstream__dead": {**relay, "port": nobody},
        "upstream__sink": {**relay, "port": sink_port},
    }


async def load(world: World, target: Sink, count: int) -> None:
    """Sends so many mails over SMTP; returns when all are delivered."""
    before = target.counts().messages
    await asyncio.gather(*(_client(world, count // CONNECTIONS) for _ in range(CONNECTIONS)))
    await until(lambda: target.counts().messages >= before + count, within_s=300, what="all delivered")


async def _client(world: World, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.smtp)
    secrets = world.account.secrets
    plain = base64.b64encode(f"\0{secrets.smtp_user}\0{secrets.smtp_password}".encode())
    writer.write(b"EHLO test.example\r\nAUTH PLAIN " + plain + b"\r\n")
    while not (await reader.readline()).startswith(b"235 "):
        pass
    for _ in range(count):
        writer.write(b"MAIL FROM:<a@demo.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
        for _ in range(3):
            await reader.readline()
        writer.write(CONTENT + b".\r\n")
        reply = await reader.readline()
        if not reply.startswith(b"250 "):
            raise RuntimeError(reply)
    writer.close()
