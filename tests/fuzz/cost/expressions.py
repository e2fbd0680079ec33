"""Each regular expression of the product under its pumps: linear in what it reads.

A pump is tried once at growing sizes, which takes a millisecond; only one that takes suspiciously long is
measured as all entries are. What freezes is ended by the process that asked (`worker`).
"""

import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.fuzz.cost import patterns
from tests.fuzz.cost.entry import Entry
from tests.fuzz.cost.forms import Case
from tests.fuzz.cost.judge import Finding, judge
from tests.fuzz.cost.measure import measure
from tests.fuzz.cost.pumps import Pump, pumps

_CHARACTERS = 20_000
_ENOUGH = 3
_SIZES = (1, 10, 25, 100, 1000, _CHARACTERS)
_SUSPICIOUS_S = 0.004
"""Two hundred nanoseconds a character: a linear expression takes a tenth of that."""


@cache
def places() -> tuple[str, ...]:
    """Every place in the source that has expressions."""
    return tuple(dict.fromkeys(used.place for used in patterns.everything()))


def check(place: str) -> list[Finding]:
    """What is wrong with the expressions of one place; the first few, for each takes its time."""
    findings: list[Finding] = []
    for used in patterns.everything():
        if used.place != place:
            continue
        for pump in sorted(pumps(used.pattern), key=lambda one: (one.before, one.body, one.after)):
            findings += _pumped(used, pump)
            if len(findings) >= _ENOUGH:
                return findings
    return findings


def _pumped(used: patterns.Used, pump: Pump) -> list[Finding]:
    run = _runner(used)
    most, _why = patterns.MOST_CHARACTERS.get(used.place, (_CHARACTERS, ""))
    for size in _SIZES:
        if size > most:
            break
        started = time.thread_time()
        run(pump.text(size))
        if time.thread_time() - started > _SUSPICIOUS_S:
            return _measured(used, pump, run, most)
    return []


def _measured(used: patterns.Used, pump: Pump, run: Callable[[str], object], most: int) -> list[Finding]:
    """The pump measured twice; what is found both times."""
    entry = Entry(
        name=used.place,
        run=lambda octets: run(octets.decode("utf-8", "surrogatepass")),
        tokens=(),
        before=pump.before.encode("utf-8", "surrogatepass"),
        after=pump.after.encode("utf-8", "surrogatepass"),
        reach_octets=most,
    )
    case = Case(entry.name, "repeat", (pump.body.encode("utf-8", "surrogatepass"),))
    once, again = (judge(entry, measure(entry, case, most)) for _ in range(2))
    kinds = {finding.kind for finding in once}
    return [Finding(one.kind, f"{pump}: {one.text}") for one in again if one.kind in kinds]


def _runner(used: patterns.Used) -> Callable[[str], object]:
    """Calls the expression in the ways in which the source does."""
    pattern = used.pattern
    calls = [_CALLS[method] for method in sorted(used.methods)]
    if isinstance(pattern.pattern, bytes):
        return lambda text: [call(pattern, text.encode("utf-8", "surrogatepass")) for call in calls]
    return lambda text: [call(pattern, text) for call in calls]


_CALLS: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    "match": re.Pattern.match,
    "fullmatch": re.Pattern.fullmatch,
    "search": re.Pattern.search,
    "findall": re.Pattern.findall,
    "split": re.Pattern.split,
    "finditer": lambda pattern, text: sum(1 for _ in pattern.finditer(text)),
    "sub": lambda pattern, text: pattern.sub(text[:0], text),
    "subn": lambda pattern, text: pattern.sub(text[:0], text),
}
