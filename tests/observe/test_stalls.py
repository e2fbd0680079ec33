"""The loop's watchdog: what it finds, what it says, and that it is quiet about a loop that turns."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from gateway.observe.stalls import STALL_S, LoopWatch

pytestmark = pytest.mark.timeout(60, method="thread")  # the other method needs the watch's own alarm


@contextmanager
def watched(beats: list[float] | None = None) -> Iterator[list[float]]:
    """The stalls of the running loop, as they are counted."""
    stalls: list[float] = []
    watch = LoopWatch(stalls.append, lambda seconds: None if beats is None else beats.append(seconds))
    watch.start(asyncio.get_running_loop())
    watch.tell(asyncio.get_running_loop())
    try:
        yield stalls
    finally:
        watch.stop()


async def seen(stalls: list[float]) -> None:
    async with asyncio.timeout(10):
        while not stalls:
            await asyncio.sleep(0.01)


def hold_the_lock() -> None:
    """Keeps the interpreter's lock for longer than a stall, in C, where no Python thread can look."""
    pairs = 12
    until_s = time.perf_counter() + 2 * STALL_S
    while time.perf_counter() < until_s:
        pairs += 1
        re.fullmatch(r"(?:a|a)*c", "a" * pairs)


async def test_a_stall_is_counted_and_logged_with_the_place_where_it_was() -> None:
    with capture_logs() as logs, watched() as stalls:
        await asyncio.sleep(0.1)
        hold_the_lock()
        await seen(stalls)
    (line,) = [one for one in logs if one["event"] == "event_loop_stalled"]
    assert stalls[0] >= STALL_S
    assert line["stall_s"] >= STALL_S
    assert "hold_the_lock" in line["stack"]
    assert "\n" not in line["stack"]


async def test_the_start_of_a_program_is_no_stall() -> None:
    stalls: list[float] = []
    watch = LoopWatch(stalls.append)
    watch.start(asyncio.get_running_loop())
    with capture_logs() as logs:
        hold_the_lock()
        watch.tell(asyncio.get_running_loop())
        await asyncio.sleep(0.2)  # several turns of the watch
    watch.stop()
    assert (stalls, logs) == ([], [])


async def test_each_stall_has_its_own_stack() -> None:
    def wait_for_the_disk() -> None:
        time.sleep(2 * STALL_S)

    with capture_logs() as logs, watched() as stalls:
        hold_the_lock()
        await seen(stalls)
        stalls.clear()
        wait_for_the_disk()
        await seen(stalls)
    first, second = [one["stack"] for one in logs if one["event"] == "event_loop_stalled"]
    assert "hold_the_lock" in first
    assert "wait_for_the_disk" not in first
    assert "wait_for_the_disk" in second
    assert "hold_the_lock" not in second


async def test_a_loop_that_turns_is_told_of_every_second_and_of_nothing_else() -> None:
    beats: list[float] = []
    with watched(beats):
        async with asyncio.timeout(10):
            while len(beats) < 3:
                await asyncio.sleep(0.01)
    assert beats[0] == 0.0
    assert all(seconds >= 1.0 for seconds in beats[1:])
