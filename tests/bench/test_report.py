"""Runs become rows of medians, and the promises are judged across rows."""

import json
from pathlib import Path

from bench import report
from bench.measure import Run


def run(case: str, server: str, cpu_s_per_1000: float, *, own: bool) -> Run:
    return Run(
        case=case,
        server=server,
        own=own,
        messages=1000,
        seconds=1.0,
        messages_per_s=1000.0,
        accepted_per_s=1000.0,
        cpu_s=cpu_s_per_1000,
        cpu_s_per_1000=cpu_s_per_1000,
        memory_mib=100.0,
        p50_ms=1.0,
        p99_ms=2.0,
        start_s=1.0,
        load_before=0.0,
        fsync_ms=1.0,
    )


RUNS = [
    *(run("sms-http", "gateway", cpu, own=True) for cpu in (0.09, 0.05, 0.07)),
    *(run("sms-http", "Kannel", cpu, own=False) for cpu in (0.21, 0.19, 0.2)),
    run("sms-postgresql", "gateway", 0.14, own=True),
]


def test_a_row_has_the_median_and_the_range_and_the_gateway_stands_last() -> None:
    rows = report.rows(RUNS)
    assert [(row.case.key, row.server, row.runs) for row in rows] == [
        ("sms-http", "Kannel", 3),
        ("sms-http", "gateway", 3),
        ("sms-postgresql", "gateway", 1),
    ]
    figure = rows[1].figures["cpu_s_per_1000"]
    assert (figure.median, figure.least, figure.most) == (0.07, 0.05, 0.09)


def test_promises_are_judged_against_peers_and_against_other_cases() -> None:
    verdicts = {(case.key, verdict.promised): verdict for case, verdict in report.verdicts(report.rows(RUNS))}
    assert verdicts["sms-http", "CPU ≤ 1/2 of Kannel's; aim 1/3"].measured == "1/2.86"
    assert verdicts["sms-postgresql", "CPU ≤ 2.5 × gateway's in sms-http"].measured == "2 ×"
    assert not any("Jasmin" in promised for _, promised in verdicts)


def test_what_is_stored_has_every_run_and_every_verdict(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    report.store(path, RUNS)
    stored = json.loads(path.read_text())
    assert len(stored["runs"]) == len(RUNS)
    assert stored["rows"][0]["cpu_s_per_1000"] == [0.2, 0.19, 0.21]
    assert {"case", "promised", "measured", "value", "kept", "aim_kept"} == set(stored["promises"][0])
    table = report.table(report.rows(RUNS))
    assert "| SMS, one HTTP request each | CPU ≤ 1/2 of Kannel's; aim 1/3 | 1/2.86 | holds |" in table
