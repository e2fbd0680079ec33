"""`workers = N`: one parent that keeps N daemons on the same ports, and shows them as one.

The parent holds the database's lock, starts the workers, starts a dead one again, kills one whose loop stands
still, merges their metrics and probes the doors; it carries no message. The workers listen with SO_REUSEPORT,
so the kernel spreads new connections over them, and share the work by leases in the store, as N machines on
one PostgreSQL do. A dead worker's leases are dropped at once, so that the others need not wait for them to
run out.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.process import reapAllProcesses
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from config.schema import Settings
from gateway.accounts.probe_key import ProbeKey
from gateway.clock import SystemClock
from gateway.listeners import LISTENERS, Ports
from gateway.observe.merged import MergedCollector
from gateway.observe.metrics import Metrics
from gateway.observe.probes import Probes
from gateway.observe.server import MetricsServer
from gateway.starting import StartError, naming, open_store
from gateway.store import leases
from gateway.store.integrity import BackgroundCheck
from gateway.store.operation import Call
from gateway.store.store import Store
from gateway.worker import ALIVE, READY_FD, VARIABLE, Birth

log = structlog.get_logger(__name__)

_REAP_EVERY_S = 0.1
_READY_S = 60.0
_SCRAPE_S = 2.0
_RESTART_FIRST_S = 0.5
_RESTART_MAX_S = 30.0
_ABORT_S = 1.0  # from SIGABRT to SIGKILL
_STOOD_STILL_S = 3.0
_DIED = "died"
_STEADY_S = 60.0  # a worker that lived so long starts its back-off anew


class Worker(ProcessProtocol):
    """One worker process, born again when it dies."""

    def __init__(self, supervisor: "Supervisor", index: int) -> None:
        self._supervisor = supervisor
        self.index = index
        self.holder = ""
        self.metrics_port = 0
        self.births = 0
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.heard_s = 0.0
        """When it said last that its loop turns; 0: it was given up, or is not up yet, which may take as long
        as the database does.
        """
        self._line = b""
        self._born_s = 0.0
        self._reason = _DIED
        self._wait_s = _RESTART_FIRST_S

    def spawn(self) -> None:
        """Starts the process."""
        self.ready.clear()
        self.ended.clear()
        self.births += 1
        self._line = b""
        self._reason = _DIED
        self._born_s = asyncio.get_event_loop().time()
        self._supervisor.spawn(self)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's names
        """The worker says that it is up, or that its loop turns."""
        if childFD != READY_FD:
            return
        if self.ready.is_set():
            if self._reason is _DIED:
                self.heard_s = asyncio.get_event_loop().time()
            return
        self._line += data.replace(ALIVE, b"")
        if self._line.endswith(b"\n"):
            told = json.loads(self._line)
            self.holder, self.metrics_port = told["holder"], told["metrics"]
            self.ready.set()
            self.heard_s = asyncio.get_event_loop().time()

    def kill(self, silent_s: float) -> None:
        """Ends a process whose loop stood still for so long; SIGABRT has it say where (`faulthandler`)."""
        log.error("worker_silent", index=self.index, silent_s=round(silent_s, 1))
        self._reason = "silent"
        self.heard_s = 0.0
        self.signal(signal.SIGABRT)
        asyncio.get_event_loop().call_later(_ABORT_S, self._kill, self.births)

    def _kill(self, birth: int) -> None:
        if self.births == birth and not self.ended.is_set():
            self.signal(signal.SIGKILL)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """It is gone: what it held is free, and unless we are stopping it comes again."""
        self.ended.set()
        self.metrics_port = 0
        self.heard_s = 0.0
        self._supervisor.buried(self)
        if self._supervisor.stopping:
            return
        loop = asyncio.get_event_loop()
        if loop.time() - self._born_s > _STEADY_S:
            self._wait_s = _RESTART_FIRST_S
        log.error("worker_died", index=self.index, reason=reason.getErrorMessage(), again_in_s=self._wait_s)
        loop.call_later(self._wait_s, self._again)
        self._wait_s = min(self._wait_s * 2, _RESTART_MAX_S)

    def _again(self) -> None:
        if not self._supervisor.stopping:
            self._supervisor.metrics.replaced(self._reason)
            self.spawn()

    def signal(self, number: int) -> None:
        """Sends the process a signal, if it lives."""
        transport: Any = self.transport
        if transport is None:
            return
        try:
            transport.signalProcess(number)
        except ProcessExitedAlready:
            return

    def scrape(self) -> str | None:
        """Its metrics, None when it does not answer."""
        if not self.metrics_port:
            return None
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=_SCRAPE_S) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return None


class Supervisor:
    """The parent; has the same `start`, `stop` and `reload` as `daemon.Gateway`."""

    def __init__(self, settings: Settings, *, reactor: Any, config_path: Path) -> None:
        self.settings = settings
        self.stopping = False
        self._reactor = reactor
        self._config_path = config_path
        self._store: Store | None = None
        self._check: BackgroundCheck | None = None
        self._held: list[socket.socket] = []
        self._workers = [Worker(self, index) for index in range(settings.server.workers)]
        self._probe_key = ProbeKey.make()
        self._clock = SystemClock()
        self.metrics = Metrics()
        self._probes = Probes(settings, self.metrics, self._clock, key=self._probe_key)
        self._server: MetricsServer | None = None
        # The reactor's own SIGCHLD handling needs signal handlers that the loop would overrule.
        self._reaper = LoopingCall(reapAllProcesses)
        self.ports = Ports()

    async def start(self) -> Ports:
        """Starts the workers and waits until their doors are open. Raises StartError."""
        try:
            self._store = open_store(self.settings, self.metrics)
            self._check = self._store.background_check()
            if self._check is not None:
                await self._check.start()
            self.ports = self._reserve()
            self._reaper.start(_REAP_EVERY_S)
            for worker in self._workers:
                worker.spawn()
            await self._all_ready()
            self._show()
            self._probes.start(self.ports)
        except BaseException:
            await self.stop()
            raise
        log.info("gateway_started", workers=len(self._workers), sandbox=self.settings.sandbox)
        return self.ports

    async def stop(self) -> None:
        """Lets every worker drain, then ends."""
        self.stopping = True
        await self._probes.stop()
        await self._end_workers()
        if self._reaper.running:
            self._reaper.stop()
        if self._server is not None:
            await self._server.stopService().asFuture(asyncio.get_running_loop())
        for held in self._held:
            held.close()
        if self._check is not None:
            await self._check.stop()
        if self._store is not None:
            await self._store.close()
        log.info("gateway_stopped")

    async def _end_workers(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        waits = [
            asyncio.ensure_future(one.ended.wait()) for one in self._workers if one.transport is not None
        ]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self.settings.server.drain_s + 15)
            for wait in late:
                wait.cancel()
            if late:
                for worker in self._workers:
                    worker.signal(signal.SIGKILL)

    def reload(self) -> None:
        """SIGHUP goes to every worker."""
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    def look_after_workers(self, seconds: float) -> None:
        """Kills workers that are silent. Called every second; `seconds` since the last time.

        Where this process itself stood still it has heard nobody, and everybody begins anew.
        """
        silent_s = self.settings.server.worker_silent_s
        if not silent_s or self.stopping:
            return
        now_s = asyncio.get_event_loop().time()
        for worker in self._workers:
            if not worker.heard_s:
                continue
            if seconds > _STOOD_STILL_S:
                worker.heard_s = now_s
            elif now_s - worker.heard_s > silent_s:
                worker.kill(now_s - worker.heard_s)

    # --- what workers need -----------------------------------------------------------------------------

    def spawn(self, worker: Worker) -> None:
        """Starts one worker process."""
        birth = Birth(
            index=worker.index,
            workers=len(self._workers),
            ports=self.ports,
            probe_system_id=self._probe_key.system_id,
            probe_password=self._probe_key.password,
        )
        arguments = [sys.executable, "-m", "gateway", "run", "--config", str(self._config_path)]
        environment = {**os.environ, VARIABLE: birth.to_text()}
        descriptors: dict[int, Any] = {0: "w", 1: 1, 2: 2, READY_FD: "r"}
        self._reactor.spawnProcess(worker, sys.executable, arguments, env=environment, childFDs=descriptors)

    def buried(self, worker: Worker) -> None:
        """Drops the leases of a dead worker: what it held is free for the others at their next look."""
        holder, worker.holder = worker.holder, ""
        if self._store is None or not holder:
            return
        future = self._store.submit(Call(lambda tx: leases.drop_all(tx, holder)), urgent=True)
        future.add_done_callback(lambda done: done.exception())

    # --- inside ----------------------------------------------------------------------------------------

    def _reserve(self) -> Ports:
        """Takes every port before a worker does, so that a port that is taken is said once, and clearly."""
        ports = Ports()
        for one in LISTENERS:
            address = one.address(self.settings)
            if address is not None:
                ports[one.name] = self._hold(one.key_path, *address)
        return ports

    def _hold(self, key: str, host: str, port: int) -> int:
        with naming(key, host, port):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            held = socket.socket(family, socket.SOCK_STREAM)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
            self._held.append(held)
            return int(held.getsockname()[1])
        raise AssertionError  # `naming` raises

    async def _all_ready(self) -> None:
        try:
            async with asyncio.timeout(_READY_S):
                for worker in self._workers:
                    await worker.ready.wait()
        except TimeoutError:
            raise StartError(
                f"The workers did not start within {_READY_S:.0f} seconds. Their own messages are above; "
                "with server.workers = 1 the first fault is shown alone."
            ) from None

    def _show(self) -> None:
        settings = self.settings.metrics
        if not settings.enabled:
            return
        registry = CollectorRegistry()
        registry.register(MergedCollector(self.metrics.registry, self._workers))
        self._server = MetricsServer(registry, settings.host, settings.port)
        with naming("metrics.port", settings.host, settings.port):
            self._server.startService()
        self.ports["metrics"] = self._server.port
