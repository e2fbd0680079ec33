"""`python -m tests.upstreams.throttled`: what throttling costs, in figures. In virtual time: a minute or two.

SMSCs that take 5, 50 and 500 a second, in two ways, with and without `rate_per_s`; and 300 SMS beside one
number that is always throttled.
"""

import asyncio
import logging
import sys
from collections.abc import Callable

import structlog

from smpp.limit import Counted, Limit, Spaced
from tests import virtual
from tests.upstreams.operator_rig import operator_rig

_SETTLE_S, _STEADY_S = 10, 20
_POISON = {
    "ESME_RTHROTTLED": "+882990000012",
    "ESME_RSYSERR": "+882990000013",
    "ESME_RMSGQFUL": "+882990000015",
}


def _numbers(count: int) -> list[str]:
    return [f"+4179{number:07d}" for number in range(count)]


async def _steady(limit: Limit, per_s: int, rate_per_s: float) -> str:
    async with operator_rig(limit, rate_per_s=rate_per_s) as rig:
        rig.send(*_numbers(min(19_000, per_s * (_SETTLE_S + _STEADY_S) * 2)))
        await asyncio.sleep(_SETTLE_S)
        first, throttled = len(rig.taken_at), rig.smsc.throttled
        await asyncio.sleep(_STEADY_S)
        taken, throttled = len(rig.taken_at) - first, rig.smsc.throttled - throttled
        begun = first / (per_s * _SETTLE_S)
        return f"{begun:7.0%} {taken / (per_s * _STEADY_S):8.0%} {throttled / (taken + throttled):10.0%}"


async def _beside(number: str) -> str:
    async with operator_rig() as rig:
        (bad,), good = rig.send(number), rig.send(*_numbers(300))
        took_s = await rig.done(good, within_s=120)
        await asyncio.sleep(5)
        last = rig.settled[bad][-1]
        return f"all left in {took_s:.2f} s; the one: {last.kind}, attempts {last.attempts}, {last.reply}"


def main() -> None:
    """Prints the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    out = sys.stdout.write
    out(f"{'the SMSC takes':34}{'10 s':>7} {'steady':>8} {'throttled':>10}\n")
    kinds: dict[str, Callable[[int], Limit]] = {
        "by the second": Counted,
        "from a bucket": lambda per_s: Spaced(per_s, burst=per_s),
    }
    for per_s, rate_per_s in ((5, 0), (50, 0), (500, 0), (50, 45)):
        for name, limit in kinds.items():
            what = f"{per_s}/s {name}, rate_per_s = {rate_per_s}"
            out(f"{what:34}{virtual.run(_steady(limit(per_s), per_s, rate_per_s))}\n")
    for status, number in _POISON.items():
        out(f"300 SMS beside one {status}: {virtual.run(_beside(number))}\n")


if __name__ == "__main__":
    main()
