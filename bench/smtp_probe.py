"""One more SMTP session beside smtp-source, which tells how long acceptance takes.

It sends mails one after the other until its standard input ends, and prints what it measured as JSON: for
each mail the time from MAIL FROM to the 250 after the final dot, in milliseconds. With `--reconnect` each
mail has a connection of its own; connecting is then part of the time, because the sender waits for it too.
"""

import argparse
import json
import select
import socket
import sys
import time


class Session:
    """One SMTP session over a blocking socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reply(b"220")
        self.ask(b"EHLO probe.bench.example\r\n", b"250")

    def ask(self, octets: bytes, expect: bytes) -> None:
        """Write, and read the reply. Raises RuntimeError for another than expected."""
        self._socket.sendall(octets)
        self._reply(expect)

    def _reply(self, expect: bytes) -> None:
        lines = b""
        while not (lines.endswith(b"\r\n") and lines[:-2].rpartition(b"\r\n")[2][3:4] == b" "):
            block = self._socket.recv(4096)
            if not block:
                raise RuntimeError("connection closed")
            lines += block
        if not lines.startswith(expect):
            raise RuntimeError(lines.decode(errors="replace"))

    def send(self, mail: bytes) -> None:
        """One mail, accepted."""
        self.ask(b"MAIL FROM:<a@bench.example>\r\n", b"250")
        self.ask(b"RCPT TO:<b@example.net>\r\n", b"250")
        self.ask(b"DATA\r\n", b"354")
        self.ask(mail, b"250")

    def close(self) -> None:
        """QUIT."""
        self.ask(b"QUIT\r\n", b"221")
        self._socket.close()


def run(port: int, *, reconnect: bool, size_octets: int) -> list[float]:
    """Milliseconds of each mail, until standard input ends."""
    head = b"From: a@bench.example\r\nTo: b@example.net\r\nSubject: probe\r\n\r\n"
    line = b"A line of seventy characters or so, as mail programs write them.\r\n"
    mail = head + line * max(1, (size_octets - len(head)) // len(line)) + b".\r\n"
    spent: list[float] = []
    session = None if reconnect else Session(port)
    while not select.select([sys.stdin], [], [], 0)[0]:
        started = time.perf_counter()
        one = session or Session(port)
        one.send(mail)
        spent.append((time.perf_counter() - started) * 1000)
        if reconnect:
            one.close()
    if session:
        session.close()
    return spent


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--reconnect", action="store_true")
    parser.add_argument("--size", type=int, default=4096)
    arguments = parser.parse_args()
    spent = run(arguments.port, reconnect=arguments.reconnect, size_octets=arguments.size)
    json.dump(spent, sys.stdout)


if __name__ == "__main__":
    main()
