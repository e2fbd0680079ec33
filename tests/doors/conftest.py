"""Every asynchronous test runs on both loops: the daemon's uvloop, and asyncio's own."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name to loop; pytest-asyncio's hook."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
