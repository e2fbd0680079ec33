"""What the sinks of our own share: a counter, and a server that prints `count=N` whenever it has grown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final

_PRINT_S: Final = 0.02


class Counter:
    """What all connections have taken."""

    taken = 0


async def serve(port: int, counter: Counter, connection: Callable[[], asyncio.Protocol]) -> None:
    """Listen on loopback, each client a `connection`, and print until terminated."""
    await asyncio.get_running_loop().create_server(connection, "127.0.0.1", port)
    printed = 0
    while True:
        await asyncio.sleep(_PRINT_S)
        if counter.taken != printed:
            printed = counter.taken
            sys.stdout.write(f"count={printed}\n")
            sys.stdout.flush()
