"""The services of an account's own things, with a clock that tests move and DNS that they fill."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from config.schema import Settings
from config.sections.limits import Limits
from config.sections.messages import Mail
from gateway.accounts.auth import Authenticator
from gateway.accounts.credentials import Credentials
from gateway.accounts.service import Account, Accounts
from gateway.dns import DnsUnavailableError
from gateway.domains.service import Domain, Domains
from gateway.domains.signers import Signers
from gateway.domains.spf import judge_spf
from gateway.jobs.loop import Job, Loop
from gateway.sendernames.service import SenderNames
from gateway.store.cache import Caches
from gateway.store.store import Store
from gateway.store.tx import Tx
from smtp.resolver import LookupFailedError
from smtp.spf import SpfVerdict
from tests.support.fakes import FakeClock
from tests.world import opened_ground

_POLL_S = 0.02  # as a daemon does it, and faster
EGRESS = ("192.0.2.10", "2001:db8::10")


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Asks until the answer is yes; for what another task brings about in its own time."""
    async with asyncio.timeout(5):
        while True:
            if await check():
                return
            await asyncio.sleep(0.002)


class FakeDns:
    """DNS from dictionaries; a name in `silent` never answers."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.hosts: dict[str, list[tuple[int, str]]] = {}
        self.found: dict[str, list[list[str]]] = {}
        self.silent: set[str] = set()
        self.asked: list[str] = []

    async def txt(self, name: str) -> list[str]:
        self._check(name)
        return self.texts.get(name, [])

    async def mx(self, name: str) -> list[tuple[int, str]]:
        self._check(name)
        return self.hosts.get(name, [])

    async def addresses(self, name: str) -> list[str]:
        """The first of the answers prepared for `name`; the last one stays."""
        self._check(name)
        answers = self.found.get(name, [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _check(self, name: str) -> None:
        self.asked.append(name)
        if name in self.silent:
            raise DnsUnavailableError(f"{name}: time-out")


@dataclass(frozen=True)
class TxtRecord:
    """What dnspython gives for a TXT record, as far as pyspf looks at it."""

    strings: tuple[bytes, ...]


class FakeSpf:
    """pyspf over the TXT records of a `FakeDns`."""

    def __init__(self, dns: FakeDns) -> None:
        self._dns = dns

    async def __call__(self, domain: str, egress_ips: Sequence[str]) -> SpfVerdict:
        return await judge_spf(domain, egress_ips, self._look_up)

    def _look_up(self, name: str, kind: str) -> list[object]:
        if name in self._dns.silent:
            raise LookupFailedError("time-out")
        return [TxtRecord((text.encode(),)) for text in self._dns.texts.get(name, []) if kind == "TXT"]


class CountingStore:
    """Counts the reads of a store, to prove that a hit makes none."""

    def __init__(self, store: Store) -> None:
        self._read = store.read
        self.reads = 0
        store.read = self.read  # type: ignore[method-assign, assignment]  # a spy on one instance

    async def read(self, function: object) -> object:
        self.reads += 1
        return await self._read(function)  # type: ignore[arg-type]  # passed through


@dataclass
class Services:
    """One process's services on one database."""

    store: Store
    caches: Caches
    clock: FakeClock
    settings: Settings
    accounts: Accounts
    credentials: Credentials
    auth: Authenticator
    domains: Domains
    signers: Signers
    sendernames: SenderNames
    dns: FakeDns

    async def account(self, name: str = "Ada") -> Account:
        return await self.accounts.create(name, "ada@example.org")

    async def events(self, account_id: str) -> list[tuple[str, str | None]]:
        """The kinds and details of the account's events, in order."""

        def select(tx: Tx) -> list[tuple[str, str | None]]:
            sql = "SELECT kind, detail FROM event WHERE account_id = ? ORDER BY id"
            return [(row[0], row[1]) for row in tx.rows(sql, (account_id,))]

        return await self.store.read(select)


def publish(rig: Services, domain: Domain) -> None:
    """The owner of the domain publishes the records of its keys that are not retired."""
    for key in domain.keys:
        if key.state in {"new", "active"}:
            rig.dns.texts[key.record.name] = [key.record.value]


@asynccontextmanager
async def services(
    folder: Path,
    *,
    limits: Limits | None = None,
    mail: Mail | None = None,
    login_key: bytes | None = None,
    random_below: Callable[[int], int] = lambda _: 0,
) -> AsyncIterator[Services]:
    """Services on `folder`'s database; opened twice they are two processes on one database.

    With the `login_key` of an earlier one it is the same machine after a restart.
    """
    settings = Settings(
        limits=limits or Limits(),
        mail=mail or replace(Settings().mail, egress_ips=EGRESS),
    )
    clock, dns = FakeClock(), FakeDns()
    async with opened_ground(folder, settings, clock, dns=dns, login_key=login_key, poll_s=_POLL_S) as ground:
        yield Services(
            store=ground.store,
            caches=ground.caches,
            clock=clock,
            settings=settings,
            accounts=ground[Accounts],
            credentials=ground[Credentials],
            auth=ground[Authenticator],
            domains=Domains(
                ground.caches, clock, settings.mail, dns=dns, spf=FakeSpf(dns), random_below=random_below
            ),
            signers=ground[Signers],
            sendernames=ground[SenderNames],
            dns=dns,
        )


def polling(caches: Caches) -> Loop:
    """The daemon's watch over changes of other processes."""
    return Loop(Job(name="caches", work=caches.poll, every_s=caches.poll_s))
