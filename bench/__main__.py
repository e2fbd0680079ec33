"""`make bench`, or `python -m bench`: the gateway side by side with its peers, on this machine, in one run.

For each case peers and gateway take the same load in turn, at least three times. Prints the figures and
what became of each promise; writes bench/results/latest.json and docs/performance.svg. PEERS=none, or a list
such as postfix,kannel (the default), or all. LOGS=quiet: all sides log warnings only; otherwise as they come.
AGAINST=REV: no peers, but the gateway of another commit, in alternating runs (`bench.against`).
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import against, chart, report
from bench.cases import CASES, Case
from bench.install import PEERS, extend_path, install
from bench.measure import Run, folder, measure
from bench.servers import Gateway, Server
from bench.tree import ROOT


def arguments() -> argparse.Namespace:
    """The command line; the environment gives the defaults."""
    get = os.environ.get
    names = ", ".join(case.key for case in CASES)
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--peers", default=get("PEERS") or "postfix,kannel", help=f"none, all, or some of {', '.join(PEERS)}"
    )
    parser.add_argument("--runs", type=int, default=int(get("RUNS") or "3"), help="of each (3)")
    parser.add_argument("--cases", default=get("CASES") or "", help=f"some of {names}")
    parser.add_argument("--scale", type=float, default=float(get("SCALE") or "1"), help="of the load (1)")
    parser.add_argument("--messages", type=int, default=0, help="in each run, whatever the case")
    parser.add_argument("--against", default=get("AGAINST") or "", help="a commit, instead of peers")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    parser.add_argument("--chart", type=Path, default=ROOT / "docs" / "performance.svg")
    return parser.parse_args()


def words(text: str) -> list[str]:
    """What stands between commas or spaces."""
    return text.replace(",", " ").split()


def chosen(names: str) -> list[Case]:
    """The cases to run. Raises SystemExit for an unknown one."""
    wanted = words(names)
    if unknown := set(wanted) - {case.key for case in CASES}:
        raise SystemExit(f"bench: no such case: {', '.join(sorted(unknown))}")
    return [case for case in CASES if not wanted or case.key in wanted]


def wanted_peers(text: str) -> list[str]:
    """The peers by package. Raises SystemExit for an unknown one."""
    wanted = {"all": list(PEERS), "none": []}.get(text, words(text))
    if unknown := set(wanted) - set(PEERS):
        raise SystemExit(f"bench: no such peer: {', '.join(sorted(unknown))}")
    return wanted


def runnable(cases: Sequence[Case]) -> list[Case]:
    """The cases whose load and sink are installed."""
    found = [case for case in cases if all(shutil.which(program) for program in case.needs)]
    for case in cases:
        if case not in found:
            say(f"left out: {case.key}, which needs {', '.join(case.needs)}")
    return found


def servers(case: Case, peers: Sequence[str], templates: Path) -> Iterator[tuple[Server, bool]]:
    """The peers that are there, then the gateway; whether it is the gateway."""
    for peer in case.peers:
        if not peer.package or peer.package in peers:
            yield peer.make(templates), False
    yield case.gateway(templates), True


class Bench:
    """Peers and gateway in turn, case by case, and the whole once more for each run."""

    def __init__(self, options: argparse.Namespace, peers: Sequence[str]) -> None:
        """`options` as `arguments` reads them; `peers` are installed."""
        self._options = options
        self._peers = peers
        self.runs: list[Run] = []
        self.failed: list[str] = []

    def run(self, cases: Sequence[Case], templates: Path) -> None:
        """All of it. A server that fails is told, and left out from then on."""
        for number in range(1, self._options.runs + 1):
            for case in cases:
                for server, own in servers(case, self._peers, templates):
                    name = f"{case.key} {server.name}"
                    if name not in self.failed:
                        self._one(case, server, own=own, name=name, turn=f"{number}/{self._options.runs}")

    def _one(self, case: Case, server: Server, *, own: bool, name: str, turn: str) -> None:
        try:
            run = measure(case, server, count_of(case, self._options), own=own)
        except (OSError, RuntimeError, ValueError) as error:  # a TimeoutError is an OSError
            self.failed.append(name)
            say(f"{turn} {name} FAILED: {error}")
            return
        self.runs.append(run)
        report.store(self._options.results, self.runs)
        say(f"{turn} {line_of(run, run.server)}")


def say(text: str) -> None:
    """A line of progress, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_against(options: argparse.Namespace, cases: Sequence[Case]) -> None:
    """Prints each run and the ratios. Raises SystemExit where a case has become slower."""
    pairs: dict[str, list[against.Pair]] = {}

    def measured(case: Case, server: Gateway) -> Run:
        run = measure(case, server, count_of(case, options), own=True)
        say(line_of(run, "now" if server.root == ROOT else options.against))
        return run

    with folder() as home, against.checked_out(options.against, home) as tree:
        for number in range(1, options.runs + 1):
            for case in cases:
                say(f"{number}/{options.runs} {case.key}")
                pair = against.alternate(case, number, measured, (ROOT, tree), home)
                pairs.setdefault(case.key, []).append(pair)
    say("\n" + against.table(pairs, options.against))
    worse = [key for key, made in pairs.items() if against.slower(made)]
    if worse:
        raise SystemExit("bench: slower: " + ", ".join(worse))


def count_of(case: Case, options: argparse.Namespace) -> int:
    """How many messages a run has."""
    return options.messages or int(case.messages * options.scale)


def line_of(run: Run, name: str) -> str:
    """A run as a line of progress."""
    return (
        f"{run.case:15} {name:20} {run.messages_per_s:8,.0f}/s "
        f"{run.cpu_s_per_1000:7.3f} CPU-s/1,000 {run.memory_mib:6.0f} MiB "
        f"p50 {run.p50_ms:6.1f} p99 {run.p99_ms:6.1f} ms, "
        f"fsync {run.fsync_ms:.2f} ms, load {run.load_before:.2f}"
    )


def main() -> None:
    """Run, print, store, draw. Exits 1 when a server failed."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that every server is ended
    options = arguments()
    cases = chosen(options.cases)
    if options.against:
        extend_path()
        run_against(options, runnable(cases))
        return
    peers = wanted_peers(options.peers)
    if peers:
        peers = install({peer.package for case in cases for peer in case.peers} & set(peers))
    else:
        extend_path()
    with folder() as templates:
        bench = Bench(options, peers)
        bench.run(runnable(cases), templates)
    made = report.rows(bench.runs)
    say("\n" + report.table(made))
    options.chart.write_text(chart.draw(made, report.commit()))
    if bench.failed:
        raise SystemExit("bench: failed: " + ", ".join(bench.failed))


if __name__ == "__main__":
    main()
