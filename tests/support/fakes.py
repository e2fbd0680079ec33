"""Fakes of the ports: ordinary classes that a test steers by hand."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from gateway.messages.model import Delivered, Outcome, Work
from gateway.messages.ports import Links
from smpp import text


class FakeClock:
    """Time that moves only when told."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.time_ms = now_ms
        self.started_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_s(self) -> float:
        return (self.time_ms - self.started_ms) / 1000

    def advance(self, seconds: float) -> None:
        """Moves both clocks on."""
        self.time_ms += int(seconds * 1000)


Answer = Callable[[Work, int], Sequence[Outcome]]


def deliver_all(work: Work, _attempt: int) -> Sequence[Outcome]:
    """Every recipient is delivered."""
    return [Delivered(reply="250 2.0.0 Ok")] * len(work.deliveries)


class FakeUpstream:
    """An upstream that remembers its works and answers as told; `gate` holds attempts back while cleared."""

    names = True
    serving = True

    def __init__(
        self,
        name: str = "fake",
        *,
        answer: Answer = deliver_all,
        concurrency: int = 4,
        recipients_per_work: int = 100,
        per_domain: bool = False,
    ) -> None:
        self.name = name
        self.answer = answer
        self.concurrency = concurrency
        self.recipients_per_work = recipients_per_work
        self.per_domain = per_domain
        self.works: list[Work] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0
        self.arrived = asyncio.Condition()

    def destination(self, address: str) -> str:
        return f"{self.name}/{address.rpartition('@')[2]}" if self.per_domain else self.name

    def segments(self, message_text: str) -> int:
        return text.segments(message_text)

    async def start(self, links: Links) -> None:
        return

    def withdraw(self) -> None:
        return

    async def stop(self, drain_s: float) -> None:
        self.gate.set()

    async def deliver(self, work: Work) -> Sequence[Outcome]:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            async with self.arrived:
                self.works.append(work)
                attempt = len(self.works)
                self.arrived.notify_all()
            await self.gate.wait()
            return self.answer(work, attempt)
        finally:
            self.under_way -= 1

    async def wait_for(self, works: int) -> None:
        """Returns when so many works have come in, within ten seconds."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: len(self.works) >= works)


class FakeDirectory:
    """Sender domains and names that a test allows."""

    def __init__(self, domains: Collection[str] = (), names: Collection[str] = ()) -> None:
        self.domains = set(domains)
        self.names = frozenset(names)

    def peek_allowed(self, account_id: str, domain: str) -> bool:
        return domain in self.domains

    async def allowed(self, account_id: str, domain: str) -> bool:
        return domain in self.domains

    def peek_approved(self, account_id: str) -> frozenset[str] | None:
        return self.names

    async def approved(self, account_id: str, *, wanted: str | None = None) -> frozenset[str]:
        return self.names
