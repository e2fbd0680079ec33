"""Clients that send without end and remember every answer: HTTP with and without keys, SMTP, SMPP.

Each message carries a token of its own in its text. A client never gives up; what the gateway refused stays
refused, except that the keyed client asks again with the same key until it has its 202.
"""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from smpp.constants import CommandStatus, status_name
from smpp.esme import Esme, EsmeConfig
from smpp.esme import RequestOutcome as SmppOutcome
from smpp.pdu import SubmitSm
from tests.faults.installation import DOMAIN, NAME, Installation, Logins

_AGAIN_S = 0.03  # between two messages of one client, so that the daemon and its sinks get their share
_REPLY_S = 20.0


@dataclass
class Tally:
    """What the clients know. `acked`: token → id; `answers`: how often each kind of answer came."""

    acked: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    problems: list[Mapping[str, Any]] = field(default_factory=list)

    def count(self, *starts: str) -> int:
        """How many answers begin so."""
        return sum(number for answer, number in self.answers.items() if answer.startswith(starts))

    async def more(self, number: int, *starts: str, within_s: float = 30.0) -> None:
        """Returns when `number` more answers of these kinds have come."""
        wanted = self.count(*starts) + number
        async with asyncio.timeout(within_s):
            while self.count(*starts) < wanted:
                await asyncio.sleep(0.02)


class Refused(Exception):
    """The gateway said no, with this answer."""


class NoAnswer(Exception):
    """The connection broke, or nothing came in time: what became of the message is not known."""


Send = Callable[[str], Awaitable[str]]
"""Hands in one message with this token; its id. Raises Refused and NoAnswer."""


@asynccontextmanager
async def sending(one: Installation, logins: Logins, *, padding: int = 0) -> AsyncIterator[Tally]:
    """Five clients send while the block runs. `padding`: octets of text more in every mail."""
    tally = Tally()
    stop = asyncio.Event()
    async with httpx.AsyncClient(trust_env=False, timeout=_REPLY_S) as http, _smpp(one, logins) as smpp:
        ways: dict[str, Send] = {
            "keyed": _http(http, one, logins, tally, "/v1/mail", padding, keyed=True),
            "mail": _http(http, one, logins, tally, "/v1/mail", padding, keyed=False),
            "sms": _http(http, one, logins, tally, "/v1/sms", 0, keyed=False),
            "smtp": _Smtp(one, logins, tally, padding).send,
            "smpp": smpp,
        }
        clients = [asyncio.create_task(_client(name, send, tally, stop)) for name, send in ways.items()]
        try:
            yield tally
        finally:
            stop.set()
            await asyncio.gather(*clients)


async def _client(name: str, send: Send, tally: Tally, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        token = f"token-{name}-{number}-"
        while True:
            try:
                tally.acked[token] = await send(token)
                tally.answers[f"{name} ok"] += 1
                break
            except Refused as refused:
                tally.answers[f"{name} {refused}"] += 1
                if name != "keyed":
                    tally.refused[token] = str(refused)
                    break
            except NoAnswer:
                tally.answers[f"{name} no answer"] += 1
                if name != "keyed":
                    tally.unanswered.add(token)
                    break
            if stop.is_set():
                tally.unanswered.add(token)
                break
            await asyncio.sleep(_AGAIN_S)
        await asyncio.sleep(_AGAIN_S)


def _http(
    http: httpx.AsyncClient,
    one: Installation,
    logins: Logins,
    tally: Tally,
    path: str,
    padding: int,
    *,
    keyed: bool,
) -> Send:
    async def send(token: str) -> str:
        headers = {"Authorization": f"Bearer {logins.key}"}
        body: dict[str, Any] = {"from": NAME, "to": "+41791234567", "text": token}
        if path == "/v1/mail":
            text = token + "\r\n" + _lines(padding)
            body = {"from": f"a@{DOMAIN}", "to": ["b@example.net"], "subject": "Hello", "text": text}
        if keyed:
            headers["Idempotency-Key"] = token
            body["metadata"] = {"key": token}
        try:
            answer = await http.post(f"http://127.0.0.1:{one.http_port}{path}", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise NoAnswer from error
        if answer.status_code == 202:
            return str(answer.json()["id"])
        problem = answer.json() if "problem+json" in answer.headers.get("content-type", "") else {}
        tally.problems.append({**problem, "retry_after": answer.headers.get("retry-after")})
        raise Refused(f"{answer.status_code} {problem.get('type', '').rpartition('#')[2]}")

    return send


class _Smtp:
    """A client of SMTP submission that keeps its connection while it can."""

    def __init__(self, one: Installation, logins: Logins, tally: Tally, padding: int) -> None:
        self._one = one
        self._plain = base64.b64encode(f"\0{logins.smtp_user}\0{logins.smtp_password}".encode()).decode()
        self._padding = padding
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, token: str) -> str:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._one.smtp_port)
                await self._ask("", "220")
                await self._ask("EHLO client.example", "250")
                await self._ask(f"AUTH PLAIN {self._plain}", "235")
            await self._ask("RSET", "250")
            await self._ask(f"MAIL FROM:<a@{DOMAIN}>", "250")
            await self._ask("RCPT TO:<b@example.net>", "250")
            await self._ask("DATA", "354")
            text = f"{token}\r\n{_lines(self._padding)}"
            reply = await self._ask(
                f"From: a@{DOMAIN}\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\n{text}\r\n.", "250"
            )
            return reply.split()[-1]
        except Refused as refused:
            if str(refused)[:3] in {"421", "454", "530", "535"}:
                self._close()
            raise
        except (OSError, TimeoutError) as error:
            self._close()
            raise NoAnswer from error

    async def _ask(self, line: str, expect: str) -> str:
        assert self._streams is not None
        reader, writer = self._streams
        if line:
            writer.write(line.encode() + b"\r\n")
        async with asyncio.timeout(_REPLY_S):
            while True:
                reply = (await reader.readline()).decode()
                if not reply:
                    raise ConnectionError
                if reply[3:4] != "-":
                    break
        if not reply.startswith(expect):
            raise Refused(" ".join(reply.split()[:2]))
        return reply

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def _smpp(one: Installation, logins: Logins) -> AsyncIterator[Send]:
    """A transceiver; receipts are acknowledged."""

    async def take(_pdu: object) -> CommandStatus:
        return CommandStatus.ESME_ROK

    esme = Esme(
        EsmeConfig(
            host="127.0.0.1",
            port=one.smpp_port,
            system_id=logins.smpp_system_id,
            password=logins.smpp_password,
            reconnect_initial_s=0.1,
            reconnect_max_s=0.3,
            throttle_initial_s=0.05,
            throttle_max_s=0.1,
            response_timeout_s=_REPLY_S,
        ),
        take,
    )
    running = asyncio.create_task(esme.run())

    async def send(token: str) -> str:
        pdu = SubmitSm(
            source_addr_ton=5,
            source_addr=NAME,
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr="41791234567",
            registered_delivery=1,
            short_message=token.encode(),
        )
        async with asyncio.timeout(_REPLY_S):
            while (result := await esme.submit(pdu)).outcome is SmppOutcome.NOT_SENT:
                await asyncio.sleep(_AGAIN_S)  # not bound (yet)
        match result.outcome:
            case SmppOutcome.OK:
                return result.message_id
            case SmppOutcome.REFUSED | SmppOutcome.THROTTLED:
                raise Refused(status_name(result.command_status))
        raise NoAnswer

    try:
        yield send
    finally:
        await esme.unbind_and_close(2)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _lines(octets: int) -> str:
    return ("x" * 70 + "\r\n") * (octets // 72)
