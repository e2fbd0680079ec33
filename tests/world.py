"""What tests of the gateway stand on: the ground of all verticals on a temporary database, and a road on it.

It is put together as the daemon does it (`gateway.verticals.make`, `gateway.road.Road`), with a clock, DNS
and upstreams of the test's own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from config.schema import Settings
from gateway import verticals
from gateway.accounts.known import LoginKey
from gateway.cli.db import upgrade_to_head
from gateway.clock import Clock
from gateway.credits.service import Credits
from gateway.dns import Dns
from gateway.ground import Ground
from gateway.ids import IdFactory
from gateway.messages import query
from gateway.messages.model import Message, Verdict
from gateway.messages.observer import Observer
from gateway.messages.ports import Upstream, Upstreams
from gateway.messages.query import MessageView
from gateway.messages.shape.mail import MailSubmission
from gateway.messages.shape.sms import SmsSubmission
from gateway.road import Road
from gateway.store.cache import POLL_S, Caches
from gateway.store.store import Store
from gateway.verticals import EVENT_LISTENERS
from policy.data import shipped_countries
from tests.support.databases import database_url
from tests.support.fakes import FakeClock, FakeDirectory

ACCOUNT = "0" * 26
OTHER_ACCOUNT = "1" * 26
MAIL = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\nBody\r\n"


@dataclass
class Rig:
    """One road with everything around it that a test may want to touch."""

    settings: Settings
    store: Store
    road: Road
    credits: Credits
    clock: Clock
    ids: IdFactory
    directory: FakeDirectory

    async def mail(self, *recipients: str, content: bytes = MAIL, **fields: object) -> Message | Verdict:
        """A shaped mail, not yet accepted."""
        submission = MailSubmission(
            account_id=ACCOUNT,
            ingress="test",
            mail_from="a@example.org",
            recipients=recipients or ("b@example.net",),
            content=content,
            protocol="ESMTPA",
            peer="127.0.0.1",
        )
        submission = msgspec.structs.replace(submission, **fields)
        return (await self.road.mail.shape(submission, now_ms=self.clock.now_ms())).slot

    async def sms(self, *recipients: str, text: str = "Hi", **fields: object) -> Message | Verdict:
        """A shaped SMS, not yet accepted."""
        submission = SmsSubmission(
            account_id=ACCOUNT,
            ingress="test",
            source="Acme",
            recipients=recipients or ("+41791234567",),
            text=text,
        )
        submission = msgspec.structs.replace(submission, **fields)
        return await self.road.sms.shape(submission, now_ms=self.clock.now_ms())

    async def send_mail(self, *recipients: str, **fields: object) -> Verdict:
        """Shapes and accepts a mail; its verdict."""
        slot = await self.mail(*recipients, **fields)  # type: ignore[arg-type]  # passed through by name
        return (await self.road.acceptor.accept(ACCOUNT, [slot]))[0]

    async def send_sms(self, *recipients: str, **fields: object) -> Verdict:
        """Shapes and accepts an SMS; its verdict."""
        slot = await self.sms(*recipients, **fields)  # type: ignore[arg-type]  # passed through by name
        return (await self.road.acceptor.accept(ACCOUNT, [slot]))[0]

    async def view(self, message_id: str, account_id: str = ACCOUNT) -> MessageView:
        """The message as its account sees it."""
        now_ms = self.clock.now_ms()
        found = await self.store.read(lambda tx: query.find(tx, account_id, message_id, now_ms=now_ms))
        assert found is not None
        return found

    async def settled(self, message_id: str, *statuses: str) -> MessageView:
        """The message once its status is one of `statuses` (default: final), within ten seconds."""
        wanted = statuses or ("delivered", "partly_delivered", "failed", "cancelled")
        async with asyncio.timeout(10):
            while (view := await self.view(message_id)).status not in wanted:
                await asyncio.sleep(0.005)  # polls a committed state; bounded by the timeout above
        return view

    async def balance(self, product: str = "mail", account_id: str = ACCOUNT) -> int:
        """What the account can spend."""
        return (await self.credits.balances(account_id))[product]


@asynccontextmanager
async def opened_ground(
    folder: Path,
    settings: Settings,
    clock: Clock,
    *,
    dns: Dns | None = None,
    login_key: bytes | None = None,
    exclusive: bool = False,
    poll_s: float = POLL_S,
) -> AsyncIterator[Ground]:
    """The services on `folder`'s database; opened twice they are two processes on it, unless `exclusive`.

    With the `login_key` of an earlier one it is the same machine after a restart. At the end every credit
    must be where the ledger says.
    """
    url = database_url(folder)
    path = folder / "gateway.db"
    if url.endswith(str(path)) and not path.exists():
        path.write_bytes(empty_database())
    store = Store.open(url, upgrade=True, exclusive=exclusive, listeners=EVENT_LISTENERS)
    ground = verticals.make(
        settings,
        store,
        clock,
        dns=dns,
        login_key=None if login_key is None else LoginKey(login_key),
        caches=Caches(store, poll_s=poll_s),
    )
    try:
        yield ground
    finally:
        await ground[Credits].stop()
        assert await ground[Credits].unbalanced() == []
        await ground.caches.close()
        await store.close()


@asynccontextmanager
async def rig(
    folder: Path,
    upstreams: Sequence[Upstream],
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    mail_credits: int = 100,
    sms_credits: int = 100,
    observer: Observer | None = None,
    start: bool = True,
    shared: bool = False,
    change: Callable[[Rig], None] = lambda _rig: None,
) -> AsyncIterator[Rig]:
    """A road over `upstreams`: the first serves mail, the last SMS. `shared`: one of several processes'."""
    settings = routed(settings or make_settings(), mail=upstreams[0].name, sms=upstreams[-1].name)
    async with opened_ground(folder, settings, clock or FakeClock(), exclusive=not shared) as ground:
        directory = FakeDirectory({"example.org"}, {"Acme"})
        road = Road(
            ground,
            Upstreams({upstream.name: upstream for upstream in upstreams}),
            countries=shipped_countries(),
            observer=observer or Observer(),
            domains=directory,
            sender_names=directory,
        )
        credits = ground[Credits]
        for product, amount in (("mail", mail_credits), ("sms", sms_credits)):
            if amount:
                await credits.grant(ACCOUNT, product, amount)
        one = Rig(settings, ground.store, road, credits, ground.clock, ground.ids, directory)
        change(one)
        if start:
            await road.start()
        try:
            yield one
        finally:
            await road.stop(5.0)


def make_settings() -> Settings:
    """The defaults."""
    return Settings()


def routed(settings: Settings, *, mail: str, sms: str) -> Settings:
    """The settings with all mail to one upstream, and all SMS to another."""
    return replace(
        settings,
        mail=replace(settings.mail, route=(replace(settings.mail.route[0], upstream=mail),)),
        sms=replace(settings.sms, route=(replace(settings.sms.route[0], upstream=sms),)),
    )


@cache
def empty_database() -> bytes:
    """A SQLite database without rows at the newest version; made once, since migrating takes its time."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.db"
        upgrade_to_head(path, busy_timeout_s=5)
        return path.read_bytes()
