"""An SMTP client as a load, for what smtp-source cannot do: STARTTLS, and a fixed rate.

Closed loop: `--sessions` sessions send one mail after the other. Open loop (`--rate`): mails leave at even
distances, each over a session that is free; there are as many as it takes, up to fifty. Commands are not
pipelined, as smtp-source's are not. Prints JSON figures; exits 1 when a reply is not the expected one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import cast

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from bench.pacing import figures, paced

_HEAD = b"From: a@bench.example\r\nTo: b@example.net\r\nSubject: load\r\n\r\n"
_LINE = b"A line of seventy characters or so, as mail programs write them.\r\n"
_SESSIONS_MAX = 50
_ENVELOPE = (b"MAIL FROM:<a@bench.example>\r\n", b"RCPT TO:<b@example.net>\r\n", b"DATA\r\n")


class Session(asyncio.Protocol):
    """One session; one dialogue at a time."""

    def __init__(self) -> None:
        self._lines = b""
        self._steps: list[bytes] = []
        self._done = asyncio.get_running_loop().create_future()  # the greeting, then each dialogue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits learns of it."""
        self._fail(RuntimeError(f"connection closed: {exc}"))

    def data_received(self, data: bytes) -> None:
        """The next step, when the reply is whole."""
        self._lines += data
        if not self._lines.endswith(b"\r\n") or self._lines[:-2].rpartition(b"\r\n")[2][3:4] != b" ":
            return
        reply, self._lines = self._lines, b""
        if reply[:1] not in b"23":
            self._fail(RuntimeError(reply.decode(errors="replace")))
        elif self._steps:
            self.transport.write(self._steps.pop(0))
        elif not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    async def greeted(self) -> None:
        """Returns with the 220."""
        await self._done

    async def say(self, *steps: bytes) -> None:
        """Each step after the reply to the one before; returns with the last reply."""
        first, *self._steps = steps
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(first)
        await self._done


class Client:
    """Opens sessions and sends mails over them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """`arguments`: as `main` reads them."""
        self._arguments = arguments
        lines = max(1, (arguments.size - len(_HEAD)) // len(_LINE))
        self._mail = (*_ENVELOPE, _HEAD + _LINE * lines + b".\r\n")
        self._idle: list[Session] = []
        self._room = asyncio.Semaphore(_SESSIONS_MAX)
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def _open(self) -> Session:
        loop = asyncio.get_running_loop()
        _, session = await loop.create_connection(Session, "127.0.0.1", self._arguments.port)
        await session.greeted()
        await session.say(b"EHLO load.bench.example\r\n")
        if self._arguments.starttls:
            await session.say(b"STARTTLS\r\n")
            secured = await loop.start_tls(session.transport, session, self._tls)
            session.transport = cast(asyncio.Transport, secured)
            await session.say(b"EHLO load.bench.example\r\n")
        return session

    async def send(self) -> None:
        """One mail, accepted."""
        async with self._room:
            session = self._idle.pop() if self._idle else await self._open()
            await session.say(*self._mail)
            if self._arguments.reconnect:
                await session.say(b"QUIT\r\n")
                session.transport.close()
            else:
                self._idle.append(session)

    async def run(self) -> dict[str, float]:
        """The figures."""
        messages: int = self._arguments.messages
        if self._arguments.rate:
            return await paced(self._arguments.rate, messages, self.send)
        left, spent_ms = iter(range(messages)), list[float]()

        async def one_after_the_other() -> None:
            for _ in left:
                begun = time.perf_counter()
                await self.send()
                spent_ms.append((time.perf_counter() - begun) * 1000)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._arguments.sessions):
                group.create_task(one_after_the_other())
        return figures(spent_ms, time.perf_counter() - started)


async def load(arguments: argparse.Namespace) -> dict[str, float]:
    """Runs the load."""
    return await Client(arguments).run()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--size", type=int, default=4096, help="octets of a mail")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.0, help="mails per second; 0: as fast as it goes")
    parser.add_argument("--reconnect", action="store_true", help="a connection for each mail")
    parser.add_argument("--starttls", action="store_true")
    json.dump(uvloop.run(load(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
