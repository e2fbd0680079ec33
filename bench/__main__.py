"""`make bench`, or `python -m bench`: the gateway side by side with its peers, on this machine, in one run.

For each case peer and gateway take the same load in turn, at least three times. Prints a table; writes
bench/results/latest.json and docs/performance.svg. PEERS=none, or a list such as postfix,kannel, or all.
LOGS=quiet: both sides log warnings only; otherwise as they come.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import chart, report
from bench.cases import CASES, Case
from bench.install import install
from bench.measure import Run, folder, measure
from bench.servers import Server
from bench.sinks import fsync_ms
from bench.tree import ROOT


def arguments() -> argparse.Namespace:
    """The command line; the environment gives the defaults."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--peers", default=os.environ.get("PEERS", "all"), help="none, all, or postfix,kannel"
    )
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "3")), help="of each (3)")
    parser.add_argument("--cases", default=os.environ.get("CASES", ""), help="some of: " + ", ".join(keys()))
    parser.add_argument(
        "--scale", type=float, default=float(os.environ.get("SCALE", "1")), help="of the load (1)"
    )
    parser.add_argument("--messages", type=int, default=0, help="in each run, whatever the case")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    parser.add_argument("--chart", type=Path, default=ROOT / "docs" / "performance.svg")
    return parser.parse_args()


def keys() -> list[str]:
    """The cases by name."""
    return [case.key for case in CASES]


def chosen(names: str) -> list[Case]:
    """The cases to run. Raises SystemExit for an unknown one."""
    wanted = [name for name in names.replace(" ", ",").split(",") if name]
    if unknown := set(wanted) - set(keys()):
        raise SystemExit(f"bench: no such case: {', '.join(sorted(unknown))}")
    return [case for case in CASES if not wanted or case.key in wanted]


def servers(case: Case, peers: str, template: Path) -> Iterator[Server]:
    """The peer, where there is one that is wanted and installed, then the gateway."""
    if case.peer and case.package and (peers == "all" or case.package in peers.split(",")):
        program = {"postfix": "postfix", "kannel": "bearerbox"}[case.package]
        if shutil.which(program) and (os.getuid() == 0 or case.package != "postfix"):
            yield case.peer()
    yield case.gateway(template)


def run_all(cases: Sequence[Case], options: argparse.Namespace, template: Path, disk_ms: float) -> list[Run]:
    """Peer and gateway in turn, case by case, and the whole once more for each run."""
    runs: list[Run] = []
    for number in range(1, options.runs + 1):
        for case in cases:
            for server in servers(case, options.peers, template):
                count = options.messages or int(case.messages * options.scale)
                run = measure(case, server, count, disk_ms)
                runs.append(run)
                report.store(options.results, runs, disk_ms)
                say(
                    f"{number}/{options.runs} {case.key:11} {run.server:19} {run.messages_per_s:8,.0f}/s "
                    f"{run.cpu_s_per_1000:7.3f} CPU-s/1,000 {run.memory_mib:6.0f} MiB "
                    f"p50 {run.p50_ms:6.1f} p99 {run.p99_ms:6.1f} ms, load {run.load_before:.2f}"
                )
    return runs


def say(text: str) -> None:
    """A line of progress, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def runnable(cases: Sequence[Case]) -> list[Case]:
    """The cases whose load and sink are installed."""
    found = [case for case in cases if all(shutil.which(program) for program in case.needs)]
    for case in cases:
        if case not in found:
            say(f"left out: {case.key}, which needs {', '.join(case.needs)}")
    return found


def main() -> None:
    """Run, print, store, draw."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that every server is ended
    options = arguments()
    cases = chosen(options.cases)
    if options.peers != "none":
        install()
    else:
        os.environ["PATH"] += ":/usr/sbin"
    with folder() as home:
        disk_ms = fsync_ms(home)
        runs = run_all(runnable(cases), options, home / "template", disk_ms)
    made = report.rows(runs)
    say("\n" + report.table(made))
    options.chart.write_text(chart.draw(made, report.commit()))


if __name__ == "__main__":
    main()
