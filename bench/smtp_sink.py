"""A mail sink with STARTTLS, which smtp-sink has not: says yes to everything, prints `count=N` as it grows.

It knows just enough to find the commands and the final dot, because a whole server would take the CPU that
the one under test needs.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import cast

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from bench.counting import Counter, serve

_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
_EHLO_TLS = b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"


class Session(asyncio.Protocol):
    """One session."""

    def __init__(self, counter: Counter, context: ssl.SSLContext) -> None:
        """`context`: the certificate to show."""
        self._counter = counter
        self._context = context
        self._in_content = False
        self._rest = b""
        self._upgrade: asyncio.Task[None] | None = None  # once the client has asked for TLS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer all that one read brings in one write; QUIT may come together with the final dot."""
        self._rest += data
        answers: list[bytes] = []
        while self._next(answers):
            pass
        if answers:
            self._transport.write(b"".join(answers))

    def _next(self, answers: list[bytes]) -> bool:
        """Takes one command, or a mail's end; False when neither is whole."""
        head, end, rest = self._rest.partition(b"\r\n.\r\n" if self._in_content else b"\r\n")
        if not end:
            self._rest = head[-4:] if self._in_content else head
            return False
        self._rest = rest
        if self._in_content:
            self._in_content = False
            self._counter.taken += 1
            answers.append(b"250 2.0.0 taken\r\n")
        else:
            answers.append(self._answer(head))
        return True

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return _EHLO if self._upgrade is None else _EHLO_TLS
        if verb == b"DATA":
            self._in_content, self._rest = True, b"\r\n" + self._rest
            return b"354 go\r\n"
        if verb == b"STAR":
            self._upgrade = asyncio.get_running_loop().create_task(self._secure())
            return b"220 2.0.0 go\r\n"
        if verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self._transport.close)
            return b"221 2.0.0 bye\r\n"
        return b"250 2.1.0 ok\r\n"

    async def _secure(self) -> None:
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(self._transport, self, self._context, server_side=True)
        self._transport = cast(asyncio.Transport, secured)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate, arguments.key)
    counter = Counter()
    uvloop.run(serve(arguments.port, counter, partial(Session, counter, context)))


if __name__ == "__main__":
    main()
