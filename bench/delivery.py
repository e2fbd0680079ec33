"""CPU time of delivering one mail over kept connections, against a sink that does next to nothing.

The sink runs in a process of its own, so that what is printed is the client's alone: milliseconds of CPU per
message and messages per second. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import cast

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from smtp.client import Content, Tls
from smtp.options import Options, Peer
from smtp.outcome import Envelope, Outcome, Recipient, Result
from smtp.pool import ConnectionPool, Destination, Limits
from smtp.tls import TlsPolicy


class Sink(asyncio.Protocol):
    """Says yes to everything; knows just enough to find the commands and the final dot."""

    def __init__(self, extensions: bytes) -> None:
        """`extensions`: the EHLO reply."""
        self._ehlo = extensions
        self._in_content = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer the commands of one read in one write."""
        if self._in_content:
            self._tail = (self._tail + data)[-5:]
            if self._tail == b"\r\n.\r\n":
                self._in_content = False
                self._transport.write(b"250 2.0.0 queued\r\n")
            return
        answers = []
        for line in data.split(b"\r\n")[:-1]:
            if line.startswith(b"EHLO"):
                answers.append(self._ehlo)
            elif line == b"DATA":
                answers.append(b"354 go\r\n")
                self._in_content, self._tail = True, b"\r\n"
            else:
                answers.append(b"250 2.1.0 ok\r\n")
        self._transport.write(b"".join(answers))


def run_sink(pipe: Pipe, pipelining: bool) -> None:
    """Listen on a free port of loopback, tell it, and serve until terminated."""

    async def serve() -> None:
        ehlo = b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n" if pipelining else b"250 sink\r\n"
        server = await asyncio.get_running_loop().create_server(lambda: Sink(ehlo), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def deliver(port: int, messages: int, connections: int, content: bytes) -> tuple[float, float]:
    """CPU seconds and seconds spent."""
    options = Options(helo="bench.example", tls=TlsPolicy(mode=Tls.OFF))
    peers = [Peer("localhost", "127.0.0.1", port)]
    destination = Destination(name="sink", peers=peers, options=options)
    loop = asyncio.get_running_loop()
    pool = ConnectionPool(Limits(per_destination=connections, messages_per_connection=messages))

    async def worker() -> None:
        for _ in range(messages // connections):
            envelope = Envelope(mail_from="s@example.org", recipients=[Recipient("r@example.net")])
            ended: asyncio.Future[list[Outcome]] = loop.create_future()
            if pool.begin(destination, envelope, Content.of(content), ended.set_result):
                (outcome,) = await ended
            else:  # the first on its connection
                (outcome,) = await pool.deliver(destination, envelope, content)
            if outcome.result is not Result.DELIVERED:
                raise RuntimeError(outcome.reply.line())

    cpu, wall = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(worker())
    spent = time.process_time() - cpu, time.perf_counter() - wall
    await pool.close()
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--size", type=int, default=4096, help="octets of the mail (4096)")
    parser.add_argument("--no-pipelining", action="store_true", help="the sink does not offer PIPELINING")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    sink = multiprocessing.Process(target=run_sink, args=(theirs, not arguments.no_pipelining), daemon=True)
    sink.start()
    content = (
        b"Subject: x\r\n\r\n"
        + b"A line of seventy characters or so, as mail programs write them.\r\n" * (arguments.size // 67)
    )
    cpu, wall = uvloop.run(deliver(ours.recv(), arguments.messages, arguments.connections, content))
    sink.terminate()
    sys.stdout.write(
        f"{arguments.messages} mails of {len(content)} octets over {arguments.connections} connections\n"
        f"client CPU per message  {cpu / arguments.messages * 1e3:.4f} ms\n"
        f"messages per second     {arguments.messages / wall:.0f}\n"
    )


if __name__ == "__main__":
    main()
