"""`python -m tests.fuzz.cost`: every case of every entry while the time lasts; exit code 1 for a finding."""

# ruff: noqa: T201 - what it prints is what it is for

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.cost import report
from tests.fuzz.cost.entries import ENTRIES
from tests.fuzz.cost.entry import Entry
from tests.fuzz.cost.forms import Case, pairs, single
from tests.fuzz.cost.worker import Result, Worker


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.cost", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all entries together")
    parser.add_argument("--only", action="append", default=[], metavar="ENTRY", help="a part of its name")
    parser.add_argument("--single", action="store_true", help="no pairs of tokens")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the worst of each entry as a table")
    parser.add_argument("--seed", type=int, help="the order of the cases")
    options = parser.parse_args(arguments)
    entries = [
        one for one in ENTRIES.values() if not options.only or any(part in one.name for part in options.only)
    ]
    number = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"{len(entries)} entries, seed {number}", flush=True)
    results = run(entries, options.seconds, random.Random(number), single_only=options.single)
    if options.report:
        options.report.write_text(report.table(entries, results), encoding="utf-8")
    found = [one for one in results if one.findings]
    print(f"{len(results)} cases, {len(found)} with findings")
    return 1 if found else 0


def run(
    entries: Sequence[Entry], seconds: float, order: random.Random, *, single_only: bool = False
) -> list[Result]:
    """Each entry's single cases in any order, then pairs, an entry after the other, until the time is up."""
    end = time.monotonic() + seconds
    results = []
    with Worker() as worker:
        for entry, case in _turns(entries, order, single_only=single_only):
            if time.monotonic() > end:
                break
            results.append(result := worker.run(entry, case))
            for finding in result.findings:
                print(f"{finding.kind}: {entry.name}: {case}\n  {finding.text}", flush=True)
    return results


def _turns(
    entries: Sequence[Entry], order: random.Random, *, single_only: bool
) -> Iterator[tuple[Entry, Case]]:
    """A case of each entry in turn, so that none is left out when the time is short."""
    waiting = []
    for entry in entries:
        first, others = single(entry), [] if single_only else pairs(entry)
        order.shuffle(first)
        order.shuffle(others)
        waiting.append((entry, iter([*first, *others])))
    while waiting:
        going_on = []
        for entry, cases in waiting:
            case = next(cases, None)
            if case is not None:
                yield entry, case
                going_on.append((entry, cases))
        waiting = going_on


if __name__ == "__main__":
    sys.exit(main())
