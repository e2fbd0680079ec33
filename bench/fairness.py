"""One account at every door at once with 100,000 mails queued, beside a quiet one (A5).

The baseline is the same total load, and the same queue, spread over a hundred accounts. The quiet account's
time of acceptance is the figure; `bench.neighbours` is the load.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.backlog import Backlogged, fill
from bench.loads import Accepted, Work, run_client
from bench.servers import CREDITS, SENDER_NAME, Target
from config import load
from gateway import verticals
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.clock import SystemClock
from gateway.credits.service import Credits
from gateway.domains.service import Domains
from gateway.ground import Ground
from gateway.sendernames.service import SenderNames
from gateway.store.store import Store
from gateway.verticals import EVENT_LISTENERS

ACCOUNTS = 100
QUEUED = 100_000
_LOGINS = "neighbours.json"


@dataclass(kw_only=True)
class Neighbours(Backlogged):
    """The gateway with a quiet account and a hundred others; `spread` of these make the noise."""

    spread: int = 1

    def __post_init__(self) -> None:
        self.name = "gateway" if self.spread == 1 else f"gateway, {self.spread} accounts"

    def start(self, folder: Path, sink_port: int) -> Target:
        """As always; the load is told of all logins by a file beside the configuration."""
        target = super().start(folder, sink_port)
        return Target(
            smtp_port=target.smtp_port,
            http_port=target.http_port,
            smpp_port=target.smpp_port,
            logins=str(self.template / _LOGINS),
            spread=self.spread,
        )

    def installed(self, folder: Path) -> Path:  # noqa: ARG002 - the base's
        """The template itself, whose queue stays from run to run."""
        if not self.template.exists():
            self.prepare()
            logins = asyncio.run(_furnish(self.template))
            (self.template / _LOGINS).write_text(json.dumps(logins))
            accounts = [one["account_id"] for one in logins[1 : self.spread + 1]]
            fill(self.template / "var" / "gateway.db", QUEUED, accounts=accounts)
        return self.template

    def _settings(self, ports: Mapping[str, int], sink_port: int) -> str:
        text = super()._settings(ports, sink_port)
        return text.replace("[smtp]\n", "[smtp]\n            plain_auth_on_loopback = true\n", 1)


async def _furnish(folder: Path) -> list[dict[str, str]]:
    """A quiet account and the others: their logins, made as the API and the command line make them."""
    settings = load(folder / "gateway.toml")
    store = Store.open(settings.store.url, listeners=EVENT_LISTENERS)
    ground = verticals.make(settings, store, SystemClock())
    try:
        return [await _account(ground, number) for number in range(ACCOUNTS + 1)]
    finally:
        await ground.caches.close()
        await store.close()


async def _account(ground: Ground, number: int) -> dict[str, str]:
    account = await ground[Accounts].create(f"neighbour-{number}")
    domain, name = f"n{number}.bench.example", f"{SENDER_NAME}{number}"
    for product in ("mail", "sms"):
        await ground[Credits].grant(account.id, product, CREDITS)
    await ground[Domains].add(account.id, domain)
    await ground[Domains].approve(account.id, domain)
    await ground[SenderNames].approve(account.id, name)
    kinds = (CredentialKind.API, CredentialKind.SMTP, CredentialKind.SMPP)
    api, smtp, smpp = [await ground[Credentials].create(account.id, kind) for kind in kinds]
    return {
        "account_id": account.id,
        "domain": domain,
        "sender_name": name,
        "api_key": api.secret,
        "smtp_user": smtp.credential.username,
        "smtp_password": smtp.secret,
        "smpp_system_id": smpp.credential.username,
        "smpp_password": smpp.secret,
    }


@dataclass(frozen=True, slots=True)
class FairnessLoad:
    """The noise and the quiet account; `work.messages` are the quiet account's."""

    def __call__(self, target: Target, work: Work) -> Accepted:
        """Sends so many mails of the quiet account, five a second, beside the noise."""
        options = ["--smtp-port", str(target.smtp_port), "--http-port", str(target.http_port)]
        options += ["--smpp-port", str(target.smpp_port), "--logins", target.logins]
        options += ["--spread", str(target.spread), "--requests", str(work.messages)]
        return run_client("neighbours.py", options)
