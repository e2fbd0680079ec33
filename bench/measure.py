"""One run of one server in one case: start, warm up, load, drain, and what it cost."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cases import Case
from bench.servers import Server
from bench.sinks import Sink
from bench.tree import PeakMemory

_WARM_UP = 0.1  # of the load, before anything is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of one run. `messages` have reached the sink, in `seconds` from the start of the load."""

    case: str
    server: str
    messages: int
    seconds: float
    messages_per_s: float
    accepted_per_s: float
    cpu_s: float
    cpu_s_per_1000: float
    memory_mib: float
    p50_ms: float
    p99_ms: float
    load_before: float
    fsync_ms: float

    def as_dict(self) -> dict[str, str | int | float]:
        """For JSON."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def measure(case: Case, server: Server, messages: int, fsync_ms: float) -> Run:
    """One run in a folder of its own. Raises RuntimeError or TimeoutError when messages do not arrive."""
    load_before = os.getloadavg()[0]
    with folder() as home, _sink(case) as sink:
        try:
            target = server.start(home, sink.port)
            warm_up = max(20, int(messages * _WARM_UP))
            sink.wait_until_quiet(case.load(target, warm_up, home).messages)
            before, cpu_s = sink.count, sum(tree.cpu_s() for tree in server.trees)
            started = time.monotonic()
            with PeakMemory(server.trees) as memory:
                accepted = case.load(target, messages, home)
                sink.wait_until_quiet(before + accepted.messages)
            arrived, seconds = sink.count - before, sink.last_s - started
            cpu_s = sum(tree.cpu_s() for tree in server.trees) - cpu_s
        except Exception:
            keep_logs(home)
            raise
        finally:
            server.stop()
    return Run(
        case=case.key,
        server=server.name,
        messages=arrived,
        seconds=seconds,
        messages_per_s=arrived / seconds,
        accepted_per_s=accepted.messages / accepted.seconds,
        cpu_s=cpu_s,
        cpu_s_per_1000=cpu_s / arrived * 1000,
        memory_mib=memory.octets / (1 << 20),
        p50_ms=accepted.p50_ms,
        p99_ms=accepted.p99_ms,
        load_before=load_before,
        fsync_ms=fsync_ms,
    )


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder on a disk (TMPDIR may be memory), readable by a peer that gives root up."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def _sink(case: Case) -> Iterator[Sink]:
    sink = case.sink()
    try:
        yield sink
    finally:
        sink.stop()


def keep_logs(home: Path) -> None:
    """What the servers said, where it can be read after the folder has gone."""
    kept = Path(tempfile.gettempdir()) / "bench-failed"
    kept.mkdir(exist_ok=True)
    for log in home.glob("*.log"):
        shutil.copy(log, kept / log.name)
