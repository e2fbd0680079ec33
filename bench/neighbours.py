"""A noisy neighbour in one process: every door at full speed, while another account sends 5 mails a second.

Closed loops: `SMTP` sessions, `HTTP` connections (mail and SMS in turn) and `SMPP` binds, each sending one
message after the other, of one account or spread over all of them. The quiet account posts its mails at even
distances; what is printed as JSON are the times of its acceptance, and the mails of all. Exits 1 when the
quiet account is refused once.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from pathlib import Path
from typing import Any

# Run as a file, this folder would come first on the path and hide modules of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import uvloop

from bench.http_load import Connection
from bench.pacing import paced
from bench.smtp_load import Session
from smpp.esme import Esme, EsmeConfig
from smpp.pdu import SubmitSm

SMTP, HTTP, SMPP = 20, 30, 4
_WINDOW = 20
_RATE_PER_S = 5.0
_TEXT = b"A line of seventy characters or so, as mail programs write them.\r\n" * 60
_AGAIN_S = 0.05  # a door that pushed back is tried again

Login = dict[str, str]


class Noise:
    """Everything that the neighbours do, until `stop` is set."""

    def __init__(self, arguments: argparse.Namespace, logins: list[Login]) -> None:
        """`logins`: of those who make the noise; each loop takes the next."""
        self.mails = 0
        self.stop = asyncio.Event()
        self._arguments = arguments
        self._logins = cycle(logins)

    def loops(self) -> list[Awaitable[None]]:
        """What is to run at once."""
        kinds: tuple[tuple[int, Callable[[Login], Awaitable[None]]], ...] = (
            (SMTP, self._smtp),
            (HTTP, self._http),
            (SMPP, self._smpp),
        )
        return [kind(next(self._logins)) for count, kind in kinds for _ in range(count)]

    async def _smtp(self, login: Login) -> None:
        loop = asyncio.get_running_loop()
        token = base64.b64encode(f"\0{login['smtp_user']}\0{login['smtp_password']}".encode())
        sender = login["domain"].encode()
        mail = b"From: a@%b\r\nTo: b@example.net\r\nSubject: load\r\n\r\n%b.\r\n" % (sender, _TEXT)
        while not self.stop.is_set():
            with contextlib.suppress(RuntimeError, OSError):  # it pushed back: a new session, in a moment
                _, session = await loop.create_connection(Session, "127.0.0.1", self._arguments.smtp_port)
                await session.greeted()
                await session.say(b"EHLO load.bench.example\r\n", b"AUTH PLAIN " + token + b"\r\n")
                while not self.stop.is_set():
                    await session.say(
                        b"MAIL FROM:<a@%b>\r\n" % sender, b"RCPT TO:<b@example.net>\r\n", b"DATA\r\n", mail
                    )
                    self.mails += 1
                session.transport.close()
                return
            await asyncio.sleep(_AGAIN_S)

    async def _http(self, login: Login) -> None:
        loop = asyncio.get_running_loop()
        ways = cycle([(mail_request(login), 1), (sms_request(login), 0)])
        while not self.stop.is_set():
            with contextlib.suppress(RuntimeError, OSError):
                _, connection = await loop.create_connection(
                    Connection, "127.0.0.1", self._arguments.http_port
                )
                while not self.stop.is_set():
                    request, mails = next(ways)
                    await connection.ask(request)
                    self.mails += mails
                return
            await asyncio.sleep(_AGAIN_S)

    async def _smpp(self, login: Login) -> None:
        config = EsmeConfig(
            host="127.0.0.1",
            port=self._arguments.smpp_port,
            system_id=login["smpp_system_id"],
            password=login["smpp_password"],
            window=_WINDOW,
        )
        esme = Esme(config)
        running = asyncio.create_task(esme.run())

        async def submit() -> None:
            while not self.stop.is_set():
                pdu = SubmitSm(
                    source_addr_ton=5,
                    source_addr=login["sender_name"],
                    dest_addr_ton=1,
                    dest_addr_npi=1,
                    destination_addr="41791234567",
                    short_message=b"Your code is 123456.",
                )
                if not esme.bound or (await esme.submit(pdu)).command_status:
                    await asyncio.sleep(_AGAIN_S)

        await asyncio.gather(*(submit() for _ in range(_WINDOW)))
        await esme.unbind_and_close(2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _request(login: Login, path: str, item: dict[str, Any]) -> bytes:
    body = json.dumps(item).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {login['api_key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def mail_request(login: Login) -> bytes:
    """POST /v1/mail."""
    item = {
        "from": f"a@{login['domain']}",
        "to": "b@example.net",
        "subject": "load",
        "text": "A line.\n" * 60,
    }
    return _request(login, "/v1/mail", item)


def sms_request(login: Login) -> bytes:
    """POST /v1/sms."""
    item = {"from": login["sender_name"], "to": "+41791234567", "text": "Your code is 123456."}
    return _request(login, "/v1/sms", item)


async def load(arguments: argparse.Namespace) -> dict[str, float]:
    """The figures of the quiet account, and the mails of all."""
    logins: list[Login] = json.loads(arguments.logins.read_text())
    quiet, noisy = logins[0], logins[1 : arguments.spread + 1]
    noise = Noise(arguments, noisy)
    request = mail_request(quiet)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", arguments.http_port)
    turn = asyncio.Lock()

    async def send() -> None:
        async with turn:
            await connection.ask(request)

    began = time.perf_counter()
    loops = [asyncio.ensure_future(one) for one in noise.loops()]
    await asyncio.sleep(1.0)  # everybody is at it
    figures = await paced(_RATE_PER_S, arguments.requests, send)
    noise.stop.set()
    await asyncio.gather(*loops)
    figures["messages"] = noise.mails + arguments.requests
    figures["seconds"] = time.perf_counter() - began
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    for name in ("--smtp-port", "--http-port", "--smpp-port", "--requests", "--spread"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument(
        "--logins", type=Path, required=True, help="JSON: the quiet account's, then the others'"
    )
    json.dump(uvloop.run(load(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
