"""A whole road in the test's own process, over the upstreams that a configuration names, on a real store.

What the installation of `installation` shows from outside, this shows from inside: memory, lanes, outcomes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config.schema import Settings
from config.sections.messages import Mail, MailRoute, Retry, Sms, SmsRoute
from config.sections.upstreams import Upstream
from gateway.accounts.service import Accounts
from gateway.clock import Clock, SystemClock
from gateway.credits.service import Credits
from gateway.domains.service import Domains
from gateway.ground import Ground
from gateway.messages import query
from gateway.messages.model import Message, Verdict
from gateway.messages.query import MessageView
from gateway.messages.shape.mail import MailSubmission
from gateway.messages.shape.sms import SmsSubmission
from gateway.observe.metrics import Metrics
from gateway.observe.observer import MetricsObserver
from gateway.road import Road
from gateway.road import build as build_road
from gateway.sendernames.service import SenderNames
from gateway.store.tx import Tx
from policy.data import shipped_countries
from tests.faults.installation import DOMAIN, NAME
from tests.world import opened_ground

CREDITS = 100_000
FINAL = ("delivered", "partly_delivered", "failed", "cancelled")
QUICK = Retry(first_s=0.2, max_s=0.5, jitter=0.0)

_BOOKS = """
SELECT (SELECT coalesce(sum(granted - remaining), 0) FROM lot),
  (SELECT coalesce(sum(price_credits - refunded_credits), 0) FROM message)
"""


@dataclass
class World:
    """One account's way through one road."""

    settings: Settings
    ground: Ground
    road: Road
    account_id: str
    clock: Clock
    most_in_memory: int = 0

    async def mail(self, *recipients: str, count: int = 1, send_at_ms: int | None = None) -> list[str]:
        """Hands in `count` mails; their ids."""
        return await self._accept([await self._shaped_mail(recipients, send_at_ms) for _ in range(count)])

    async def sms(self, recipient: str, *, count: int = 1, text: str = "Hello") -> list[str]:
        """Hands in `count` SMS; their ids."""
        now_ms = self.clock.now_ms()
        submission = SmsSubmission(
            account_id=self.account_id, ingress="test", source=NAME, recipients=(recipient,), text=text
        )
        return await self._accept(
            [await self.road.sms.shape(submission, now_ms=now_ms) for _ in range(count)]
        )

    async def view(self, message_id: str) -> MessageView:
        """The message as its account sees it."""
        now_ms = self.clock.now_ms()
        found = await self.ground.store.read(
            lambda tx: query.find(tx, self.account_id, message_id, now_ms=now_ms)
        )
        assert found is not None
        return found

    async def settled(self, ids: Sequence[str], *statuses: str, within_s: float = 15.0) -> list[MessageView]:
        """The messages once the status of each is one of `statuses` (default: final)."""
        views = []
        async with asyncio.timeout(within_s):
            for message_id in ids:
                while (view := await self.view(message_id)).status not in (statuses or FINAL):
                    await asyncio.sleep(0.01)
                views.append(view)
        return views

    async def events(self, message_id: str) -> list[str]:
        """The kinds of the message's events, in order."""
        sql = "SELECT kind FROM event WHERE account_id = ? AND message_id = ? ORDER BY id"
        key = (self.account_id, message_id)
        return [row[0] for row in await self.ground.store.read(lambda tx: tx.rows(sql, key))]

    async def until_event(self, message_id: str, kind: str, *, times: int = 1) -> None:
        """Returns when the message has had this event so many times."""
        async with asyncio.timeout(15):
            while (await self.events(message_id)).count(kind) < times:
                await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[], bool], *, within_s: float = 15.0) -> None:
        """Returns once `condition()` holds."""
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.01)

    async def _shaped_mail(
        self, recipients: Sequence[str], send_at_ms: int | None = None
    ) -> Message | Verdict:
        submission = MailSubmission(
            account_id=self.account_id,
            ingress="test",
            mail_from=f"a@{DOMAIN}",
            recipients=recipients,
            content=f"From: a@{DOMAIN}\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\nBody\r\n".encode(),
            protocol="ESMTPA",
            peer="127.0.0.1",
            send_at_ms=send_at_ms,
        )
        return (await self.road.mail.shape(submission, now_ms=self.clock.now_ms())).slot

    async def _accept(self, slots: Sequence[Message | Verdict]) -> list[str]:
        verdicts = await self.road.acceptor.accept(self.account_id, slots)
        self.most_in_memory = max(self.most_in_memory, self.road.dispatcher.lanes.deliveries)
        ids = [verdict.id for verdict in verdicts if verdict.id is not None]
        assert len(ids) == len(slots), verdicts
        return ids


def settings_for(
    mail: dict[str, Upstream] | None = None, sms: dict[str, Upstream] | None = None, **changes: Any
) -> Settings:
    """Settings with an upstream for each domain of `mail` and each prefix of `sms`; retries are quick."""
    mail, sms = mail or {}, sms or {}
    mail_names = {match: f"mail{number}" for number, match in enumerate(mail)}
    sms_names = {match: f"sms{number}" for number, match in enumerate(sms)}
    settings = Settings(
        upstream={
            **{mail_names[match]: upstream for match, upstream in mail.items()},
            **{sms_names[match]: upstream for match, upstream in sms.items()},
        },
        mail=Mail(
            route=tuple(MailRoute(match=match, upstream=name) for match, name in mail_names.items()),
            retry=QUICK,
        ),
        sms=Sms(
            route=tuple(SmsRoute(match=match, upstream=name) for match, name in sms_names.items()),
            retry=QUICK,
        ),
    )
    return replace(settings, **changes)


@asynccontextmanager
async def world(
    folder: Path,
    settings: Settings,
    *,
    clock: Clock | None = None,
    shared: bool = False,
    beside: World | None = None,
) -> AsyncIterator[World]:
    """A running road with one account; at the end the books must balance.

    `shared`: as one of several processes on the database; `beside` another one it has that one's account.
    """
    async with opened_ground(folder, settings, clock or SystemClock(), exclusive=not shared) as ground:
        road = build_road(ground, shipped_countries(), MetricsObserver(Metrics()))
        try:
            account_id = await _furnish(ground) if beside is None else beside.account_id
            await road.start()
            yield World(settings, ground, road, account_id, ground.clock)
        finally:
            started_s = time.monotonic()
            await road.stop(1.0)
            assert time.monotonic() - started_s < 10, "the road stops in time, whatever the other side does"
            trouble = await ground.store.read(_books)
        assert trouble == []


async def _furnish(ground: Ground) -> str:
    """Makes the account; its id."""
    account = await ground[Accounts].create("faults")
    for product in ("mail", "sms"):
        await ground[Credits].grant(account.id, product, CREDITS)
    await ground[Domains].add(account.id, DOMAIN)
    await ground[Domains].approve(account.id, DOMAIN)
    await ground[SenderNames].approve(account.id, NAME)
    return account.id


def _books(tx: Tx) -> list[str]:
    row = tx.one(_BOOKS)
    assert row is not None
    spent, price = row
    return [] if spent == price else [f"{price} credits' worth accepted, {spent} debited"]
