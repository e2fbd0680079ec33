"""A mail sink in a process of its own: says yes to everything and keeps nothing but counts."""

import asyncio
import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe
from typing import cast

import msgspec
import uvloop

_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-SIZE 1000000000\r\n250 8BITMIME\r\n"


class Counts(msgspec.Struct):
    """What has arrived."""

    messages: int = 0
    recipients: int = 0
    octets: int = 0


class _Session(asyncio.Protocol):
    """Finds the commands and the final dot, nothing else."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._in_content = False
        self._tail = b""
        self._line = b""
        self._recipients = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        if self._in_content:
            self._counts.octets += len(data)
            self._tail = (self._tail + data[-5:])[-5:]
            if self._tail == b"\r\n.\r\n":
                self._in_content = False
                self._counts.messages += 1
                self._counts.recipients += self._recipients
                self._transport.write(b"250 2.0.0 taken\r\n")
            return
        *lines, self._line = (self._line + data).split(b"\r\n")
        self._transport.write(b"".join(self._answer(line) for line in lines))

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return _EHLO
        if verb == b"MAIL":
            self._recipients = 0
        elif verb == b"RCPT":
            self._recipients += 1
        elif verb == b"DATA":
            self._in_content, self._tail = True, b"\r\n"
            return b"354 go\r\n"
        return b"250 2.1.0 ok\r\n"


def _serve(pipe: Pipe) -> None:
    async def main() -> None:
        counts = Counts()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Session(counts), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])

        def tell() -> None:
            with contextlib.suppress(EOFError):
                pipe.recv()
                pipe.send(msgspec.structs.astuple(counts))

        loop.add_reader(pipe.fileno(), tell)
        await server.serve_forever()

    uvloop.run(main())


class Sink:
    """The sink as its parent sees it."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.port: int = pipe.recv()

    def counts(self) -> Counts:
        """What has arrived until now."""
        self._pipe.send("?")
        return Counts(*self._pipe.recv())


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    """A running sink on a free port of loopback."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Sink(ours)
    finally:
        process.terminate()
        process.join()
