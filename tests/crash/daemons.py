"""The gateways under test as child processes, their database on either engine, and the account they serve."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg

from tests.installation_toml import installation_toml
from tests.postgres_server import postgres_server

Engine = Literal["sqlite", "postgresql"]
CREDITS = 10_000_000
_START_S = 30.0


class Daemon:
    """The gateway under test, as a child process."""

    def __init__(
        self, folder: Path, mail_port: int, smsc_port: int, *, store_url: str = "sqlite:var/gateway.db"
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.smtp_port, self.http_port, self.smpp_port = free_ports(3)
        self.process: asyncio.subprocess.Process | None = None
        self.up = asyncio.Event()
        (folder / "gateway.toml").write_text(
            installation_toml(
                store_url=store_url,
                smtp_port=self.smtp_port,
                http_port=self.http_port,
                smpp_port=self.smpp_port,
                mail_port=mail_port,
                smsc_port=smsc_port,
                response_timeout_s=2,
            )
        )

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
        log = (self.folder / "daemon.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run", cwd=self.folder, stdout=log, stderr=log
        )
        log.close()
        async with asyncio.timeout(_START_S), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1)
                    if answer.status_code == 200:
                        break
                await asyncio.sleep(0.05)
        self.up.set()

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; the exit code."""
        self.up.clear()
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.wait()


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
        yield Database(engine, server.url("gateway"))


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Account:
    """The logins of the account under test."""

    key: str
    smtp_user: str
    smtp_password: str
    smpp_system_id: str
    smpp_password: str


async def make_account(daemon: Daemon) -> Account:
    """The account under test, by the command line as an operator would."""
    await daemon.cli("db", "upgrade")
    await daemon.cli("account", "create", "crash")
    key = await daemon.cli("key", "create", "crash", "--json")
    smtp = await daemon.cli("credential", "create", "crash", "smtp", "--json")
    smpp = await daemon.cli("credential", "create", "crash", "smpp", "--json")
    for product in ("mail", "sms"):
        await daemon.cli("credit", "grant", "crash", product, str(CREDITS))
    await daemon.cli("domain", "add", "crash", "crash.example")
    await daemon.cli("domain", "approve", "crash", "crash.example")
    await daemon.cli("sendername", "add", "crash", "Crash")
    return Account(key["key"], smtp["username"], smtp["password"], smpp["username"], smpp["password"])
