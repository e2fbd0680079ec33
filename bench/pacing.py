"""An open-loop load: sends at even distances, whatever the answers, and tells how long each took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_MOST_AT_ONCE = 2000


def figures(spent_ms: list[float], seconds: float) -> dict[str, float]:
    """What a load prints as JSON."""
    spent_ms.sort()
    return {
        "messages": len(spent_ms),
        "seconds": seconds,
        "p50_ms": spent_ms[len(spent_ms) // 2],
        "p99_ms": spent_ms[len(spent_ms) * 99 // 100],
    }


async def paced(rate_per_s: float, messages: int, send: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """The figures of `messages` calls of `send`, each from the moment it was due.

    What makes this client late counts too. Raises RuntimeError when the server falls far behind: then it was
    not half its load.
    """
    now = time.perf_counter  # the loop's own clock counts milliseconds
    spent_ms: list[float] = []
    waiting = 0

    async def one(due: float) -> None:
        nonlocal waiting
        waiting += 1
        await send()
        waiting -= 1
        spent_ms.append((now() - due) * 1000)

    started = now()
    async with asyncio.TaskGroup() as group:
        for number in range(messages):
            due = started + number / rate_per_s
            if (early_s := due - now()) > 0:
                await asyncio.sleep(early_s)
            if waiting > _MOST_AT_ONCE:
                raise RuntimeError(f"{waiting} messages wait for an answer")
            group.create_task(one(min(due, now())))
    return figures(spent_ms, now() - started)
