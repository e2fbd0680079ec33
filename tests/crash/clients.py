"""The clients of the crash harness: mail by SMTP and HTTP, SMS by HTTP and SMPP, each with a token inside.

A client that gets no answer goes to whichever daemon is up; a keyed one asks again under the same key.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from smpp.constants import CommandStatus
from smpp.esme import Esme, EsmeConfig
from smpp.esme import Outcome as SmppOutcome
from smpp.pdu import SubmitSm
from tests.crash.daemons import Account, Daemon, Daemons


@dataclass
class Tally:
    """What the clients know: tokens by how they ended. `acked` maps a token to the id it was given."""

    sent: set[str] = field(default_factory=set)
    acked: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)


Send = Callable[[str], Awaitable[str | None]]
"""Hands in one message with this token: its id, None for no answer. Raises Refused for a refusal."""


class Refused(Exception):
    """The gateway said no: the message must never be delivered."""


async def client(name: str, send: Send, tally: Tally, stop: asyncio.Event, *, keyed: bool) -> None:
    """Sends until told to stop. A keyed client asks again with the same token until it has an answer."""
    number = 0
    while not stop.is_set():
        number += 1
        token = f"token-{name}-{number}"
        tally.sent.add(token)
        while True:
            try:
                message_id = await send(token)
            except Refused:
                tally.refused.add(token)
                break
            if message_id is not None:
                tally.acked[token] = message_id
                break
            if not keyed or stop.is_set():
                tally.unanswered.add(token)
                break
            await asyncio.sleep(0.05)


def http_send(daemons: Daemons, account: Account, path: str, *, keyed: bool) -> Send:
    """A client of the HTTP API."""
    http = httpx.AsyncClient(trust_env=False, timeout=5)

    async def send(token: str) -> str | None:
        daemon = await daemons.any()
        headers = {"Authorization": f"Bearer {account.key}"}
        if keyed:
            headers["Idempotency-Key"] = token
        body: dict[str, Any] = {"from": "Crash", "to": "+41791234567", "text": token}
        if path == "/v1/mail":
            body = {"from": "a@crash.example", "to": ["b@example.net"], "subject": token, "text": token}
        if keyed:
            body["metadata"] = {"key": token}
        try:
            answer = await http.post(f"http://127.0.0.1:{daemon.http_port}{path}", json=body, headers=headers)
        except httpx.HTTPError:
            return None
        if answer.status_code == 202:
            return str(answer.json()["id"])
        if answer.status_code in {409, 429, 503}:
            await asyncio.sleep(0.05)
            return None
        raise Refused(answer.text)

    return send


def smtp_send(daemons: Daemons, account: Account) -> Send:  # noqa: C901 - one conversation, told in a row
    """A client of SMTP submission that keeps its connection while it can."""
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(line: str | bytes, *, expect: str) -> str:
        reader, writer = streams[0]
        if line:
            writer.write(line if isinstance(line, bytes) else line.encode() + b"\r\n")
        while True:
            reply = (await asyncio.wait_for(reader.readline(), 10)).decode()
            if not reply:
                raise ConnectionError
            if reply[3:4] != "-":
                break
        if not reply.startswith(expect):
            raise Refused(reply)
        return reply

    async def send(token: str) -> str | None:
        try:
            if not streams:
                daemon = await daemons.any()
                streams.append(await asyncio.open_connection("127.0.0.1", daemon.smtp_port))
                await ask("", expect="220")
                await ask("EHLO crash.example", expect="250")
                plain = base64.b64encode(f"\0{account.smtp_user}\0{account.smtp_password}".encode()).decode()
                await ask(f"AUTH PLAIN {plain}", expect="235")
            await ask("MAIL FROM:<a@crash.example>", expect="250")
            await ask("RCPT TO:<b@example.net>", expect="250")
            await ask("DATA", expect="354")
            content = (
                f"From: a@crash.example\r\nTo: b@example.net\r\nSubject: {token}\r\n\r\n{token}\r\n.\r\n"
            )
            reply = await ask(content.encode(), expect="250")
            return reply.split()[-1]
        except (OSError, TimeoutError):
            for _, writer in streams:
                writer.close()
            streams.clear()
            return None

    return send


@asynccontextmanager
async def smpp_send(daemons: Daemons, account: Account) -> AsyncIterator[Send]:
    """A client that binds to every daemon as a transceiver; receipts are acknowledged."""

    async def take(_pdu: object) -> Any:
        return 0

    links = {one.smpp_port: Esme(_config(one, account), take) for one in daemons.members}
    running = [asyncio.create_task(link.run()) for link in links.values()]

    async def send(token: str) -> str | None:
        link = links[(await daemons.any()).smpp_port]
        result = await link.submit(
            SubmitSm(
                source_addr_ton=5,
                source_addr="Crash",
                dest_addr_ton=1,
                dest_addr_npi=1,
                destination_addr="41791234567",
                registered_delivery=1,
                short_message=token.encode(),
            )
        )
        if result.outcome is SmppOutcome.OK:
            return result.message_id
        if result.outcome is SmppOutcome.REFUSED and result.command_status != CommandStatus.ESME_RTHROTTLED:
            raise Refused(hex(result.command_status))
        await asyncio.sleep(0.05)
        return None

    yield send
    for link in links.values():
        await link.unbind_and_close(2)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _config(daemon: Daemon, account: Account) -> EsmeConfig:
    return EsmeConfig(
        host="127.0.0.1",
        port=daemon.smpp_port,
        system_id=account.smpp_system_id,
        password=account.smpp_password,
        reconnect_initial_s=0.1,
        reconnect_max_s=0.3,
        response_timeout_s=5,
    )
