"""Every asynchronous test runs on both loops: the daemon's uvloop, and asyncio's own."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop
from hypothesis import HealthCheck, settings

# On shared cores an example may take long for no fault of its own.
settings.register_profile("shared_cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared_cores")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name to loop; pytest-asyncio's hook."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
