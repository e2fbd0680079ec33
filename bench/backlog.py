"""A million queued messages for a dead destination, while others flow: what the backlog costs them.

Two installations, one with an empty queue and one with the backlog, are started and loaded in turn, round
after round; their medians are compared. Printed: seconds to start, memory, and the rates of acceptance and
delivery of the other mail. The backlog is not accepted one by one but written straight into the tables, all
of it due at once; a part is marked as held by a process that died. Asserts nothing.

    python bench/backlog.py --messages 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from gateway.ids import IdFactory  # noqa: E402  the path had to be set first
from tests.hostility.sink import Sink, sink  # noqa: E402
from tests.hostility.world import World, free_ports, until  # noqa: E402

DEAD = "dead"  # the upstream, and so the queue, that nobody answers for
CONNECTIONS = 10
_CONTENT = b"Subject: x\r\nFrom: a@demo.example\r\nTo: b@dead.example\r\n\r\n" + b"A line of text.\r\n" * 60
_DAY_MS = 86_400_000
_SLICE = 10_000
_INSERT_MESSAGE = """
INSERT INTO message (account_id, id, channel, ingress, sender, subject, status, recipients, size_octets,
  price_credits, refunded_credits, lots, envelope, accepted_ms, expires_ms)
VALUES (?, ?, 'mail', 'smtp', 'a@demo.example', 'x', 'queued', 1, ?, 1, 0, '[]', ?, ?, ?)
"""
_INSERT_DELIVERY = """
INSERT INTO delivery (account_id, message_id, n, address, destination, status, price_credits,
  refunded_credits, attempts, next_attempt_ms, holder, updated_ms)
VALUES (?, ?, 0, 'b@dead.example', 'dead', 'queued', 1, 0, 1, ?, ?, ?)
"""
_INSERT_CONTENT = "INSERT INTO content (account_id, message_id, data) VALUES (?, ?, ?)"
_ENVELOPE = '{"mail_from":"a@demo.example"}'


def sections(sink_port: int) -> dict[str, dict[str, Any]]:
    """The configuration: mail for dead.example goes where nobody listens, all other mail to the sink."""
    (nobody,) = free_ports(1)
    relay = {"type": "relay", "host": "127.0.0.1", "tls": "none"}
    routes = [{"match": "dead.example", "upstream": DEAD}, {"match": "*", "upstream": "sink"}]
    return {
        "mail": {"route": routes},
        "metrics": {"enabled": True, "port": 0},
        "upstream__dead": {**relay, "port": nobody},
        "upstream__sink": {**relay, "port": sink_port},
    }


def fill(world: World, count: int, *, held: int = 0) -> None:
    """Queues `count` messages for the dead destination, `held` of them by a process that died."""
    now_ms = time.time_ns() // 1_000_000
    account_id = world.account.account.id
    new_id = IdFactory().new
    holder = new_id(now_ms)
    with closing(sqlite3.connect(world.database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        for start in range(0, count, _SLICE):
            ids = [new_id(now_ms) for _ in range(min(_SLICE, count - start))]
            content = len(_CONTENT)
            expires_ms = now_ms + 5 * _DAY_MS
            with connection:
                connection.executemany(
                    _INSERT_MESSAGE,
                    ((account_id, one, content, _ENVELOPE, now_ms, expires_ms) for one in ids),
                )
                connection.executemany(
                    _INSERT_DELIVERY,
                    (
                        (account_id, one, now_ms, holder if start + number < held else None, now_ms)
                        for number, one in enumerate(ids)
                    ),
                )
                connection.executemany(_INSERT_CONTENT, ((account_id, one, _CONTENT) for one in ids))
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def load(world: World, target: Sink, count: int) -> tuple[float, float]:
    """Sends so many mails over SMTP; mails accepted and mails delivered per second."""
    before = target.counts().messages
    started = time.monotonic()
    await asyncio.gather(*(_client(world, count // CONNECTIONS) for _ in range(CONNECTIONS)))
    accepted_s = time.monotonic() - started
    await until(lambda: target.counts().messages >= before + count, within_s=300, what="all delivered")
    return count / accepted_s, count / (time.monotonic() - started)


async def _client(world: World, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.smtp)
    secrets = world.account.secrets
    plain = base64.b64encode(f"\0{secrets.smtp_user}\0{secrets.smtp_password}".encode())
    writer.write(b"EHLO bench.example\r\nAUTH PLAIN " + plain + b"\r\n")
    while not (await reader.readline()).startswith(b"235 "):
        pass
    for _ in range(count):
        writer.write(b"MAIL FROM:<a@demo.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
        for _ in range(3):
            await reader.readline()
        writer.write(_CONTENT + b".\r\n")
        reply = await reader.readline()
        if not reply.startswith(b"250 "):
            raise RuntimeError(reply)
    writer.close()


@dataclass
class Measured:
    """What the rounds of one installation gave."""

    start_s: list[float] = field(default_factory=list)
    rss_octets: list[int] = field(default_factory=list)
    accepted_per_s: list[float] = field(default_factory=list)
    delivered_per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


async def one_round(world: World, target: Sink, count: int, into: Measured) -> None:
    """Starts, loads and stops one installation."""
    into.start_s.append(await world.start())
    try:
        await load(world, target, count // 10)  # warm
        cpu_s = world.cpu_s()
        accepted, delivered = await load(world, target, count)
        into.cpu_ms.append((world.cpu_s() - cpu_s) / count * 1e3)
        into.accepted_per_s.append(accepted)
        into.delivered_per_s.append(delivered)
        into.rss_octets.append(world.peak_octets())
    finally:
        await world.stop()
    world.check_log()


_ROWS = {
    "start, s": "start_s",
    "accepted per s": "accepted_per_s",
    "delivered per s": "delivered_per_s",
    "CPU ms per mail": "cpu_ms",
    "memory at most, MiB": "rss_octets",
}


def rows(empty: Measured, full: Measured) -> Iterator[str]:
    """The report."""
    yield f"{'':24}{'empty queue':>14}{'backlog':>14}{'ratio':>8}"
    for name, values in _ROWS.items():
        scale = 1 << 20 if values == "rss_octets" else 1
        one, two = (statistics.median(getattr(each, values)) / scale for each in (empty, full))
        yield f"{name:24}{one:14.2f}{two:14.2f}{two / one:8.2f}"


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000, help="in the backlog (1000000)")
    parser.add_argument("--held", type=int, default=20_000, help="of them by a dead process (20000)")
    parser.add_argument("--load", type=int, default=5_000, help="other mails in each round (5000)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="backlog-") as name, sink() as target:
        worlds = []
        for folder in ("empty", "full"):
            path = Path(name, folder)
            path.mkdir()  # noqa: ASYNC240 - nothing else runs yet
            worlds.append(await World.make(path, **sections(target.port)))
        empty, full = worlds
        started = time.monotonic()
        fill(full, arguments.messages, held=arguments.held)
        size = full.database.stat().st_size
        sys.stdout.write(
            f"{arguments.messages} messages queued for a dead destination, {arguments.held} of them held by "
            f"a dead process: {size >> 20} MiB, written in {time.monotonic() - started:.0f} s\n"
        )
        measured = Measured(), Measured()
        for _ in range(arguments.rounds):
            await one_round(empty, target, arguments.load, measured[0])
            await one_round(full, target, arguments.load, measured[1])
        sys.stdout.write(f"medians of {arguments.rounds} rounds, {arguments.load} other mails in each\n")
        sys.stdout.write("\n".join(rows(*measured)) + "\n")
        sys.stdout.write(
            "starts with the backlog: " + ", ".join(f"{s:.1f}" for s in measured[1].start_s) + " s\n"
        )


if __name__ == "__main__":
    asyncio.run(main())
