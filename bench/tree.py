"""A server as its whole process tree: started, measured, ended. Linux only; the figures are /proc's.

CPU time is user and system time of the command and of everything it has started, the dead included: a live
process stands for itself and for the children it has waited for, `bench.supervise` for the rest. Memory is
the sum of PSS, in which a page that several processes share counts once.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
# What is started so ends with the harness, however that ends.
SUPERVISED = [sys.executable, "-IS", str(ROOT / "bench" / "supervise.py")]
_SAMPLE_S = 0.25
_END_S = 40.0


class Tree:
    """One command under a supervisor; its output goes to `log`."""

    def __init__(
        self, command: list[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        with log.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [*SUPERVISED, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=dict(os.environ) | dict(env or {}),
            )
        self.log = log

    @property
    def alive(self) -> bool:
        """Whether the command still runs."""
        return self._supervisor.poll() is None

    def pids(self) -> list[int]:
        """The live processes, without the supervisor."""
        return descendants(self._supervisor.pid)

    def cpu_s(self) -> float:
        """User and system time of the whole tree, dead children included, in seconds."""
        ticks = sum(sum(_times(pid)) for pid in self.pids())
        return (ticks + sum(_times(self._supervisor.pid)[2:])) / _TICKS

    def memory_octets(self) -> int:
        """Sum of PSS."""
        return sum(_pss(pid) for pid in self.pids())

    def stop(self) -> None:
        """SIGTERM, and the wait for the end."""
        if self.alive:
            self._supervisor.send_signal(signal.SIGTERM)
        self._supervisor.wait(_END_S)


class PeakMemory:
    """The most memory that `trees` had together while the block ran, sampled."""

    def __init__(self, trees: Iterable[Tree]) -> None:
        self._trees = list(trees)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.octets = 0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.octets = max(self.octets, sum(tree.memory_octets() for tree in self._trees))
            if self._done.wait(_SAMPLE_S):
                return


def descendants(root: int) -> list[int]:
    """The live processes below `root`."""
    below: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            below[int(fields[1])].append(int(entry.name))
    found: list[int] = []
    level = below[root]
    while level:
        found += level
        level = [child for parent in level for child in below[parent]]
    return found


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third on; empty for a process that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _times(pid: int) -> tuple[int, int, int, int]:
    """Ticks: user, system, and both of the children that were waited for."""
    fields = _stat(pid)
    if not fields:
        return 0, 0, 0, 0
    user, system, dead_user, dead_system = fields[11:15]
    return int(user), int(system), int(dead_user), int(dead_system)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
