"""One run of one server in one case: start, warm up, load, drain, and what it cost."""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cases import Case, Load
from bench.loads import Accepted, Work
from bench.servers import Server, Target
from bench.sinks import Sink, fsyncs_ms
from bench.tree import PeakMemory

_WARM_UP = 0.1  # of the load, before anything is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of one run. `messages` have reached the sink, in `seconds` from the start of the load.

    `own`: the server that the case's promises are about. `fsync_ms`: the disk's, before the load and after.
    """

    case: str
    server: str
    own: bool
    messages: int
    seconds: float
    messages_per_s: float
    accepted_per_s: float
    cpu_s: float
    cpu_s_per_1000: float
    memory_mib: float
    p50_ms: float
    p99_ms: float
    start_s: float
    load_before: float
    fsync_ms: float

    def as_dict(self) -> dict[str, str | int | float]:
        """For JSON."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What one load gave."""

    accepted: Accepted
    arrived: int
    seconds: float


def measure(case: Case, server: Server, messages: int, *, own: bool) -> Run:
    """One run in a folder of its own. Raises RuntimeError or TimeoutError when messages do not arrive."""
    load_before = os.getloadavg()[0]
    with folder() as home, _sink(case, home) as sink:
        os.sync()  # what the last server left to be written is not this one's load
        disk_ms = fsyncs_ms(home)
        try:
            began = time.monotonic()
            target = server.start(home, sink.port)
            start_s = time.monotonic() - began
            load, work = _after_warm_up(case, target, sink, Work(messages=messages, folder=home))
            cpu_s = sum(tree.cpu_s() for tree in server.trees)
            with PeakMemory(server.trees) as memory:
                loaded = _run(load, target, sink, work)
            cpu_s = sum(tree.cpu_s() for tree in server.trees) - cpu_s
        except Exception:
            keep_logs(home)
            raise
        finally:
            server.stop()
        disk_ms += fsyncs_ms(home)
    return Run(
        case=case.key,
        server=server.name,
        own=own,
        messages=loaded.arrived,
        seconds=loaded.seconds,
        messages_per_s=loaded.arrived / loaded.seconds,
        accepted_per_s=loaded.accepted.messages / loaded.accepted.seconds,
        cpu_s=cpu_s,
        cpu_s_per_1000=cpu_s / loaded.arrived * 1000,
        memory_mib=memory.octets / (1 << 20),
        p50_ms=loaded.accepted.p50_ms,
        p99_ms=loaded.accepted.p99_ms,
        start_s=start_s,
        load_before=load_before,
        fsync_ms=statistics.median(disk_ms),
    )


def _after_warm_up(case: Case, target: Target, sink: Sink, work: Work) -> tuple[Load, Work]:
    """The load that counts, after a tenth of it; or half the rate of a whole one, where it is paced."""
    if case.paced is None:
        part = Work(messages=max(20, int(work.messages * _WARM_UP)), folder=work.folder)
        _run(case.load, target, sink, part)
        return case.load, work
    full = _run(case.load, target, sink, work)
    rate_per_s = full.arrived / full.seconds / 2
    return case.paced, Work(messages=work.messages, folder=work.folder, rate_per_s=rate_per_s)


def _run(load: Load, target: Target, sink: Sink, work: Work) -> Loaded:
    """One load, until everything has arrived."""
    before, started = sink.count, time.monotonic()
    accepted = load(target, work)
    sink.wait_until_quiet(before + accepted.messages)
    return Loaded(accepted=accepted, arrived=sink.count - before, seconds=sink.last_s - started)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder on a disk (TMPDIR may be memory), readable by a peer that gives root up."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def _sink(case: Case, home: Path) -> Iterator[Sink]:
    sink = case.sink(home)
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
