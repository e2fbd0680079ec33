"""The crash harness: clients send while the daemon is killed and restarted, then every figure must add up.

Clients hand in mail (SMTP, HTTP) and SMS (HTTP, SMPP), each message with a token of its own in its text. The
daemon relays to a mail sink and an SMSC that live here and survive it. At random moments it gets SIGKILL and
is started again. At the end the daemon drains, and the report says what was acknowledged, lost, doubled.

`python -m tests.crash.harness --kills 1000` prints the report and exits 1 when an invariant does not hold.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from smpp.esme import Esme, EsmeConfig
from smpp.esme import Outcome as SmppOutcome
from smpp.pdu import SubmitSm
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.smtp.fake_mx import FakeMx

_TOKEN = re.compile(r"token-[a-z]+-\d+")
_CREDITS = 10_000_000
_START_S = 30.0
_DRAIN_S = 120.0


@dataclass
class Tally:
    """What the clients know: tokens by how they ended. `acked` maps a token to the id it was given."""

    sent: set[str] = field(default_factory=set)
    acked: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)


@dataclass
class Report:
    """What the harness found."""

    kills: int = 0
    acknowledged: int = 0
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    refused_but_delivered: list[str] = field(default_factory=list)
    keyed_twice: list[str] = field(default_factory=list)
    duplicates_after_crash: int = 0
    unbalanced: int = 0
    credits_off: int = 0
    not_final: int = 0

    @property
    def holds(self) -> bool:
        """Whether A1 to A4 held."""
        return not (
            self.lost or self.refused_but_delivered or self.keyed_twice or self.unbalanced or self.credits_off
        )


class Daemon:
    """The gateway under test, as a child process."""

    def __init__(self, folder: Path, mail_port: int, smsc_port: int) -> None:
        self.folder = folder
        self.smtp_port, self.http_port, self.smpp_port = free_ports(3)
        self.process: asyncio.subprocess.Process | None = None
        self.up = asyncio.Event()
        (folder / "gateway.toml").write_text(
            f"""
            [store]
            lease_s = 3
            [smtp]
            port = {self.smtp_port}
            tls_port = 0
            plain_auth_on_loopback = true
            [http]
            port = {self.http_port}
            rate_per_s = 100000
            [smpp]
            port = {self.smpp_port}
            [metrics]
            enabled = false
            [probe]
            enabled = false
            [log]
            level = "warning"
            [mail.retry]
            first_s = 0.2
            max_s = 1.0
            [sms.retry]
            first_s = 0.2
            max_s = 1.0
            [upstream.sink]
            type = "relay"
            host = "127.0.0.1"
            port = {mail_port}
            tls = "none"
            [upstream.operator]
            type = "smpp"
            host = "127.0.0.1"
            port = {smsc_port}
            system_id = "sandbox"
            password = "sandbox"
            window = 50
            reconnect_min_s = 0.1
            reconnect_max_s = 0.5
            response_timeout_s = 2
            """
        )

    async def cli(self, *arguments: str) -> dict[str, Any]:
        """A command of the gateway; its JSON answer."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, cwd=self.folder, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"gateway {' '.join(arguments)}: exit {process.returncode}")
        answer: dict[str, Any] = json.loads(output) if "--json" in arguments else {}
        return answer

    async def start(self) -> None:
        """Starts the process and waits until it is ready."""
        log = (self.folder / "daemon.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run", cwd=self.folder, stdout=log, stderr=log
        )
        log.close()
        async with asyncio.timeout(_START_S), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1)
                    if answer.status_code == 200:
                        break
                await asyncio.sleep(0.05)
        self.up.set()

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; the exit code."""
        self.up.clear()
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# --- clients -------------------------------------------------------------------------------------------


@dataclass
class Account:
    """The logins of the account under test."""

    key: str
    smtp_user: str
    smtp_password: str
    smpp_system_id: str
    smpp_password: str


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


def http_send(daemon: Daemon, account: Account, path: str, *, keyed: bool) -> Send:
    """A client of the HTTP API."""
    http = httpx.AsyncClient(trust_env=False, timeout=5)

    async def send(token: str) -> str | None:
        await daemon.up.wait()
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


def smtp_send(daemon: Daemon, account: Account) -> Send:  # noqa: C901 - one conversation, told in a row
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
        await daemon.up.wait()
        try:
            if not streams:
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
async def smpp_send(daemon: Daemon, account: Account) -> AsyncIterator[Send]:
    """A client that binds as a transceiver; receipts are acknowledged."""

    async def take(_pdu: object) -> Any:
        return 0

    esme = Esme(
        EsmeConfig(
            host="127.0.0.1",
            port=daemon.smpp_port,
            system_id=account.smpp_system_id,
            password=account.smpp_password,
            reconnect_initial_s=0.1,
            reconnect_max_s=0.3,
            response_timeout_s=5,
        ),
        take,
    )
    running = asyncio.create_task(esme.run())

    async def send(token: str) -> str | None:
        await daemon.up.wait()
        result = await esme.submit(
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
        if result.outcome is SmppOutcome.REFUSED:
            raise Refused(hex(result.command_status))
        await asyncio.sleep(0.05)
        return None

    yield send
    await esme.unbind_and_close(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- the run -------------------------------------------------------------------------------------------


async def make_account(daemon: Daemon) -> Account:
    """The account under test, by the command line as an operator would."""
    await daemon.cli("db", "upgrade")
    await daemon.cli("account", "create", "crash")
    key = await daemon.cli("key", "create", "crash", "--json")
    smtp = await daemon.cli("credential", "create", "crash", "smtp", "--json")
    smpp = await daemon.cli("credential", "create", "crash", "smpp", "--json")
    for product in ("mail", "sms"):
        await daemon.cli("credit", "grant", "crash", product, str(_CREDITS))
    await daemon.cli("domain", "add", "crash", "crash.example")
    await daemon.cli("domain", "approve", "crash", "crash.example")
    await daemon.cli("sendername", "add", "crash", "Crash")
    return Account(key["key"], smtp["username"], smtp["password"], smpp["username"], smpp["password"])


async def run(kills: int, *, seed: int, least_s: float = 0.3, most_s: float = 1.5) -> Report:
    """Kills the daemon `kills` times under load, drains, and reports."""
    rng = random.Random(seed)
    report = Report(kills=kills)
    tally = Tally()
    smsc = Simulator(
        SimulatorConfig(smsc=SmscConfig(port=0, system_id="sandbox"), receipt_delay_s=0.05, memory=5_000_000)
    )
    await smsc.start()
    with tempfile.TemporaryDirectory() as name:
        async with FakeMx.running() as sink:
            daemon = Daemon(Path(name), sink.port, smsc.port)
            account = await make_account(daemon)
            await daemon.start()
            stop = asyncio.Event()
            async with smpp_send(daemon, account) as smpp:
                sends = {
                    "mailkeyed": (http_send(daemon, account, "/v1/mail", keyed=True), True),
                    "mail": (http_send(daemon, account, "/v1/mail", keyed=False), False),
                    "smskeyed": (http_send(daemon, account, "/v1/sms", keyed=True), True),
                    "sms": (http_send(daemon, account, "/v1/sms", keyed=False), False),
                    "smtp": (smtp_send(daemon, account), False),
                    "smpp": (smpp, False),
                }
                clients = [
                    asyncio.create_task(client(name, send, tally, stop, keyed=keyed))
                    for name, (send, keyed) in sends.items()
                ]
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(least_s, most_s))  # the random moment of the kill
                    await daemon.end(signal.SIGKILL)
                    await daemon.start()
                await asyncio.sleep(most_s)
                stop.set()
                await asyncio.gather(*clients)
            await drain(daemon)
            code = await daemon.end(signal.SIGTERM)
            if code != 0:
                raise RuntimeError(f"the daemon ended with {code}")
            texts = [transaction.content.decode() for transaction in sink.transactions]
        texts += [message.text for message in smsc.messages()]
        await smsc.stop()
        judge(report, tally, texts, Path(name) / "var" / "gateway.db")
    return report


async def drain(daemon: Daemon) -> None:
    """Waits until every message is final, with a bound."""
    database = daemon.folder / "var" / "gateway.db"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while _count(database, "SELECT count(*) FROM message WHERE status = 'queued'"):
                await asyncio.sleep(0.2)


def judge(report: Report, tally: Tally, texts: list[str], database: Path) -> None:
    """Compares what clients were told with what arrived and what the books say."""
    arrived = Counter(token for text in texts for token in set(_TOKEN.findall(text)))
    with sqlite3.connect(database) as connection:
        stored = dict(connection.execute("SELECT id, status FROM message WHERE ingress <> 'report'"))
        report.accepted = len(stored)
        debited = connection.execute("SELECT sum(price_credits) FROM message").fetchone()[0] or 0
        left = connection.execute("SELECT sum(remaining) FROM lot").fetchone()[0]
        granted = connection.execute("SELECT sum(granted) FROM lot").fetchone()[0]
        refunded = connection.execute("SELECT sum(refunded_credits) FROM message").fetchone()[0] or 0
        report.credits_off = (granted - left) - (debited - refunded)
        report.unbalanced = connection.execute(
            """SELECT count(*) FROM lot l WHERE l.remaining <>
            (SELECT coalesce(sum(p.credits), 0) FROM posting p WHERE p.lot_id = l.id)"""
        ).fetchone()[0]
        metadata = connection.execute("SELECT metadata FROM message WHERE metadata IS NOT NULL").fetchall()
    report.acknowledged = len(tally.acked)
    report.not_final = sum(status == "queued" for status in stored.values())
    for token, message_id in tally.acked.items():
        if stored.get(message_id) not in {"delivered", "queued"} or (
            stored[message_id] == "delivered" and not arrived[token]
        ):
            report.lost.append(token)
    report.refused_but_delivered = sorted(tally.refused & arrived.keys())
    keyed = Counter(json.loads(text)["key"] for (text,) in metadata)
    report.keyed_twice = [token for token, count in keyed.items() if count > 1]
    report.duplicates_after_crash = sum(count - 1 for count in arrived.values() if count > 1)


def _count(database: Path, sql: str) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def render(report: Report) -> str:
    """The report as lines."""
    return "\n".join(
        (
            f"kills                  {report.kills}",
            f"acknowledged           {report.acknowledged}",
            f"accepted (stored)      {report.accepted}",
            f"lost                   {len(report.lost)} {report.lost[:5]}",
            f"refused but delivered  {len(report.refused_but_delivered)}",
            f"one key, two messages  {len(report.keyed_twice)}",
            f"credits off            {report.credits_off}",
            f"lots out of balance    {report.unbalanced}",
            f"not final yet          {report.not_final}",
            f"delivered twice        {report.duplicates_after_crash} (taken by the other side, not settled)",
        )
    )


def main() -> int:
    """The command line of the harness."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS", "50")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    arguments = parser.parse_args()
    report = asyncio.run(run(arguments.kills, seed=arguments.seed))
    print(render(report))  # noqa: T201 - the report is what the command is for
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
