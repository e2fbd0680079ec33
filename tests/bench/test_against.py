"""`make bench AGAINST=REV`: pairs of runs of two commits, whose ratios are judged."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench import against
from bench.cases import CASES, Case
from bench.measure import Run
from bench.servers import Gateway
from bench.tree import ROOT
from tests.bench.support import bench
from tests.bench.test_report import run

(CASE,) = (case for case in CASES if case.key == "sms-http")


def pairs_of(*ratios: float) -> list[against.Pair]:
    return [
        (run("sms-http", "gateway", ratio, own=True), run("sms-http", "gateway", 1.0, own=True))
        for ratio in ratios
    ]


def test_a_case_is_judged_by_the_median_of_its_pairs() -> None:
    assert not against.slower(pairs_of(0.9, 1.5, 1.02))
    assert against.slower(pairs_of(0.9, 1.5, 1.04))
    shown = against.table({"sms-http": pairs_of(0.9, 1.5, 1.04)}, "v1")
    same, more = "1.00 (1.00–1.00)", "1.04 (0.900–1.50)"
    row = ["", "sms-http", "3", same, more, more, same, same, "**more than 3% slower**", ""]
    assert " | ".join(row).strip() in shown


def test_which_commit_comes_first_alternates_and_each_has_its_own_installation(tmp_path: Path) -> None:
    seen: list[Path] = []
    templates: set[Path] = set()

    def measure(case: Case, server: Gateway) -> Run:
        seen.append(server.root)
        templates.add(server.template)
        place = float(server.root.name == "theirs")
        return replace(run(case.key, server.name, 1.0, own=True), cpu_s=place)

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for number in (1, 2):
        pair = against.alternate(CASE, number, measure, (ours, theirs), tmp_path)
        assert [one.cpu_s for one in pair] == [0.0, 1.0]
    assert seen == [ours, theirs, theirs, ours]
    assert len(templates) == 2


@pytest.mark.timeout(420)
def test_two_commits_run_in_turn_and_no_checkout_is_left() -> None:
    options = ("--against", "HEAD", "--cases", "sms-smpp", "--messages", "200", "--runs", "1")
    done = bench(*options, within_s=400.0)  # each commit makes an installation of its own: eight commands
    assert done.returncode in (0, 1), done.stderr  # how fast so few are says nothing
    assert "| sms-smpp | 1 |" in done.stdout, done.stderr
    left = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "/against" not in left.stdout


def test_a_commit_that_is_not_there_is_told() -> None:
    done = bench("--against", "no-such-commit", "--cases", "sms-smpp")
    assert done.returncode == 1
    assert "bench: AGAINST=no-such-commit: " in done.stderr
