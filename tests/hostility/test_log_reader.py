"""Whoever reads the daemon's log stops reading: nobody waits, memory has a bound, it still ends cleanly."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostility.world import World

REQUESTS = 4_000  # at some 250 octets each, well beyond what a pipe holds


@contextmanager
def unread(path: Path) -> Iterator[int]:
    """A named pipe with a reader that does not read."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reader
    finally:
        os.close(reader)


async def ask(world: World, count: int) -> int:
    """So many requests over one connection; how many were answered 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.http)
    answered = 0
    for _ in range(count // 50):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        for _ in range(50):
            head = await reader.readuntil(b"\r\n\r\n")
            answered += head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
    writer.close()
    return answered


@pytest.mark.timeout(120)
async def test_a_log_that_nobody_reads_keeps_nobody_waiting(tmp_path: Path) -> None:
    world = await World.make(tmp_path, log={"level": "info"})
    world.log = tmp_path / "pipe"
    with unread(world.log) as reader:
        await world.start()
        async with asyncio.timeout(60):
            assert await ask(world, REQUESTS) == REQUESTS
        told = os.read(reader, 1 << 20)
        assert told.count(b"request_answered") < REQUESTS / 2  # the pipe was full
        assert told[: told.rindex(b"\n")].count(b"\n{") > 100  # of whole lines
        async with asyncio.timeout(30):
            assert await world.stop() == 0
