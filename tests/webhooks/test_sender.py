"""The sender over real sockets: signed, retried, fair, and nothing lost over a restart."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.typing import EventDict

from config.sections.webhooks import Webhooks as Settings
from gateway.ids import IdFactory
from gateway.store.tx import Tx
from gateway.verticals import EVENT_KINDS
from gateway.webhooks import outbox, queue
from gateway.webhooks.post import Poster
from gateway.webhooks.queue import START, Places
from gateway.webhooks.sender import WebhookSender
from gateway.webhooks.service import Issued, WebhookDelivery, Webhooks, WebhookStatus
from tests.support.receiver import OK, Receiver, Request, answer, receiver
from tests.support.services import Services, eventually, services

SETTINGS = Settings(allow_private_targets=True, timeout_s=5.0, retry_first_s=10.0, retry_max_s=100.0)


def hooks_of(rig: Services, settings: Settings = SETTINGS) -> Webhooks:
    return Webhooks(rig.caches, rig.clock, IdFactory(), settings, EVENT_KINDS)


@asynccontextmanager
async def sending(rig: Services, settings: Settings = SETTINGS) -> AsyncIterator[WebhookSender]:
    """A sender at work."""
    poster = Poster(
        rig.dns.addresses, timeout_s=settings.timeout_s, allow_private=settings.allow_private_targets
    )
    sender = WebhookSender(rig.caches, rig.clock, settings, poster, poll_s=0.01, jitter=lambda: 0.5)
    await sender.start()
    try:
        yield sender
    finally:
        await sender.stop(0)


async def hook_to(rig: Services, target: Receiver, account_id: str | None = None) -> Issued:
    owner = account_id or (await rig.account()).id
    return await hooks_of(rig).create(owner, target.url)


async def queue_many(rig: Services, issued: Issued, count: int) -> None:
    """So many tests for one webhook, in one transaction."""
    hook = issued.webhook

    def insert(tx: Tx) -> None:
        for number in range(count):
            data = {"number": number}
            outbox.enqueue_one(tx, hook.account_id, hook.id, "webhook.test", data, rig.clock.now_ms())

    await rig.store.write(insert)


async def rows(rig: Services, issued: Issued) -> Sequence[WebhookDelivery]:
    return await hooks_of(rig).deliveries(issued.webhook.account_id, issued.webhook.id, limit=100_000)


async def settled(rig: Services, issued: Issued, status: str) -> bool:
    """Whether all of the webhook's deliveries have this status."""
    return {row.status for row in await rows(rig, issued)} == {status}


async def until(
    rig: Services, issued: Issued, status: str, attempts: int, reply: str | None = None
) -> WebhookDelivery:
    """The webhook's only delivery, once it has come so far (with that reply, where one is given)."""
    async with asyncio.timeout(5):
        while True:
            (row,) = await rows(rig, issued)
            # A try under way has counted its attempt already; its reply tells that it ended.
            ended = row.reply is not None if reply is None else row.reply == reply
            if (row.status, row.attempts) == (status, attempts) and ended:
                return row
            await asyncio.sleep(0.005)


# --- the usual day -------------------------------------------------------------------------------------


async def test_an_event_is_told_and_its_signature_is_right(tmp_path: Path) -> None:
    async with services(tmp_path) as rig, receiver() as target, sending(rig):
        issued = await hook_to(rig, target)
        delivery = await hooks_of(rig).ping(issued.webhook.account_id, issued.webhook.id)
        await target.count(1)
        row = await until(rig, issued, "delivered", 1)
    (request,) = target.requests
    assert request.headers["webhook-id"] == delivery == row.id
    assert request.headers["webhook-timestamp"] == str(rig.clock.now_ms() // 1000)
    assert request.body.decode() == row.body
    key = base64.b64decode(issued.secret.removeprefix("whsec_"))
    signed = f"{delivery}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


async def test_a_failure_is_retried_with_growing_waits_and_the_same_id(tmp_path: Path) -> None:
    async with services(tmp_path) as rig, receiver() as target, sending(rig) as sender:
        issued = await hook_to(rig, target)
        target.answers(answer(500), answer(503, "Retry-After: 60"), OK)
        await hooks_of(rig).ping(issued.webhook.account_id, issued.webhook.id)
        first = await until(rig, issued, "waiting", 1)
        assert (first.reply, first.next_attempt_ms - rig.clock.now_ms()) == ("500", 10_000)
        rig.clock.advance(10)
        sender.wake()
        second = await until(rig, issued, "waiting", 2, "503")
        assert second.next_attempt_ms - rig.clock.now_ms() == 60_000  # asked for; ours would be 20 s
        rig.clock.advance(59)
        sender.wake()
        await sender_idle(rig, sender)
        assert len(target.requests) == 2
        rig.clock.advance(1)
        sender.wake()
        await until(rig, issued, "delivered", 3)
    assert len({request.headers["webhook-id"] for request in target.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in target.requests}) == 3


async def sender_idle(rig: Services, sender: WebhookSender) -> None:
    """Lets the sender look into the outbox at least once more."""
    seen = rig.dns.asked.copy()
    for _ in range(3):
        sender.wake()
        await rig.store.read(lambda tx: None)
        await asyncio.sleep(0.01)
    assert rig.dns.asked == seen


async def test_the_waits_double_up_to_the_limit(tmp_path: Path) -> None:
    async with services(tmp_path) as rig, receiver() as target, sending(rig) as sender:
        issued = await hook_to(rig, target)
        target.answers(*(answer(status) for status in (500, 501, 502, 503, 504, 505)))
        await queue_many(rig, issued, 1)
        waits_s = []
        for attempts in range(1, 7):
            row = await until(rig, issued, "waiting", attempts, str(499 + attempts))
            waits_s.append((row.next_attempt_ms - rig.clock.now_ms()) // 1000)
            rig.clock.advance(waits_s[-1])
            sender.wake()
    assert waits_s == [10, 20, 40, 80, 100, 100]


async def test_after_the_last_attempt_it_has_failed(tmp_path: Path) -> None:
    settings = Settings(allow_private_targets=True, max_attempts=2, retry_first_s=1.0)
    async with services(tmp_path) as rig, receiver() as target, sending(rig, settings) as sender:
        issued = await hook_to(rig, target)
        target.answers(answer(500))
        await hooks_of(rig).ping(issued.webhook.account_id, issued.webhook.id)
        await until(rig, issued, "waiting", 1)
        rig.clock.advance(1)
        sender.wake()
        await until(rig, issued, "failed", 2)


async def test_after_a_day_it_has_failed(tmp_path: Path) -> None:
    settings = Settings(allow_private_targets=True, retry_for_s=100, retry_first_s=60.0)
    async with services(tmp_path) as rig, receiver() as target, sending(rig, settings) as sender:
        issued = await hook_to(rig, target)
        target.answers(answer(500))
        await hooks_of(rig).ping(issued.webhook.account_id, issued.webhook.id)
        await until(rig, issued, "waiting", 1)
        rig.clock.advance(60)
        sender.wake()
        await until(rig, issued, "failed", 2)


async def test_a_failed_delivery_can_be_replayed(tmp_path: Path) -> None:
    settings = Settings(allow_private_targets=True, max_attempts=1)
    async with services(tmp_path) as rig, receiver() as target, sending(rig, settings) as sender:
        issued = await hook_to(rig, target)
        target.answers(answer(500), OK)
        delivery = await hooks_of(rig).ping(issued.webhook.account_id, issued.webhook.id)
        await until(rig, issued, "failed", 1)
        await hooks_of(rig).replay(issued.webhook.account_id, issued.webhook.id, delivery)
        sender.wake()
        await until(rig, issued, "delivered", 1)
    assert [request.headers["webhook-id"] for request in target.requests] == [delivery] * 2


async def test_410_gone_disables_the_webhook(tmp_path: Path, logged: list[EventDict]) -> None:
    async with services(tmp_path) as rig, receiver() as target, sending(rig):
        issued = await hook_to(rig, target)
        target.answers(answer(410))
        await queue_many(rig, issued, 1)
        await until(rig, issued, "failed", 1)

        async def disabled() -> bool:
            hook = await hooks_of(rig).get(issued.webhook.account_id, issued.webhook.id)
            return hook.status is WebhookStatus.DISABLED

        await eventually(disabled)
        hook = await hooks_of(rig).get(issued.webhook.account_id, issued.webhook.id)
        assert hook.note == "The receiver answered 410 Gone."
        assert logged[-1] == {
            "event": "webhook_disabled",
            "webhook_id": hook.id,
            "reason": hook.note,
            "log_level": "warning",
        }


async def test_a_private_target_fails_without_a_connection(tmp_path: Path) -> None:
    """The operator forbids private targets after the webhook was made."""
    async with services(tmp_path) as rig, receiver() as target, sending(rig, Settings(max_attempts=1)):
        issued = await hook_to(rig, target)
        await queue_many(rig, issued, 1)
        row = await until(rig, issued, "failed", 1)
        assert row.reply is not None
        assert row.reply.startswith("not sent: ")
        assert target.connections == 0


async def test_what_waits_for_a_deleted_webhook_is_dropped(tmp_path: Path) -> None:
    async with services(tmp_path) as rig, receiver() as target:
        issued = await hook_to(rig, target)
        await queue_many(rig, issued, 3)
        await hooks_of(rig).delete(issued.webhook.account_id, issued.webhook.id)
        sql = "SELECT count(*) FROM webhook_delivery WHERE status = 'waiting'"

        async def empty() -> bool:
            return await rig.store.read(lambda tx: tx.rows(sql)) == [(0,)]

        async with sending(rig):
            await eventually(empty)
        assert target.connections == 0


# --- fairness (A5) -------------------------------------------------------------------------------------


async def test_a_target_that_hangs_delays_no_other(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def hang(_request: Request, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(OK)

    async with services(tmp_path) as rig, receiver() as slow, receiver() as quick, sending(rig):
        slow.handler = hang
        dead = [await hook_to(rig, slow) for _ in range(3)]
        alive = await hook_to(rig, quick)
        for issued in dead:
            await queue_many(rig, issued, 200)
        await queue_many(rig, alive, 50)
        await quick.count(50)
        assert len(slow.requests) == 6  # two each: a target must prove itself first
        released.set()


async def test_failing_targets_together_leave_half_of_the_places(tmp_path: Path) -> None:
    """A hundred targets that once failed and now hang: the next newcomer is served all the same."""
    released = asyncio.Event()
    failed_once: set[str] = set()

    async def fail_then_hang(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.line not in failed_once:
            failed_once.add(request.line)
            writer.write(answer(500))
            return
        await released.wait()
        writer.write(OK)

    async with services(tmp_path) as rig, receiver() as bad, receiver() as good, sending(rig) as sender:
        bad.handler = fail_then_hang
        hooks = hooks_of(rig, Settings(allow_private_targets=True, max_per_account=1000))
        account = (await rig.account()).id
        for number in range(100):
            issued = await hooks.create(account, f"{bad.url}/{number}")
            await queue_many(rig, issued, 1)
        await bad.count(100)
        alive = await hook_to(rig, good)
        rig.clock.advance(10)
        sender.wake()
        await bad.count(164)
        await queue_many(rig, alive, 20)
        sender.wake()
        await eventually(partial(settled, rig, alive, "delivered"))
        assert len(bad.requests) == 164
        released.set()


async def test_a_quick_target_gets_more_at_once_and_a_bad_one_less(tmp_path: Path) -> None:
    under_way = most = 0

    async def measure(_request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        writer.write(OK)

    async with services(tmp_path) as rig, receiver() as target, sending(rig):
        target.handler = measure
        issued = await hook_to(rig, target)
        await queue_many(rig, issued, 200)
        await target.count(200)
    assert 2 < most <= 16


async def test_a_look_gives_every_webhook_its_turn(tmp_path: Path) -> None:
    async with services(tmp_path) as rig, receiver() as target:
        account = (await rig.account()).id
        made = sorted([await hook_to(rig, target, account) for _ in range(5)], key=lambda one: one.webhook.id)
        numbers = {issued.webhook.id: number for number, issued in enumerate(made)}
        await queue_many(rig, made[0], 500)
        for issued in made[1:]:
            await queue_many(rig, issued, 3)
        resume, seen = START, []
        for _ in range(3):
            places = Places(left=4, of_suspects=2, of_unknown=2, known={})
            scan = partial(queue.scan, resume=resume, places=places, now_ms=rig.clock.now_ms())
            found = await rig.store.read(scan)
            resume = found.resume
            seen.append([numbers[due.webhook_id] for due in found.due])
        assert seen == [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4]]


def test_suspects_share_their_places() -> None:
    one, two, three = ("a", "1"), ("a", "2"), ("a", "3")
    places = Places(
        left=10, of_suspects=1, of_unknown=2, known={one: 1, two: 1}, suspects=frozenset({one, two})
    )
    assert (places.room(one), places.room(two), places.room(three)) == (1, 1, 2)
    places.take(one, 1)
    assert (places.room(two), places.room(three)) == (0, 2)
    places.take(three, 2)
    assert places.left == 7


async def test_a_backlog_without_end_disables_the_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "BACKLOG_MAX", 20)
    async with services(tmp_path) as rig, receiver() as target, sending(rig) as sender:
        target.answers(answer(500))
        issued = await hook_to(rig, target)
        await queue_many(rig, issued, 100)
        await target.count(1)

        async def disabled() -> bool:
            rig.clock.advance(61)
            sender.wake()
            return (await hooks_of(rig).get(issued.webhook.account_id, issued.webhook.id)).note is not None

        await eventually(disabled)
        await eventually(partial(settled, rig, issued, "failed"))


# --- crashes and competitors ---------------------------------------------------------------------------


async def test_a_try_that_died_with_its_process_is_made_again(tmp_path: Path) -> None:
    async def hang(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with receiver() as target:
        target.handler = hang
        async with services(tmp_path) as dying:
            issued = await hook_to(dying, target)
            async with sending(dying):
                await queue_many(dying, issued, 1)
                await target.count(1)
        target.handler = None
        async with services(tmp_path) as rig, sending(rig) as sender:
            await sender_idle(rig, sender)
            assert len(target.requests) == 1  # the claim still holds
            rig.clock.advance(36)
            sender.wake()
            await until(rig, issued, "delivered", 2)


async def test_two_senders_on_one_database_send_each_event_once(tmp_path: Path) -> None:
    async with services(tmp_path) as one, services(tmp_path) as two, receiver() as target:
        issued = await hook_to(one, target)
        await queue_many(one, issued, 100)
        async with sending(one), sending(two):
            await target.count(100)
            await eventually(partial(settled, one, issued, "delivered"))
    assert len(target.requests) == 100


async def test_the_late_outcome_of_a_lost_claim_changes_nothing(tmp_path: Path) -> None:
    async with services(tmp_path) as rig, receiver() as target:
        issued = await hook_to(rig, target)
        await queue_many(rig, issued, 1)
        now_ms = rig.clock.now_ms()
        places = Places(left=1, of_suspects=1, of_unknown=1, known={})
        found = await rig.store.read(lambda tx: queue.scan(tx, START, places, now_ms=now_ms))
        claim = partial(queue.claim, due=found.due, now_ms=now_ms, lease_ms=1000)
        first = await rig.store.write(claim)
        assert await rig.store.write(claim) == []
        later_ms = now_ms + 1000
        places = Places(left=1, of_suspects=1, of_unknown=1, known={})
        again = await rig.store.read(lambda tx: queue.scan(tx, START, places, now_ms=later_ms))
        second = await rig.store.write(partial(queue.claim, due=again.due, now_ms=later_ms, lease_ms=1000))
        assert not await rig.store.write(lambda tx: queue.settle(tx, first[0], "failed", 0, "late"))
        assert await rig.store.write(lambda tx: queue.settle(tx, second[0], "delivered", 0, "200"))


async def test_stopping_lets_tries_under_way_end(tmp_path: Path) -> None:
    started, released = asyncio.Event(), asyncio.Event()

    async def wait(_request: Request, writer: asyncio.StreamWriter) -> None:
        started.set()
        await released.wait()
        writer.write(OK)

    async with services(tmp_path) as rig, receiver() as target:
        target.handler = wait
        issued = await hook_to(rig, target)
        async with sending(rig) as sender:
            await queue_many(rig, issued, 1)
            await started.wait()
            stopping = asyncio.create_task(sender.stop(5.0))
            await asyncio.sleep(0)
            released.set()
            await stopping
        assert [row.status for row in await rows(rig, issued)] == ["delivered"]
