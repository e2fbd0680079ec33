"""POST /v1/sms at a fixed rate, which wrk cannot do: over connections that are kept, up to 200.

Prints JSON figures; exits 1 when an answer is not 2xx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import cast

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from bench.pacing import paced

_CONNECTIONS_MAX = 200
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._answer = b""
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits learns of it."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(RuntimeError(f"connection closed: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Head and body of the answer."""
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or self._done is None:
            return
        length = int(head.lower().partition(_LENGTH)[2].split(b"\r\n", 1)[0] or 0)
        if len(body) < length:
            return
        if head[9:10] == b"2":
            self._done.set_result(None)
        else:
            self._done.set_exception(RuntimeError(self._answer.decode(errors="replace")))

    async def ask(self, request: bytes) -> None:
        """Returns with a 2xx."""
        self._answer = b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._done


class Client:
    """Requests that differ in the number alone."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """`arguments`: as `main` reads them."""
        self._arguments = arguments
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._sent = 0
        self._requests = [self._request(number) for number in range(1000)]

    def _request(self, number: int) -> bytes:
        item = {"from": self._arguments.sender, "to": f"+4179{1_000_000 + number}"}
        body = json.dumps({**item, "text": "Your code is 123456."}).encode()
        head = (
            f"POST /v1/sms HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._arguments.api_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def send(self) -> None:
        """One SMS, accepted."""
        self._sent += 1
        request = self._requests[self._sent % 1000]
        async with self._room:
            connection = self._idle.pop() if self._idle else await self._open()
            await connection.ask(request)
            self._idle.append(connection)

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, "127.0.0.1", self._arguments.port))[1]


async def load(arguments: argparse.Namespace) -> dict[str, float]:
    """Runs the load."""
    return await paced(arguments.rate, arguments.messages, Client(arguments).send)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--sender", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    json.dump(uvloop.run(load(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
