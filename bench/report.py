"""Runs to rows: medians with their range, the ratio to the peer, the table, the JSON."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cases import CASES, Case
from bench.measure import Run
from bench.servers import QUIET
from bench.tree import ROOT

FIGURES = ("messages_per_s", "cpu_s_per_1000", "memory_mib", "p50_ms", "p99_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The median of some runs, and their range."""

    median: float
    least: float
    most: float

    def text(self) -> str:
        """As in the table."""
        return f"{_short(self.median)} ({_short(self.least)}–{_short(self.most)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server in one case."""

    case: Case
    server: str
    runs: int
    figures: dict[str, Figure]
    cpu_ratio: float | None = None  # the gateway's median to the peer's
    speed_ratio: float | None = None


def rows(runs: Sequence[Run]) -> list[Row]:
    """A row for each case and server, the peer first."""
    made: dict[tuple[str, str], Row] = {}
    for case in CASES:
        servers = dict.fromkeys(run.server for run in runs if run.case == case.key)
        for server in sorted(servers, key=lambda name: name == "gateway"):
            mine = [run for run in runs if (run.case, run.server) == (case.key, server)]
            figures = {name: _figure(getattr(run, name) for run in mine) for name in FIGURES}
            peer = _peer(case, made) if server == "gateway" else None
            made[case.key, server] = Row(
                case=case,
                server=server,
                runs=len(mine),
                figures=figures,
                cpu_ratio=_ratio("cpu_s_per_1000", figures, peer),
                speed_ratio=_ratio("messages_per_s", figures, peer),
            )
    return list(made.values())


def _peer(case: Case, made: dict[tuple[str, str], Row]) -> Row | None:
    key = case.compare or case.key
    return next((row for row in made.values() if row.case.key == key and row.server != "gateway"), None)


def _ratio(name: str, figures: dict[str, Figure], peer: Row | None) -> float | None:
    return figures[name].median / peer.figures[name].median if peer and peer.figures[name].median else None


def _figure(values: Iterable[float]) -> Figure:
    found = sorted(values)
    return Figure(median=statistics.median(found), least=found[0], most=found[-1])


def _short(value: float) -> str:
    """Three digits, more for thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def verdict(row: Row) -> str:
    """What was promised, and whether it holds."""
    if row.cpu_ratio is None:
        return ""
    parts = [f"CPU 1/{1 / row.cpu_ratio:.1f}" if 0 < row.cpu_ratio < 1 else f"CPU {row.cpu_ratio:.1f}×"]
    if row.case.share:
        kept = row.cpu_ratio <= row.case.share
        parts[0] += f" ({'holds' if kept else 'MISSES'} ≤ 1/{1 / row.case.share:.0f})"
    if row.speed_ratio is not None:
        parts.append(f"speed {row.speed_ratio:.2f}×")
        if row.case.speed:
            kept = row.speed_ratio >= row.case.speed
            parts[1] += f" ({'holds' if kept else 'MISSES'} ≥ {row.case.speed:g})"
    return ", ".join(parts)


def table(made: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [
        "| case | server | messages/s | CPU-s per 1,000 | peak MiB | p50, ms | p99, ms | to the peer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in made:
        cells = [row.case.title, row.server, *(row.figures[name].text() for name in FIGURES), verdict(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine(fsync_ms: float) -> dict[str, Any]:
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
        "fsync_ms": round(fsync_ms, 3),
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


def store(path: Path, runs: Sequence[Run], fsync_ms: float) -> None:
    """Every run and the medians, as JSON."""
    made = [
        {
            "case": row.case.key,
            "title": row.case.title,
            "server": row.server,
            "runs": row.runs,
            "cpu_ratio": row.cpu_ratio,
            "speed_ratio": row.speed_ratio,
            "share": row.case.share,
            "speed": row.case.speed,
            **{
                name: [round(f.median, 4), round(f.least, 4), round(f.most, 4)]
                for name, f in row.figures.items()
            },
        }
        for row in rows(runs)
    ]
    content = {
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "logs": "quiet" if QUIET else "default",
        "machine": machine(fsync_ms),
        "rows": made,
        "runs": [run.as_dict() for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
