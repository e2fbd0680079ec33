"""One installation under test: an account, a daemon in a process of its own, and the sinks that outlive it.

The account is made through the ground, before the daemon starts. Mail goes to a `FakeMx`, SMS to the
simulator; both live in the test's process and remember what arrived.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.ports import free_port
from config import load
from gateway import verticals
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.clock import SystemClock
from gateway.credits.service import Credits
from gateway.domains.service import Domains
from gateway.sendernames.service import SenderNames
from gateway.store.store import Store
from gateway.verticals import EVENT_LISTENERS
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.installation_toml import installation_toml
from tests.smtp.fake_mx import FakeMx

CREDITS = 10_000_000
DOMAIN = "faults.example"
NAME = "Faults"
_START_S = 40.0
_STOP_S = 60.0
_SERVER = "[server]\ndrain_s = 5\n"


@dataclass(frozen=True, slots=True)
class Logins:
    """What opens the doors of the account under test."""

    account_id: str
    key: str
    smtp_user: str
    smtp_password: str
    smpp_system_id: str
    smpp_password: str


class Installation:
    """The configuration in `folder` and the daemon that runs on it."""

    def __init__(
        self, folder: Path, sink: FakeMx, smsc: Simulator, *, url: str = "sqlite:var/gateway.db"
    ) -> None:
        self.folder = folder
        self.sink = sink
        self.smsc = smsc
        self.smtp_port, self.http_port, self.smpp_port = (free_port() for _ in range(3))
        self.config = folder / "gateway.toml"
        self.config.write_text(
            _SERVER
            + installation_toml(
                store_url=url,
                smtp_port=self.smtp_port,
                http_port=self.http_port,
                smpp_port=self.smpp_port,
                mail_port=sink.port,
                smsc_port=smsc.port,
                response_timeout_s=5,
            )
        )
        self.url = load(self.config).store.url
        self.environment: dict[str, str] = {}
        self.process: asyncio.subprocess.Process | None = None
        self._client = httpx.AsyncClient(trust_env=False, timeout=5)

    async def furnish(self) -> Logins:
        """Makes the database and the account with its logins, credits, domain and name."""
        settings = load(self.config)
        store = Store.open(settings.store.url, upgrade=True, listeners=EVENT_LISTENERS)
        ground = verticals.make(settings, store, SystemClock())
        try:
            account = await ground[Accounts].create("faults")
            issued = [
                await ground[Credentials].create(account.id, kind)
                for kind in (CredentialKind.API, CredentialKind.SMTP, CredentialKind.SMPP)
            ]
            for product in ("mail", "sms"):
                await ground[Credits].grant(account.id, product, CREDITS)
            await ground[Domains].add(account.id, DOMAIN)
            await ground[Domains].approve(account.id, DOMAIN)
            await ground[SenderNames].approve(account.id, NAME)
        finally:
            await ground.caches.close()
            await store.close()
        api, smtp, smpp = issued
        return Logins(
            account.id,
            api.secret,
            smtp.credential.username,
            smtp.secret,
            smpp.credential.username,
            smpp.secret,
        )

    async def start(self) -> None:
        """Starts the daemon and waits until it is ready."""
        await self.start_without_waiting()
        await self.until_ready(_START_S)

    async def start_without_waiting(self) -> None:
        """Starts the daemon, and waits until it answers whatever it has to say."""
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                "run",
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(_START_S):
            while not (await self.ready())[0]:
                await asyncio.sleep(0.05)

    async def ready(self) -> tuple[int, Mapping[str, bool]]:
        """What /readyz answers: status and checks; (0, {}) for no answer."""
        try:
            answer = await self._client.get(f"http://127.0.0.1:{self.http_port}/readyz")
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json().get("checks", {})

    async def until_ready(self, within_s: float, *, ready: bool = True) -> None:
        """Returns once /readyz says so (or, with `ready` false, says no)."""
        async with asyncio.timeout(within_s):
            while ((await self.ready())[0] == 200) is not ready:
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        """Ends the daemon politely; its exit code."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_S):
            code = await self.process.wait()
        self.process = None
        return code

    async def close(self) -> None:
        """Kills what still runs."""
        await self._client.aclose()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    @property
    def log(self) -> str:
        """What the daemon logged."""
        return (self.folder / "daemon.log").read_text()

    def texts(self) -> list[str]:
        """Everything that arrived at the sinks."""
        mails = [transaction.content.decode() for transaction in self.sink.transactions]
        return mails + [message.text for message in self.smsc.messages()]


@asynccontextmanager
async def installation(folder: Path, *, url: str = "sqlite:var/gateway.db") -> AsyncIterator[Installation]:
    """An installation that is not yet furnished, with its sinks; everything ends with the block."""
    smsc = Simulator(
        SimulatorConfig(smsc=SmscConfig(port=0, system_id="sandbox"), receipt_delay_s=0.05, memory=100_000)
    )
    await smsc.start()
    try:
        async with FakeMx.running() as sink:
            one = Installation(folder, sink, smsc, url=url)
            try:
                yield one
            finally:
                await one.close()
    finally:
        await smsc.stop()
