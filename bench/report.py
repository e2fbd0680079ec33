"""Runs to rows: medians with their range, the promises, the tables, the JSON."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cases import CASES, Case
from bench.measure import Run
from bench.promises import Verdict, judge
from bench.servers import QUIET
from bench.tree import ROOT

_SHOWN = ("messages_per_s", "cpu_s_per_1000", "memory_mib", "p50_ms", "p99_ms")
_FIGURES = (*_SHOWN, "accepted_per_s", "fsync_ms", "start_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The median of some runs, and their range."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """Of one figure of some runs."""
        found = sorted(values)
        return cls(median=statistics.median(found), least=found[0], most=found[-1])

    def text(self) -> str:
        """As in the table."""
        return f"{_short(self.median)} ({_short(self.least)}–{_short(self.most)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server in one case; `own`: the one that the promises are about."""

    case: Case
    server: str
    own: bool
    runs: int
    figures: dict[str, Figure]

    def medians(self) -> dict[str, float]:
        """By figure."""
        return {name: figure.median for name, figure in self.figures.items()}


def rows(runs: Sequence[Run]) -> list[Row]:
    """A row for each case and server, the gateway's last."""
    made = []
    for case in CASES:
        of_case = sorted((run for run in runs if run.case == case.key), key=_own)
        for own, server in dict.fromkeys((run.own, run.server) for run in of_case):
            mine = [run for run in of_case if (run.own, run.server) == (own, server)]
            figures = {name: Figure.of(getattr(run, name) for run in mine) for name in _FIGURES}
            made.append(Row(case=case, server=server, own=own, runs=len(mine), figures=figures))
    return made


def _own(run: Run) -> bool:
    return run.own


def _short(value: float) -> str:
    """Three digits, more for thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def verdicts(made: Sequence[Row]) -> Iterator[tuple[Case, Verdict]]:
    """What became of every promise that could be judged."""
    by_name = {(row.case.key, row.server): row for row in made}
    for row in made:
        for promise in row.case.promises if row.own else ():
            peer = by_name.get((promise.case or row.case.key, promise.peer))
            verdict = judge(promise, row.medians(), peer.medians() if peer else None)
            if verdict is not None:
                yield row.case, verdict


def table(made: Sequence[Row]) -> str:
    """Two Markdown tables: the figures, and the promises."""
    lines = [
        "Logs: warnings only (LOGS=quiet)" if QUIET else "Logs: as each server comes, Kannel at level 0",
        "",
        "| case | server | messages/s | CPU-s per 1,000 | peak MiB | p50, ms | p99, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in made:
        cells = [row.case.title, row.server, *(row.figures[name].text() for name in _SHOWN)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| case | promised | measured | |", "|---|---|---|---|"]
    for case, verdict in verdicts(made):
        word = "holds" if verdict.kept else "**MISSES**"
        aim = ", aim reached" if verdict.aim_kept else ""
        lines.append(f"| {case.title} | {verdict.promised} | {verdict.measured} | {word}{aim} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The state that was measured; `+` marks changes that are not committed."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def store(path: Path, runs: Sequence[Run]) -> None:
    """Every run, the medians and the promises, as JSON."""
    made = rows(runs)
    content = {
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "logs": "quiet" if QUIET else "default",
        "machine": machine(),
        "rows": [_as_json(row) for row in made],
        "promises": [{"case": case.key, **asdict(verdict)} for case, verdict in verdicts(made)],
        "runs": [run.as_dict() for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _as_json(row: Row) -> dict[str, Any]:
    head = {"case": row.case.key, "title": row.case.title, "server": row.server, "own": row.own}
    figures = {
        name: [round(f.median, 4), round(f.least, 4), round(f.most, 4)] for name, f in row.figures.items()
    }
    return head | {"runs": row.runs} | figures
