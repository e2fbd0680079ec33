"""What `make audit` says: findings fail it, and a silent service is no clean bill of health."""

import json

import pytest

from tests.security.audit import verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        ([CLEAN], 0, "1 of 1 packages audited, 0 findings."),
        ([CLEAN, FLAWED], 1, "b 2: PYSEC-1, mended in 2.1"),
        ([CLEAN, SKIPPED], 3, "NOT AUDITED, the advisory service did not answer: c."),
        ([SKIPPED, SKIPPED], 3, "NOT AUDITED, the advisory service did not answer: all of them."),
        ([FLAWED, SKIPPED], 1, "1 of 2 packages audited, 1 findings."),
    ],
)
def test_findings_and_silence_fail_each_in_its_way(packages: list[object], code: int, says: str) -> None:
    text, exit_code = verdict(json.dumps({"dependencies": packages}), "")
    assert exit_code == code
    assert says in text.splitlines()


def test_without_a_network_one_line_says_so() -> None:
    text, _ = verdict(json.dumps({"dependencies": [SKIPPED] * 80}), "")
    assert text == "NOT AUDITED, the advisory service did not answer: all of them."


@pytest.mark.parametrize("output", ["", "no JSON", "[]", "{}"])
def test_no_answer_is_said_plainly(output: str) -> None:
    assert verdict(output, "x\nConnectionError: no network\n") == (
        "NOT AUDITED: the advisory service could not be asked (ConnectionError: no network).",
        3,
    )
