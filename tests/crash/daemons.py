"""The gateways under test as child processes, and their database on either engine."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg

from bench.ports import free_port
from tests.crash.fates import REFUND_TOML
from tests.installation_toml import installation_toml
from tests.postgres_server import PostgresServer, postgres_server

Engine = Literal["sqlite", "postgresql"]
MAX_CONNECTIONS = 5  # to the mail sink, of each process
WINDOW = 20  # of the bind to the SMSC
BATCH_MAX = 50
_START_S = 30.0
_PATIENCE = f"max_connections = {MAX_CONNECTIONS}\ncommand_timeout_s = 5\ndata_timeout_s = 2\n"
_HARNESS = """
[server]
workers = {workers}
worker_silent_s = {silent_s}
drain_s = {drain_s}
[mail]
refund_on = [{mail}]
[sms]
refund_on = [{sms}]
[credits]
free_mail_credits = 0
[webhooks]
allow_private_targets = true
retry_first_s = 0.5
retry_max_s = 2
timeout_s = 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """What the harnesses change in the configuration of every daemon under test."""

    lease_s: float = 3.0
    workers: int = 1
    worker_silent_s: float = 10.0
    drain_s: float = 5.0

    def toml(self, text: str) -> str:
        """The template's `text` as this harness wants it."""
        text = text.replace("lease_s = 3\n", f"lease_s = {self.lease_s}\nbatch_max = {BATCH_MAX}\n")
        text = text.replace("window = 50\n", f"window = {WINDOW}\n")
        text = text.replace('tls = "none"\n', f'tls = "none"\n{_PATIENCE}')
        return text + _HARNESS.format(
            workers=self.workers, silent_s=self.worker_silent_s, drain_s=self.drain_s, **REFUND_TOML
        )


class Daemon:
    """The gateway under test, as a child process that leads its own process group.

    `harness` changes its configuration.
    """

    def __init__(
        self,
        folder: Path,
        mail_port: int,
        smsc_port: int,
        *,
        store_url: str = "sqlite:var/gateway.db",
        harness: "Harness | None" = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.smtp_port, self.http_port, self.smpp_port = (free_port() for _ in range(3))
        self.process: asyncio.subprocess.Process | None = None
        self.up = asyncio.Event()
        text = installation_toml(
            store_url=store_url,
            smtp_port=self.smtp_port,
            http_port=self.http_port,
            smpp_port=self.smpp_port,
            mail_port=mail_port,
            smsc_port=smsc_port,
            response_timeout_s=2,
        )
        (folder / "gateway.toml").write_text(text if harness is None else harness.toml(text))

    async def cli(self, *arguments: str) -> dict[str, Any]:
        """A command of the gateway; its JSON answer."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, cwd=self.folder, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"gateway {' '.join(arguments)}: exit {process.returncode}")
        answer: dict[str, Any] = json.loads(output) if "--json" in arguments else {}
        return answer

    async def start(self) -> None:
        """Starts the process and waits until it is ready."""
        await self.spawn()
        await self.ready()

    async def spawn(self) -> None:
        """Starts the process."""
        log = (self.folder / "daemon.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run",
            cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()

    async def ready(self) -> None:
        """Waits until it is ready. Raises TimeoutError, or RuntimeError where it has ended instead."""
        assert self.process is not None
        async with asyncio.timeout(_START_S), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1)
                    if answer.status_code == 200:
                        break
                if self.process.returncode is not None:
                    raise RuntimeError(
                        f"{self.folder.name} ended with {self.process.returncode} at its start"
                    )
                await asyncio.sleep(0.05)
        self.up.set()

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; the exit code."""
        self.up.clear()
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.wait()

    def workers_died(self) -> list[str]:
        """The workers that ended by themselves, as its supervisor logged them: not by our SIGKILL."""
        lines = (self.folder / "daemon.log").read_text(errors="replace").splitlines()
        return [line for line in lines if '"worker_died"' in line and "signal 9." not in line]

    def lost_leases(self) -> list[tuple[int, float]]:
        """Who lost its lease, and when by the wall clock it had been renewed for the last time."""
        found = []
        for line in (self.folder / "daemon.log").read_text(errors="replace").splitlines():
            if '"process_lease_lost"' in line:
                told = json.loads(line)
                at_s = datetime.fromisoformat(told["timestamp"]).timestamp()
                found.append((int(told["pid"]), at_s - told["renewed_before_s"]))
        return found

    def pids(self) -> list[int]:
        """The process and its workers, the leader first; none where it has ended."""
        if self.process is None or self.process.returncode is not None:
            return []
        leader = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
            return [leader, *map(int, children)]
        return [leader]

    def signal_group(self, number: signal.Signals) -> None:
        """Sends a signal to the process and everything it has started."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Daemons:
    """Several daemons on one database; clients take whichever is up."""

    def __init__(self, members: Sequence[Daemon], rng: random.Random) -> None:
        self.members = members
        self._rng = rng

    async def any(self) -> Daemon:
        """One that is up, as soon as there is one."""
        while True:
            up = [one for one in self.members if one.up.is_set()]
            if up:
                return self._rng.choice(up)
            waits = [asyncio.ensure_future(one.up.wait()) for one in self.members]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()


@dataclass(frozen=True, slots=True)
class Database:
    """Where the daemons keep everything, and how to look into it from outside."""

    engine: Engine
    url: str
    server: PostgresServer | None = None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows that `sql` answers; waits for nobody."""
        if self.engine == "postgresql":
            with psycopg.connect(self.url) as connection:
                return connection.execute(sql.encode()).fetchall()
        with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:"))) as database:
            return database.execute(sql).fetchall()

    def number(self, sql: str) -> int:
        """The one number that `sql` answers; 0 for none."""
        return int(self.rows(sql)[0][0] or 0)


@contextmanager
def fresh_database(engine: Engine, folder: Path) -> Iterator[Database]:
    """A database of the harness's own, gone at the end."""
    if engine == "sqlite":
        yield Database(engine, f"sqlite:{folder / 'gateway.db'}")
        return
    with postgres_server() as server:
        server.execute("CREATE DATABASE gateway")
        yield Database(engine, server.url("gateway"), server)


def end_all(daemons: Sequence[Daemon]) -> None:
    """Leaves no process behind, whatever went wrong."""
    for one in daemons:
        if one.process is not None:
            one.signal_group(signal.SIGKILL)
