"""A TCP proxy between the store and PostgreSQL that can cut a connection at a chosen moment.

It has a thread and a loop of its own, since the store connects from the test's loop, which waits meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Forward = Callable[[bytes], bytes | None]
"""What goes on instead of some octets; None cuts the connection without passing them on."""


class Proxy:
    """Passes octets on both ways. While `up` is false, it refuses new connections and cuts open ones."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.up = True
        self.to_server: Forward = bytes
        self.to_client: Forward = bytes
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listens on a free port."""
        self._thread.start()
        serving = asyncio.start_server(self.serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        self.port = server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Cuts everything and ends."""
        self.cut()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Breaks every connection, and none is let in until `up` is set again."""
        self.up = False
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if not self.up:
            writer.transport.abort()
            return
        self.connections += 1
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        pair = {writer, server_writer}
        self._writers |= pair
        try:
            await asyncio.gather(
                self._pass(reader, server_writer, lambda: self.to_server),
                self._pass(server_reader, writer, lambda: self.to_client),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers -= pair
            for one in pair:
                one.transport.abort()

    @staticmethod
    async def _pass(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forward: Callable[[], Forward]
    ) -> None:
        while data := await reader.read(65_536):
            passed = forward()(data)
            if passed is None:
                raise ConnectionError
            writer.write(passed)
            await writer.drain()
        raise ConnectionError


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


class CommitCutter:
    """Cuts the connection around one COMMIT.

    `before` cuts when the COMMIT comes by, so that the server never sees it; otherwise the COMMIT is passed
    on and its answer is not.
    """

    def __init__(self, proxy: Proxy, *, before: bool, mark: bytes) -> None:
        self._proxy = proxy
        self._before = before
        self._mark = mark  # octets of the batch that is meant
        self._marked = False
        self._committing = False
        self.cuts = 0
        proxy.to_server = self.to_server
        proxy.to_client = self.to_client

    def to_server(self, data: bytes) -> bytes | None:
        if self._mark in data:
            self._marked = True
        if self._marked and b"COMMIT" in data and not self.cuts:
            self._committing = True
            if self._before:
                self.cuts += 1
                return None
        return data

    def to_client(self, data: bytes) -> bytes | None:
        if self._committing and not self.cuts:
            self.cuts += 1
            return None
        return data
