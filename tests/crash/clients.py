"""The clients of the crash harness: what they send, when they ask again, and what they write down.

A client that gets no answer goes to whichever daemon is up; a keyed one asks again under the same key until
it has an answer. Each rests a moment between two messages, so that the far ends keep up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.crash.fates import ALL, Counts, Fates
from tests.crash.http_clients import HttpClient
from tests.crash.plans import Plan, Plans
from tests.crash.tally import Refused, Sent
from tests.crash.world import POOR, RICH, World

Client = Coroutine[Any, Any, None]
Send = Callable[[Sent], Awaitable[str | None]]
"""Hands in one message: its id, None without an answer. Raises Refused."""
_CANCEL_TRIES = 200


class Clients:
    """All clients of a run. `rest_s` is the longest rest between two messages of one client, drawn
    from `fates`.
    """

    def __init__(self, world: World, *, rest_s: float, fates: Fates = ALL) -> None:
        self.tally = world.tally
        self._world = world
        self._rng = world.setting.rng("rests")
        self._rest_s = rest_s
        self._fates = fates
        self._counts: Counts = {}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """No new messages; who waits for an answer under a key gets it first."""
        self._stop.set()

    def rich(self) -> list[Client]:
        """The clients of an account that has credits for all it wants."""
        world = self._world
        mail_keyed, mail, smtp, batch, later, slow = (
            self._plans(name, RICH) for name in ("mailkeyed", "mail", "smtp", "batch", "later", "slow")
        )
        sms_keyed, sms, smpp = (self._plans(name, RICH) for name in ("smskeyed", "sms", "smpp"))
        clients = [
            self._one_by_one(lambda: mail_keyed.mail(keyed=True), world.http(RICH).send),
            self._one_by_one(mail.mail, world.http(RICH).send),
            self._one_by_one(lambda: smtp.mail(notify=True), world.smtp(RICH).send),
            self._one_by_one(lambda: sms_keyed.sms(keyed=True), world.http(RICH).send),
            self._one_by_one(sms.sms, world.http(RICH).send),
            self._one_by_one(smpp.single_sms, world.smpp.send),
            self._batches(batch, world.http(RICH)),
            self._cancelling(later.scheduled, world.http(RICH)),
        ]
        if self._fates.slow:
            clients.append(self._cancelling(slow.slow, world.http(RICH), rest_times=10))
        return clients

    def poor(self) -> list[Client]:
        """The clients of an account whose credits run out again and again."""
        world = self._world
        mail, sms, batch = (self._plans(name, POOR) for name in ("poormail", "poorsms", "poorbatch"))
        return [
            self._one_by_one(lambda: mail.mail(keyed=True), world.http(POOR).send),
            self._one_by_one(lambda: sms.sms(keyed=True), world.http(POOR).send),
            self._batches(batch, world.http(POOR)),
        ]

    def _plans(self, name: str, account: str) -> Plans:
        return Plans(name, account, self._fates, self._world.setting.rng(name), self._counts)

    async def _rest(self, times: float = 1.0) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._rest_s) * times)

    async def _one_by_one(self, plan: Plan, send: Send) -> None:
        while not self._stop.is_set():
            await self._send(plan(), send)
            await self._rest()

    async def _send(self, sent: Sent, send: Send) -> str | None:
        """Sends one; a keyed one until there is an answer."""
        tally = self.tally
        tally.sent[sent.token] = sent
        while True:
            try:
                message_id = await send(sent)
            except Refused as refused:
                tally.refused[sent.token] = str(refused)
                return None
            if message_id is not None:
                tally.acked[sent.token] = message_id
                return message_id
            if not sent.keyed:
                tally.unanswered.add(sent.token)
                return None
            tally.again.add(sent.token)
            await asyncio.sleep(0.05)

    async def _batches(self, plans: Plans, http: HttpClient) -> None:
        while not self._stop.is_set():
            batch = plans.batch()
            self.tally.sent.update((one.token, one) for one in batch)
            while (answers := await http.send_batch(batch)) is None:
                self.tally.again.update(one.token for one in batch)
                await asyncio.sleep(0.05)
            for one, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Refused):
                    self.tally.refused[one.token] = str(answer)
                else:
                    self.tally.acked[one.token] = answer
            await self._rest(4)

    async def _cancelling(self, plan: Plan, http: HttpClient, *, rest_times: float = 4.0) -> None:
        """Sends, and calls half of it back a little later."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stop.is_set():
                message_id = await self._send(sent := plan(), http.send)
                if message_id is not None and self._rng.random() < 0.5:
                    delay_s = self._rng.uniform(0, sent.delay_s or 1.0)
                    tasks.create_task(self._cancel(sent, message_id, http, delay_s))
                await self._rest(rest_times)

    async def _cancel(self, sent: Sent, message_id: str, http: HttpClient, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        for _ in range(_CANCEL_TRIES):
            granted = await http.cancel(message_id)
            if granted is not None:
                self.tally.cancelled[sent.token] = granted
                return
            await asyncio.sleep(0.05)
