"""A promise is judged on the medians, against its own bound or another row's figure."""

import pytest

from bench.cases import CASES
from bench.promises import Promise, judge

OWN = {"cpu_s_per_1000": 0.5, "messages_per_s": 1800.0, "memory_mib": 120.0, "p99_ms": 26.0, "fsync_ms": 2.0}
PEER = {"cpu_s_per_1000": 2.5, "messages_per_s": 600.0, "memory_mib": 70.0, "p99_ms": 9.0, "fsync_ms": 2.0}


@pytest.mark.parametrize(
    ("promise", "promised", "measured", "kept", "aim_kept"),
    [
        (
            Promise(figure="cpu_s_per_1000", peer="Postfix", most=1 / 4, aim=1 / 8),
            "CPU ≤ 1/4 of Postfix's; aim 1/8",
            "1/5",
            True,
            False,
        ),
        (
            Promise(figure="cpu_s_per_1000", peer="Kannel", case="sms-http", most=1 / 6),
            "CPU ≤ 1/6 of Kannel's in sms-http",
            "1/5",
            False,
            None,
        ),
        (
            Promise(figure="messages_per_s", peer="Postfix", least=4),
            "speed ≥ 4 × Postfix's",
            "3 ×",
            False,
            None,
        ),
        (Promise(figure="memory_mib", most=238.4), "memory ≤ 238 MiB", "120 MiB", True, None),
        (
            Promise(figure="p99_ms", most=5, fsyncs=10),
            "p99 ≤ 25 ms (10 × fsync + 5 ms)",
            "26 ms",
            False,
            None,
        ),
    ],
)
def test_a_promise_says_what_was_measured_and_whether_it_holds(
    promise: Promise, promised: str, measured: str, kept: bool, aim_kept: bool | None
) -> None:
    verdict = judge(promise, OWN, PEER)
    assert verdict is not None
    assert (verdict.promised, verdict.measured) == (promised, measured)
    assert (verdict.kept, verdict.aim_kept) == (kept, aim_kept)


def test_nothing_is_said_of_a_peer_that_did_not_run() -> None:
    assert judge(Promise(figure="messages_per_s", peer="Jasmin", least=4), OWN, None) is None


def test_every_promise_is_about_a_case_that_there_is() -> None:
    keys = {case.key for case in CASES}
    assert len(keys) == len(CASES)
    assert {promise.case for case in CASES for promise in case.promises} - {""} <= keys
