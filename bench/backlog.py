"""A million queued messages for a dead destination, while others flow.

The backlog is not accepted one by one but written straight into the tables, all of it due at once; a part is
marked as held by a process that died. An installation keeps its backlog from run to run.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.ports import free_port
from bench.servers import Gateway, Target
from bench.tree import Tree
from gateway.ids import IdFactory

DEAD = "dead"  # the upstream, and so the queue, that nobody answers for
_HELD = 0.02  # of the backlog, by the process that died
_IDLE = 0.1  # CPU-seconds in a second, at most
_SETTLE_S = 60.0
_CONTENT = b"Subject: x\r\nFrom: a@bench.example\r\nTo: b@dead.example\r\n\r\n" + b"A line of text.\r\n" * 60
_DAY_MS = 86_400_000
_SLICE = 10_000
_INSERT_MESSAGE = """
INSERT INTO message (account_id, id, channel, ingress, sender, subject, status, recipients, size_octets,
  price_credits, refunded_credits, lots, envelope, accepted_ms, expires_ms)
VALUES (?, ?, 'mail', 'smtp', 'a@bench.example', 'x', 'queued', 1, ?, 1, 0, '[]', ?, ?, ?)
"""
_INSERT_DELIVERY = """
INSERT INTO delivery (account_id, message_id, n, address, destination, status, price_credits,
  refunded_credits, attempts, next_attempt_ms, holder, updated_ms)
VALUES (?, ?, 0, 'b@dead.example', 'dead', 'queued', 1, 0, 1, ?, ?, ?)
"""
_INSERT_CONTENT = "INSERT INTO content (account_id, message_id, data) VALUES (?, ?, ?)"
_ENVELOPE = '{"mail_from":"a@bench.example"}'


def fill(database: Path, count: int, *, held: int = 0, accounts: Sequence[str] = ()) -> None:
    """Queues `count` messages for DEAD, of `accounts` in turn or of the first account, `held` of them by a
    process that died.
    """
    now_ms = time.time_ns() // 1_000_000
    new_id = IdFactory().new
    holder = new_id(now_ms)
    with closing(sqlite3.connect(database)) as connection:
        accounts = accounts or connection.execute("SELECT id FROM account").fetchone()
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        for start in range(0, count, _SLICE):
            keys = [
                (accounts[number % len(accounts)], new_id(now_ms))
                for number in range(min(_SLICE, count - start))
            ]
            content = len(_CONTENT)
            expires_ms = now_ms + 5 * _DAY_MS
            with connection:
                connection.executemany(
                    _INSERT_MESSAGE,
                    ((*key, content, _ENVELOPE, now_ms, expires_ms) for key in keys),
                )
                connection.executemany(
                    _INSERT_DELIVERY,
                    (
                        (*key, now_ms, holder if start + number < held else None, now_ms)
                        for number, key in enumerate(keys)
                    ),
                )
                connection.executemany(_INSERT_CONTENT, ((*key, _CONTENT) for key in keys))
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@dataclass(kw_only=True)
class Backlogged(Gateway):
    """The gateway with `queued` mails for a dead destination; all other mail goes to the sink."""

    queued: int = 0

    def __post_init__(self) -> None:
        self.name = f"gateway, {self.queued:,} queued" if self.queued else "gateway, empty queue"

    def start(self, folder: Path, sink_port: int) -> Target:
        """As always, and then until what a start does with a backlog is done."""
        target = super().start(folder, sink_port)
        _wait_until_idle(self.trees)
        return target

    def installed(self, folder: Path) -> Path:  # noqa: ARG002 - the base's
        """The template itself: gigabytes are not copied for each run."""
        if not self.template.exists():
            self.prepare()
            fill(self.template / "var" / "gateway.db", self.queued, held=int(self.queued * _HELD))
        return self.template

    def upstreams(self, sink_port: int) -> str:
        """Mail for dead.example goes where nobody listens."""
        return f"""
            [[mail.route]]
            match = "dead.example"
            upstream = "{DEAD}"
            [[mail.route]]
            match = "*"
            upstream = "sink"
            [upstream.{DEAD}]
            type = "relay"
            host = "127.0.0.1"
            port = {free_port()}
            tls = "none"
            {super().upstreams(sink_port)}"""


def _wait_until_idle(trees: list[Tree]) -> None:
    """Returns after a second without work: what a dead process held is taken over, retention has looked."""
    end = time.monotonic() + _SETTLE_S
    spent_s = 0.0
    while time.monotonic() < end:
        before_s, spent_s = spent_s, sum(tree.cpu_s() for tree in trees)
        if spent_s - before_s < _IDLE:
            return
        time.sleep(1.0)
