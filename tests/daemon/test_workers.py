"""Several workers under one supervisor: shared ports, one lease per bind, merged metrics, and what dies."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.ports import free_port
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.crash.daemons import Daemon

WORKERS = 2


class Workers(Daemon):
    """The harness's daemon with two workers and its metrics open."""

    def __init__(self, folder: Path, smsc_port: int, server: str = "") -> None:
        super().__init__(folder, 9, smsc_port)  # port 9, discard: no mail is sent here
        self.metrics_port = free_port()
        path = folder / "gateway.toml"
        text = path.read_text().replace("lease_s = 3", "lease_s = 1")
        text = text.replace("enabled = false", f"enabled = true\nport = {self.metrics_port}", 1)
        path.write_text(text + f"\n[server]\nworkers = {WORKERS}\n{server}")

    def pids(self) -> list[int]:
        """The workers' process ids."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def counters(self) -> dict[str, float]:
        """Every counter and bucket of the merged exposition."""
        text = (
            urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10)
            .read()
            .decode()
        )
        return {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            if family.type in {"counter", "histogram"}
            for sample in family.samples
        }

    def log(self) -> str:
        """What all processes have logged."""
        return (self.folder / "daemon.log").read_text()

    def metric(self, line: str) -> float | None:
        """The value of one line of the merged exposition, None when it is not there."""
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.metrics_port}/metrics"
            text = urllib.request.urlopen(url, timeout=5).read().decode()
            for found in text.splitlines():
                if found.startswith(line + " "):
                    return float(found.rpartition(" ")[2])
        return None


async def until(condition: Any, *, within_s: float = 20.0) -> None:
    """Returns once `condition()` holds; what other processes do can only be polled."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


@pytest.fixture
async def smsc() -> Any:
    """An operator that stays when workers die."""
    config = SimulatorConfig(smsc=SmscConfig(port=0, system_id="sandbox"), receipt_delay_s=0.05)
    simulator = Simulator(config)
    await simulator.start()
    yield simulator
    await simulator.stop()


async def send(daemon: Workers, key: str, count: int) -> None:
    """Sends so many SMS, each over a connection of its own."""
    body = json.dumps({"from": "Crash", "to": "+41791234567", "text": "Hi"}).encode()
    url = f"http://127.0.0.1:{daemon.http_port}/v1/sms"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    for _ in range(count):
        request = urllib.request.Request(url, body, headers)
        answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
        assert answer.status == 202


@contextlib.asynccontextmanager
async def started(folder: Path, smsc: Simulator, server: str = "") -> AsyncIterator[tuple[Workers, str]]:
    """Two workers with an account that may send SMS, and its key; ended with the block, however it ends."""
    daemon = Workers(folder, smsc.port, server)
    await daemon.cli("db", "upgrade")
    await daemon.cli("account", "create", "crash")
    key = (await daemon.cli("key", "create", "crash", "--json"))["key"]
    await daemon.cli("credit", "grant", "crash", "sms", "1000")
    await daemon.cli("sendername", "add", "crash", "Crash")
    try:
        await daemon.start()
        await until(lambda: daemon.metric('gateway_workers{state="up"}') == WORKERS)
        yield daemon, key
    finally:
        if daemon.process is not None and daemon.process.returncode is None:
            await daemon.end(signal.SIGTERM)


@pytest.mark.timeout(180)
async def test_workers_share_the_ports_and_a_dead_one_is_replaced(tmp_path: Path, smsc: Simulator) -> None:
    async with started(tmp_path, smsc) as (daemon, key):
        assert len(daemon.pids()) == WORKERS
        await until(lambda: daemon.metric('gateway_smpp_bound{upstream="operator"}') == 1)
        assert len(smsc._binds) == 1  # leased: one bind over both workers

        await send(daemon, key, 20)
        await until(lambda: len(smsc.messages()) == 20)
        assert daemon.metric('gateway_accepted_total{channel="sms",ingress="http"}') == 20

        before = daemon.pids()
        for pid in before:  # whichever holds the bind
            os.kill(pid, signal.SIGKILL)
            await until(lambda gone=pid: gone not in daemon.pids() and len(daemon.pids()) == WORKERS)
            await until(lambda: daemon.metric('gateway_workers{state="up"}') == WORKERS)
            await until(lambda: len(smsc._binds) == 1)
        assert not set(before) & set(daemon.pids())

        await send(daemon, key, 10)
        await until(lambda: len(smsc.messages()) >= 30)
        children = daemon.pids()
        assert await daemon.end(signal.SIGTERM) == 0
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


@pytest.mark.timeout(120)
async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, smsc: Simulator) -> None:
    async with started(tmp_path, smsc) as (daemon, _):
        children = daemon.pids()
        await daemon.end(signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


@pytest.mark.timeout(180)
async def test_a_worker_whose_loop_stands_still_is_killed_and_replaced(
    tmp_path: Path, smsc: Simulator
) -> None:
    async with started(tmp_path, smsc, "worker_silent_s = 3") as (daemon, key):
        stopped = daemon.pids()[0]
        os.kill(stopped, signal.SIGSTOP)
        await until(lambda: stopped not in daemon.pids() and len(daemon.pids()) == WORKERS)
        await until(lambda: daemon.metric('gateway_workers{state="up"}') == WORKERS)
        assert daemon.metric('gateway_workers_replaced_total{reason="silent"}') == 1
        assert daemon.metric('gateway_workers_replaced_total{reason="died"}') is None
        assert "worker_silent" in daemon.log()
        await send(daemon, key, 5)
        await until(lambda: len(smsc.messages()) >= 5)


@pytest.mark.timeout(180)
async def test_a_database_that_does_not_answer_kills_no_worker(tmp_path: Path, smsc: Simulator) -> None:
    async with started(tmp_path, smsc, "worker_silent_s = 3") as (daemon, _):
        before = daemon.pids()
        with contextlib.closing(sqlite3.connect(tmp_path / "var/gateway.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")  # nobody else writes until it ends
            await asyncio.sleep(6)  # twice the silence for which a worker is killed
            other.execute("ROLLBACK")
        assert daemon.pids() == before
        assert "worker_silent" not in daemon.log()


@pytest.mark.timeout(180)
async def test_no_counter_goes_backwards_when_workers_die(tmp_path: Path, smsc: Simulator) -> None:
    async with started(tmp_path, smsc) as (daemon, key):
        seen: dict[str, float] = {}

        def look() -> None:
            now = daemon.counters()
            fallen = {
                name: (value, now.get(name)) for name, value in seen.items() if now.get(name, 0) < value
            }
            assert fallen == {}
            seen.update(now)

        for _ in range(4):
            await send(daemon, key, 10)
            await asyncio.to_thread(look)
            victim = daemon.pids()[0]
            os.kill(victim, signal.SIGKILL)
            await asyncio.to_thread(look)  # it does not answer
            await until(lambda gone=victim: gone not in daemon.pids() and len(daemon.pids()) == WORKERS)
            await until(lambda: daemon.metric('gateway_workers{state="up"}') == WORKERS)
            await asyncio.to_thread(look)  # another is in its place
        assert daemon.metric('gateway_accepted_total{channel="sms",ingress="http"}') == 40
        assert daemon.metric('gateway_workers_replaced_total{reason="died"}') == 4
