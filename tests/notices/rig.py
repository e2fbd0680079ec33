"""A road whose accounts are told things: what the tests of notices share."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config.schema import Settings
from gateway.messages.notices import Notices
from gateway.verticals import NOTICE_KINDS
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, Rig, rig

AUTHOR = "Gateway <notices@gateway.example>"
_ACCOUNT = """
INSERT INTO account (id, name, status, email, language, created_ms) VALUES (?, 'Shop', ?, ?, ?, 0)
"""
_MESSAGES = """
SELECT account_id, id, price_credits, status FROM message WHERE ingress = 'notice' ORDER BY id
"""


def settings(*, author: str = AUTHOR, low: int = 10, language: Any = "en") -> Settings:
    """The defaults, with a sender of notices and a limit below which a balance is low."""
    defaults = Settings()
    return replace(
        defaults,
        credits=replace(defaults.credits, low_balance_threshold=low),
        notices=replace(defaults.notices, from_=author, language=language),
    )


@dataclass
class Told:
    """The road, the clock, and what was delivered over it."""

    road: Rig
    clock: FakeClock
    upstream: FakeUpstream

    def notices(self) -> Notices:
        """What sends, as the daemon makes it."""
        one = self.road
        return Notices(
            one.settings,
            store=one.store,
            clock=one.clock,
            kinds=NOTICE_KINDS,
            router=one.road.router,
            sent=one.road.bell.ring,
        )

    async def account(
        self,
        account_id: str = ACCOUNT,
        *,
        email: str | None = "owner@example.net",
        language: str | None = None,
        status: str = "active",
    ) -> None:
        """An account to tell something."""
        await self.road.store.write(lambda tx: tx.run(_ACCOUNT, (account_id, status, email, language)))

    async def rows(self, columns: str = "sent_ms, message_id, note") -> list[tuple[Any, ...]]:
        """Columns of all notices, in the order in which they were queued."""
        sql = f"SELECT {columns} FROM notice ORDER BY id"
        return await self.road.store.read(lambda tx: tx.rows(sql))

    async def messages(self) -> list[tuple[Any, ...]]:
        """The messages that tell notices: account, id, price, status."""
        return await self.road.store.read(lambda tx: tx.rows(_MESSAGES))

    def arrived(self) -> Sequence[bytes]:
        """The contents of the notices that the upstream got."""
        return [work.message.content for work in self.upstream.works if work.message.ingress == "notice"]


@asynccontextmanager
async def told(folder: Path, given: Settings | None = None, *, mail_credits: int = 12) -> AsyncIterator[Told]:
    """A road over a fake upstream."""
    clock, upstream = FakeClock(), FakeUpstream()
    async with rig(
        folder, [upstream], settings=given or settings(), clock=clock, mail_credits=mail_credits
    ) as one:
        yield Told(one, clock, upstream)
