"""One of several processes under a supervisor: what it was told at birth, and how it says that it is up and,
from then on every second, that its loop turns.

The supervisor hands the worker its ports and the probe's key through the environment, and holds the writing
end of its standard input: when that closes, the supervisor is gone, and the worker drains and ends.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from config.schema import Settings
from gateway.accounts.probe_key import ProbeKey
from gateway.listeners import placed

VARIABLE = "GATEWAY_WORKER"
READY_FD = 3
ALIVE = b"."


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a worker is told. `ports` are the real ones, by the names of `gateway.listeners`."""

    index: int
    workers: int
    ports: Mapping[str, int]
    probe_system_id: str
    probe_password: str

    def to_text(self) -> str:
        """For the environment."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Birth | None":
        """What this process was told, None when it is no worker."""
        text = environment.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    @property
    def probe_key(self) -> ProbeKey:
        """What the supervisor's SMS probe binds with."""
        return ProbeKey(system_id=self.probe_system_id, password=self.probe_password)

    def settings(self, settings: Settings) -> Settings:
        """The configuration as this worker follows it: shared ports, its share of the rates, own metrics."""
        settings = placed(settings, self.ports)
        return replace(
            settings,
            server=replace(settings.server, workers=1),
            http=replace(settings.http, rate_per_s=settings.http.rate_per_s / self.workers),
            metrics=replace(settings.metrics, enabled=True, host="127.0.0.1", port=0),
            probe=replace(settings.probe, enabled=False),
        )


def tell_ready(holder: str, metrics_port: int) -> None:
    """Tells the supervisor that the doors are open, and by which name deliveries are held here."""
    line = json.dumps({"holder": holder, "metrics": metrics_port}) + "\n"
    os.write(READY_FD, line.encode())


def tell_alive(_seconds: float) -> None:
    """Tells the supervisor that the loop turns (`LoopWatch`)."""
    with contextlib.suppress(OSError):  # it is gone (`when_orphaned` sees to that), or stands still itself
        os.write(READY_FD, ALIVE)


def when_orphaned(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Calls `end` once the supervisor is gone."""
    descriptor = sys.stdin.fileno()
    os.set_blocking(descriptor, False)

    def look() -> None:
        try:
            if os.read(descriptor, 64):
                return
        except BlockingIOError:
            return
        loop.remove_reader(descriptor)
        end()

    loop.add_reader(descriptor, look)
