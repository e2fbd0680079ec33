"""The cost oracle: every entry point with small inputs, every regular expression, and the oracle itself.

`make fuzz` runs it for longer, with larger inputs and with tokens in pairs.
"""

import re
import time
from collections.abc import Iterator

import pytest

from tests.fuzz.cost import expressions, patterns, report
from tests.fuzz.cost.entries import ENTRIES
from tests.fuzz.cost.entry import KIB, Entry
from tests.fuzz.cost.forms import Case, pairs, single
from tests.fuzz.cost.judge import judge
from tests.fuzz.cost.measure import Measured, Sample, measure
from tests.fuzz.cost.pumps import pumps
from tests.fuzz.cost.worker import Result, Worker

_MOST_OCTETS = 8 * KIB
_IN_TESTS = [name for name, entry in ENTRIES.items() if entry.in_tests]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


@pytest.mark.parametrize("name", _IN_TESTS)
def test_what_an_input_costs_grows_no_faster_than_its_length(worker: Worker, name: str) -> None:
    entry = ENTRIES[name]
    results = [worker.run(entry, case, _MOST_OCTETS) for case in single(entry) if case.form != "open"]
    assert not [(str(one.case), finding) for one in results for finding in one.findings]


@pytest.mark.parametrize("place", expressions.places())
def test_a_regular_expression_is_linear_in_what_it_reads(worker: Worker, place: str) -> None:
    assert not worker.expressions(place)


# --- the oracle itself ------------------------------------------------------------------------------------


def _entry(run: object, **limits: float) -> Entry:
    return Entry(name="x", run=run, tokens=(b"a",), **limits)  # type: ignore[arg-type]  # a test's


_REPEAT = Case("x", "repeat", (b"a",))


def _kinds(entry: Entry) -> set[str]:
    return {finding.kind for finding in judge(entry, measure(entry, _REPEAT, entry.reach_octets))}


def test_a_quadratic_parser_is_found() -> None:
    pattern = re.compile(r"\s*a*b")
    assert "growth" in _kinds(_entry(lambda octets: pattern.search(octets.decode()), reach_octets=16 * KIB))


def test_a_linear_parser_is_not() -> None:
    assert not _kinds(_entry(sum, call_ms=1e9))


def test_a_parser_that_takes_too_much_memory_or_raises_is_found() -> None:
    assert _kinds(_entry(lambda octets: [object() for _ in octets], call_ms=1e9, memory_multiple=4)) == {
        "memory"
    }
    assert _kinds(_entry(lambda octets: 1 // (len(octets) < 10))) == {"raised"}


def test_a_slow_call_is_found_though_it_is_linear() -> None:
    samples = (Sample(1000, 0.01), Sample(10_000, 0.1))
    measured = Measured(samples=samples, peak_octets=0)
    assert [one.kind for one in judge(_entry(len, call_ms=10), measured)] == ["slow"]
    assert not judge(_entry(len, call_ms=30), measured)


def test_an_input_that_freezes_is_ended_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.cost.worker.CASE_S", 0.0)
    entry = ENTRIES["SMS segments"]
    with Worker() as made:
        result = made.run(entry, Case(entry.name, "repeat", (b"a",)))
        assert [finding.kind for finding in result.findings] == ["frozen"]
        monkeypatch.setattr("tests.fuzz.cost.worker.CASE_S", 60.0)
        assert made.run(entry, Case(entry.name, "repeat", (b"a",)), 100).measured is not None


def test_forms_repeat_pair_and_nest() -> None:
    entry = Entry(name="x", run=len, tokens=(b"a", b"b"), nested=((b"(", b")"),), before=b"<", after=b">")
    shown = {case.octets(entry, 3) for case in single(entry)}
    assert shown == {b"<aaa>", b"<bbb>", b"<aaa", b"<bbb", b"<((()))>"}
    assert {case.octets(entry, 2) for case in pairs(entry)} == {b"<abab>", b"<baba>"}
    assert list(_REPEAT.counts(entry, 1002)) == [1, 10, 100, 1000]


@pytest.mark.parametrize(
    ("pattern", "small", "large", "factor"),
    [
        (r"(a+)+b", 14, 22, 30),
        (r"(?:a|aa)+b", 16, 26, 30),
        (r'(?:[^>]|"[^"]*")*>', 20, 38, 30),
        (r"\s*\(x", 400, 4000, 30),
        (r"[a-z]+[a-z0-9]*!", 50, 500, 30),
    ],
)
def test_pumps_make_an_ambiguous_expression_work(pattern: str, small: int, large: int, factor: int) -> None:
    compiled = re.compile(pattern)

    def cpu_s(text: str) -> float:
        started = time.process_time()
        compiled.search(text)
        return time.process_time() - started

    made = pumps(compiled)
    assert any(cpu_s(one.text(large)) > factor * max(cpu_s(one.text(small)), 20e-6) for one in made)


def test_a_pattern_that_is_made_at_run_time_must_be_told() -> None:
    places = {used.place for used in patterns.everything()}
    assert {"smtp.address:_PATH", "policy.phone:_plan", "policy.acceptable_use:_CARDS"} <= places
    assert set(patterns.GIVEN) <= places
    assert set(patterns.MOST_CHARACTERS) <= places


def test_the_table_has_the_worst_of_each_entry() -> None:
    entry = _entry(len)
    measured = Measured(
        samples=(Sample(10, 0.001), Sample(8192, 0.008), Sample(81_920, 0.04)), peak_octets=163_840
    )
    table = report.table([entry], [Result(case=_REPEAT, measured=measured, findings=())])
    assert table.splitlines()[-1] == "| x | 80 KiB | 1000.0 µs | 40.0 ms | 2.0 KiB | 1 | – |"
