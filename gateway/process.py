"""One process of the daemon on the reactor: signals, start, drain, and what became of it."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from config.schema import Settings
from gateway import memory, notify
from gateway.daemon import Gateway
from gateway.listeners import Ports
from gateway.observe.stalls import LoopWatch
from gateway.supervisor import Supervisor
from gateway.worker import READY_FD, Birth, tell_alive, tell_ready, when_orphaned


def run(
    settings: Settings, *, config_path: Path | None = None, on_ready: Callable[[Ports], None] = lambda _: None
) -> int:
    """Runs the daemon on the installed reactor until SIGTERM or SIGINT; 0. Raises StartError.

    The reactor must be Twisted's asyncio reactor (`gateway.__main__` installs it, on uvloop).
    """
    from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses the reactor

    memory.return_large_blocks()
    birth = Birth.from_environment()
    if birth is not None:
        worker = Gateway(settings, config_path=config_path, birth=birth)
        os.set_blocking(READY_FD, False)
        process = _Process(
            reactor, worker, lambda ports: tell_ready(worker.holder, ports["metrics"]), tell_alive
        )
        when_orphaned(asyncio.get_event_loop(), process.end)
    elif settings.server.workers > 1 and config_path is not None:
        supervisor = Supervisor(settings, reactor=reactor, config_path=config_path)
        process = _Process(reactor, supervisor, on_ready)
    else:
        process = _Process(reactor, Gateway(settings, config_path=config_path), on_ready)
    return process.run()


class _Process:
    """The reactor's life around a `Gateway`: signals, start, drain, and what became of it."""

    def __init__(
        self,
        reactor: Any,
        gateway: Gateway | Supervisor,
        on_ready: Callable[[Ports], None],
        beat: Callable[[float], None] | None = None,
    ) -> None:
        """`beat` tells whoever watches over this process that its loop turns; left out: systemd."""
        self._notifier = notify.Notifier()
        self._watch = LoopWatch(gateway.metrics.stalled, beat or self._tell_alive)
        self._reactor = reactor
        self._gateway = gateway
        self._on_ready = on_ready
        self._loop = asyncio.get_event_loop()  # the reactor's, which does not run yet
        self._starting: asyncio.Task[None] | None = None
        self._ending = False
        self._failure: Exception | None = None

    def run(self) -> int:
        """Returns when the reactor has stopped; raises what the start raised."""
        self._reactor.callWhenRunning(self._begin)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._drained)
        self._reactor.run(installSignalHandlers=False)
        if self._failure is not None:
            raise self._failure
        return 0

    def _begin(self) -> None:
        loop = self._loop
        self._watch.start(loop)
        loop.add_signal_handler(signal.SIGHUP, self._gateway.reload)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        self._starting = loop.create_task(self._start())

    async def _start(self) -> None:
        try:
            ports = await self._gateway.start()
            memory.collect_seldom()
            self._watch.tell(self._loop)
            self._on_ready(ports)
            self._notifier.tell(notify.READY)
        except Exception as error:  # noqa: BLE001 - handed to whoever called `run`
            self._failure = error
            self.end()

    def _tell_alive(self, seconds: float) -> None:
        self._notifier.tell(notify.ALIVE)
        if isinstance(self._gateway, Supervisor):
            self._gateway.look_after_workers(seconds)

    def end(self) -> None:
        """Begins to stop."""
        if not self._ending:  # a second signal does not hurry the drain; SIGKILL does
            self._ending = True
            self._reactor.stop()

    def _drained(self) -> Deferred[None]:
        return Deferred.fromFuture(self._loop.create_task(self._drain()))

    async def _drain(self) -> None:
        if self._starting is not None:
            self._starting.cancel()  # a stop in the middle of a start
            await asyncio.wait([self._starting])
        self._notifier.tell(notify.STOPPING)
        await self._gateway.stop()
        self._watch.stop()
