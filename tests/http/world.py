"""The API on real sockets: a store on disk, a road over fake upstreams, and a client with a key."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from config.schema import Settings
from gateway import verticals
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.clock import Clock, SystemClock
from gateway.credits.service import Credits
from gateway.doors.door import Doors
from gateway.ground import Ground
from gateway.http.wire.server import HttpServer
from gateway.messages.observer import Observer
from gateway.messages.ports import Upstream, Upstreams
from gateway.road import Road
from gateway.sendernames.service import SenderNames
from gateway.store.tx import Tx
from gateway.tls import server_context
from policy.data import shipped_countries
from tests.doors.support import Refusals
from tests.support.fakes import FakeUpstream
from tests.support.services import FakeDns
from tests.world import opened_ground, routed

DOMAIN = "example.org"
SENDER = "ACME"
MAIL = {"from": f"Shop <shop@{DOMAIN}>", "to": "ada@example.net", "subject": "Hello", "text": "Hi"}
SMS = {"from": SENDER, "to": "+41791234567", "text": "Hi"}


@dataclass
class FakeReadiness:
    """Says what a test tells it."""

    states: dict[str, bool] = field(default_factory=lambda: {"store": True})

    async def checks(self) -> Mapping[str, bool]:
        return self.states


@dataclass
class World:
    """Everything that a test of the API may want to touch."""

    settings: Settings
    ground: Ground
    road: Road
    server: HttpServer
    readiness: FakeReadiness
    mail: FakeUpstream
    sms: FakeUpstream
    dns: FakeDns
    account_id: str
    key: str
    other_id: str
    other_key: str
    client: httpx.AsyncClient
    refusals: Refusals

    def client_with(self, key: str | None, **options: Any) -> httpx.AsyncClient:
        """Another client; with None, one without a key."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10, trust_env=False, **options)

    @property
    def url(self) -> str:
        """The API's address."""
        scheme = "https" if self.settings.http.tls else "http"
        return f"{scheme}://127.0.0.1:{self.server.port}"

    async def make_key(self, *scopes: str, account_id: str | None = None) -> str:
        """A new key with these scopes."""
        issued = await self.ground[Credentials].create(
            account_id or self.account_id, CredentialKind.API, scopes=scopes or ("*",)
        )
        return issued.secret

    async def balance(self, product: str, account_id: str | None = None) -> int:
        """What can be spent."""
        return (await self.ground[Credits].balances(account_id or self.account_id))[product]

    async def count(self, table: str) -> int:
        """How many rows a table has."""
        found = await self.ground.store.read(lambda tx: tx.one(f"SELECT count(*) FROM {table}"))
        return int(found[0]) if found else 0

    async def settled(self, message_id: str, status: str = "delivered") -> dict[str, Any]:
        """The message over the API, once it has this status, within ten seconds."""
        async with asyncio.timeout(10):
            while (found := (await self.client.get(f"/v1/messages/{message_id}")).json())["status"] != status:
                await asyncio.sleep(0.005)  # polls a committed state, within the limit above
        return dict(found)


async def pages(api: World, path: str, query: str) -> list[list[str]]:
    """The ids of every page of a list."""
    found: list[list[str]] = []
    cursor = ""
    while True:
        body = (await api.client.get(f"{path}?{query}{cursor}")).json()
        found.append([item.get("id") or item["name"] for item in body["items"]])
        if body["next"] is None:
            return found
        cursor = f"&cursor={quote(body['next'])}"


def make_settings(**sections: Mapping[str, Any]) -> Settings:
    """The defaults on a free port, with the keys of sections changed."""
    base = Settings()
    http = {"port": 0, **sections.pop("http", {})}
    changed = {name: replace(getattr(base, name), **keys) for name, keys in sections.items()}
    return replace(base, http=replace(base.http, **http), **changed)


@asynccontextmanager
async def world(
    folder: Path,
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    credits: int = 100,
    upstreams: Sequence[Upstream] = (),
    verify: Any = True,
) -> AsyncIterator[World]:
    """The API, started. Two accounts: the client's, with `credits` of each kind, and another."""
    mail, sms = FakeUpstream("mail"), FakeUpstream("sms", recipients_per_work=1)
    settings = routed(settings or make_settings(), mail="mail", sms="sms")
    dns, readiness, refusals = FakeDns(), FakeReadiness(), Refusals()
    async with opened_ground(folder, settings, clock or SystemClock(), dns=dns, exclusive=True) as ground:
        ways_out = Upstreams({one.name: one for one in (mail, sms, *upstreams)})
        road = Road(ground, ways_out, countries=shipped_countries(), observer=Observer())
        road.offer(ground)
        server = HttpServer(
            verticals.api(ground, readiness),
            settings.http,
            Doors(settings, refusals, ground.clock).http(),
            tls_context=server_context(settings.tls, now=datetime.now(UTC)) if settings.http.tls else None,
        )
        account_id, key = await _account(ground, "Ada", credits)
        other_id, other_key = await _account(ground, "Grace", credits)
        await road.start()
        await server.start()
        made = World(
            settings=settings,
            ground=ground,
            road=road,
            server=server,
            readiness=readiness,
            mail=mail,
            sms=sms,
            dns=dns,
            account_id=account_id,
            key=key,
            other_id=other_id,
            other_key=other_key,
            client=httpx.AsyncClient(),
            refusals=refusals,
        )
        made.client = made.client_with(key, verify=verify)
        try:
            yield made
        finally:
            await made.client.aclose()
            await server.stop(5.0)
            await road.stop(5.0)


async def _account(ground: Ground, name: str, credits: int) -> tuple[str, str]:
    account = await ground[Accounts].create(name, f"{name.lower()}@example.com")
    issued = await ground[Credentials].create(account.id, CredentialKind.API)

    def verified_domain(tx: Tx) -> None:
        tx.run(
            "INSERT INTO domain (account_id, name, status, created_ms, verified_ms) VALUES (?, ?, ?, 0, 0)",
            (account.id, DOMAIN if name == "Ada" else f"{name.lower()}.example", "verified"),
        )

    await ground.caches.write(verified_domain)
    await ground[SenderNames].approve(account.id, SENDER)
    for product in ("mail", "sms"):
        if credits:
            await ground[Credits].grant(account.id, product, credits)
    return account.id, issued.secret
