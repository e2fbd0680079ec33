"""`make bench AGAINST=REV`: the gateway alone, of this checkout and of another commit, in alternating runs.

Two runs that follow each other make a pair, and which comes first alternates: what else the machine does
meets both. A case is judged by the median of its pairs' ratios. Loads, sinks, interpreter and packages are
this checkout's for both.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cases import Case
from bench.measure import Run
from bench.report import Figure
from bench.servers import Gateway
from bench.tree import ROOT

SLOWER_MOST = 1.03
"""A change may cost three per cent."""

Pair = tuple[Run, Run]
"""Of this checkout, and of the other commit."""

Measure = Callable[[Case, Gateway], Run]


def ratio(pairs: Sequence[Pair], figure: str) -> Figure:
    """One figure (a name of `Run`'s) of this checkout over the other commit's."""
    return Figure.of(getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs)


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """The tree of `revision`, until the end. Raises SystemExit where git does not know it."""
    tree = folder / "against"
    added = _git("worktree", "add", "--detach", str(tree), revision)
    if added.returncode:
        raise SystemExit(f"bench: AGAINST={revision}: {added.stderr.strip().splitlines()[-1]}")
    try:
        yield tree
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def alternate(case: Case, number: int, measure: Measure, trees: tuple[Path, Path], home: Path) -> Pair:
    """One pair of runs; `number` decides which is first. `trees`: this checkout, and the other commit."""
    servers = [_server(case, tree, home / str(place)) for place, tree in enumerate(trees)]
    if number % 2:
        ours, theirs = (measure(case, server) for server in servers)
    else:
        theirs, ours = (measure(case, server) for server in reversed(servers))
    return ours, theirs


def _server(case: Case, tree: Path, home: Path) -> Gateway:
    server = case.gateway(home)
    if not isinstance(server, Gateway):
        raise TypeError(f"{case.key} is no case of the gateway's")
    server.root = tree
    return server


def slower(pairs: Sequence[Pair]) -> bool:
    """Whether this checkout needs more CPU time than it may."""
    return ratio(pairs, "cpu_s_per_1000").median > SLOWER_MOST


def table(pairs: dict[str, list[Pair]], revision: str) -> str:
    """Markdown: each case's CPU time on both sides, and the ratios."""
    lines = [
        f"This checkout over {revision}: the pairs' median (and range); CPU-s per 1,000 messages",
        "",
        "| case | pairs | CPU-s, then | CPU-s, now | CPU-s | messages/s | peak MiB | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, made in pairs.items():
        now, then = (Figure.of(one.cpu_s_per_1000 for one in side) for side in zip(*made, strict=True))
        ratios = (ratio(made, name).text() for name in ("cpu_s_per_1000", "messages_per_s", "memory_mib"))
        word = f"**more than {SLOWER_MOST - 1:.0%} slower**" if slower(made) else "holds"
        cells = [key, str(len(made)), then.text(), now.text(), *ratios, word]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
