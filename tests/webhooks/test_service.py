"""Webhooks as resources, and the outbox: what is queued for whom, in the event's own transaction."""

import base64
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.sections.webhooks import Webhooks as Settings
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.events.record import Event, Subject, record
from gateway.ids import IdFactory
from gateway.messages.events import EventKind
from gateway.messages.model import Channel
from gateway.messages.queue.cancel import Cancelling
from gateway.store.errors import StoreFailed
from gateway.store.operation import Operation
from gateway.store.tx import Tx
from gateway.verticals import EVENT_KINDS
from gateway.webhooks import outbox, signature
from gateway.webhooks.service import Webhooks, WebhookStatus
from tests.support.fakes import FakeUpstream
from tests.support.services import Services, services
from tests.world import ACCOUNT, rig

URL = "https://hooks.example.com/in"
MESSAGE = "0" * 25 + "m"


def webhooks(rig: Services, settings: Settings | None = None) -> Webhooks:
    return Webhooks(rig.caches, rig.clock, IdFactory(), settings or Settings(), EVENT_KINDS)


async def happens(
    rig: Services, account_id: str, *kinds: str, n: int | None = 0, address: str | None = None
) -> None:
    """Events of one message, recorded as the road does."""

    def happen(tx: Tx) -> None:
        record(
            tx,
            [
                Event(
                    account_id=account_id,
                    subject_kind=Subject.MESSAGE,
                    subject_id=MESSAGE,
                    id=tx.new_id(rig.clock.now_ms()),
                    kind=kind,
                    at_ms=rig.clock.now_ms(),
                    n=n,
                    address=address,
                    detail={"reply": "250 Ok"},
                )
                for kind in kinds
            ],
        )

    await rig.store.write(happen)


def failed(account_id: str) -> Event:
    """The event of a message that failed."""
    return Event(
        account_id=account_id,
        subject_kind=Subject.MESSAGE,
        subject_id="m",
        id="e",
        kind=EventKind.FAILED,
        at_ms=0,
    )


async def bodies(rig: Services, account_id: str, webhook_id: str) -> list[dict[str, object]]:
    """What is queued for a webhook, the oldest first."""
    rows = await webhooks(rig).deliveries(account_id, webhook_id)
    return [msgspec.json.decode(row.body) for row in reversed(rows)]


# --- resources -----------------------------------------------------------------------------------------


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        issued = await webhooks(rig).create(account.id, URL, ["message.failed", "message.delivered"])
        assert issued.secret.startswith("whsec_")
        assert len(base64.b64decode(issued.secret.removeprefix("whsec_"))) == 32
        assert issued.secret not in repr(issued)
        kept = await webhooks(rig).get(account.id, issued.webhook.id)
        assert kept == issued.webhook
        assert kept.events == ("message.delivered", "message.failed")
        assert await webhooks(rig).list(account.id) == [kept]


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/", "https://127.0.0.1/", "https://u:p@a.example/", ""]
)
async def test_a_bad_target_is_refused_at_once(tmp_path: Path, url: str) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        made = await webhooks(rig).create(account.id, URL)
        with pytest.raises(InvalidError, match="url"):
            await webhooks(rig).create(account.id, url)
        with pytest.raises(InvalidError, match="url"):
            await webhooks(rig).update(account.id, made.webhook.id, url=url)


@pytest.mark.parametrize("kinds", [[], ["message.lost"], ["message.accepted"], ["message.*"]])
async def test_unknown_events_are_refused(tmp_path: Path, kinds: list[str]) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        with pytest.raises(InvalidError, match="events"):
            await webhooks(rig).create(account.id, URL, kinds)


async def test_the_number_of_webhooks_is_bounded(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        few = webhooks(rig, Settings(max_per_account=1))
        made = await few.create(account.id, URL)
        with pytest.raises(LimitError):
            await few.create(account.id, URL)
        await few.delete(account.id, made.webhook.id)
        await few.create(account.id, URL)


async def test_a_webhook_is_changed_in_parts(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        made = (await webhooks(rig).create(account.id, URL)).webhook
        off = await webhooks(rig).update(account.id, made.id, active=False)
        assert (off.status, off.url, off.events) == (WebhookStatus.DISABLED, URL, ("*",))
        moved = await webhooks(rig).update(account.id, made.id, url=f"{URL}/2", events=["message.failed"])
        assert (moved.status, moved.url) == (WebhookStatus.DISABLED, f"{URL}/2")
        assert (await webhooks(rig).update(account.id, made.id, active=True)).events == ("message.failed",)


async def test_another_accounts_webhook_is_not_found(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        ada, bob = await rig.account("Ada"), await rig.account("Bob")
        hook = (await webhooks(rig).create(ada.id, URL)).webhook.id
        delivery = await webhooks(rig).ping(ada.id, hook)
        service = webhooks(rig)
        for attempt in (service.get, service.update, service.delete, service.deliveries, service.ping):
            with pytest.raises(NotFoundError):
                await attempt(bob.id, hook)
        for other in (service.renew_secret(bob.id, hook), service.replay(bob.id, hook, delivery)):
            with pytest.raises(NotFoundError):
                await other
        assert await service.list(bob.id) == []


# --- the outbox ----------------------------------------------------------------------------------------


async def test_events_are_queued_for_those_who_asked(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        ada, bob = await rig.account("Ada"), await rig.account("Bob")
        service = webhooks(rig)
        everything = (await service.create(ada.id, URL)).webhook.id
        failures = (await service.create(ada.id, URL, ["message.failed"])).webhook.id
        off = (await service.create(ada.id, URL)).webhook.id
        await service.update(ada.id, off, active=False)
        bobs = (await service.create(bob.id, URL)).webhook.id
        await happens(rig, ada.id, EventKind.DELIVERED, EventKind.FAILED)
        assert [body["type"] for body in await bodies(rig, ada.id, everything)] == [
            "message.delivered",
            "message.failed",
        ]
        assert [body["type"] for body in await bodies(rig, ada.id, failures)] == ["message.failed"]
        assert await bodies(rig, ada.id, off) == []
        assert await bodies(rig, bob.id, bobs) == []


async def test_a_body_says_what_happened_to_whom(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        hook = (await webhooks(rig).create(account.id, URL)).webhook.id
        rig.clock.time_ms = 1_790_000_000_123
        await happens(rig, account.id, EventKind.DELIVERED, address="bob@example.org")
        await happens(rig, account.id, EventKind.FAILED, n=7)
        known, unknown = await bodies(rig, account.id, hook)
        data = known["data"]
        assert isinstance(data, dict)
        assert data.pop("event_id")
        assert known == {
            "type": "message.delivered",
            "timestamp": "2026-09-21T14:13:20.123Z",
            "data": {
                "message_id": MESSAGE,
                "n": 0,
                "address": "bob@example.org",
                "detail": {"reply": "250 Ok"},
            },
        }
        assert "address" not in str(unknown)


async def test_an_event_of_the_account_names_no_message(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        hook = (await webhooks(rig).create(account.id, URL, ["sendername.decided"])).webhook.id
        await rig.sendernames.approve(account.id, "AdaShop")
        (body,) = await bodies(rig, account.id, hook)
        data = body["data"]
        assert isinstance(data, dict)
        assert sorted(data) == ["detail", "event_id"]


async def test_an_event_that_is_rolled_back_is_not_told(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        hook = (await webhooks(rig).create(account.id, URL)).webhook.id

        def fail(tx: Tx) -> None:
            record(tx, [failed(account.id)])
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            await rig.store.write(fail)
        assert await bodies(rig, account.id, hook) == []


@contextmanager
def statements(tx: Tx) -> Iterator[list[str]]:
    """The statements that run meanwhile."""
    seen: list[str] = []
    real = tx._cursor

    def spy(sql: str, row: Sequence[Any]) -> Any:
        seen.append(sql)
        return real(sql, row)

    tx._cursor = spy  # type: ignore[method-assign]  # a spy on one instance
    try:
        yield seen
    finally:
        del tx._cursor


async def test_an_account_without_a_webhook_costs_no_query(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        told, untold = await rig.account(), await rig.account(name="Other")
        hook = (await webhooks(rig).create(told.id, URL)).webhook.id
        await happens(rig, untold.id, EventKind.FAILED)

        def count(tx: Tx) -> int:
            with statements(tx) as seen:
                outbox.enqueue(tx, [failed(untold.id) for _ in range(100)])
            return len(seen)

        assert await rig.store.write(count) == 0
        assert await bodies(rig, told.id, hook) == []


async def test_a_webhook_is_told_from_its_answer_on(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await happens(rig, account.id, EventKind.FAILED)  # that there is none is remembered
        hook = (await webhooks(rig).create(account.id, URL)).webhook.id
        await happens(rig, account.id, EventKind.FAILED)
        await webhooks(rig).update(account.id, hook, active=False)
        await happens(rig, account.id, EventKind.FAILED)
        await webhooks(rig).update(account.id, hook, active=True)
        await happens(rig, account.id, EventKind.DELIVERED)
        kinds = [body["type"] for body in await bodies(rig, account.id, hook)]
        assert kinds == [EventKind.FAILED, EventKind.DELIVERED]


async def test_another_processs_webhook_is_told_once_the_revision_was_read(
    tmp_path: Path, engine: str
) -> None:
    async with services(tmp_path) as rig, services(tmp_path) as other:
        account = await rig.account()
        await rig.caches.poll()
        await happens(rig, account.id, EventKind.FAILED)
        hook = (await webhooks(other).create(account.id, URL)).webhook.id
        await rig.caches.poll()
        await happens(rig, account.id, EventKind.DELIVERED)
        assert [body["type"] for body in await bodies(rig, account.id, hook)] == [EventKind.DELIVERED]


class Failing(Operation[None]):
    """Deletes the account's webhooks, has an event told to nobody, and fails with its whole transaction."""

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id

    @classmethod
    def run_batch(cls, tx: Tx, operations: Sequence["Failing"]) -> list[Any]:
        for one in operations:
            tx.run("DELETE FROM webhook WHERE account_id = ?", (one.account_id,))
            record(tx, [failed(one.account_id)])
        raise ConflictError("no")


@pytest.mark.parametrize("whole", [False, True], ids=["savepoint", "transaction"])
async def test_a_deletion_that_is_rolled_back_leaves_the_webhook_told(
    tmp_path: Path, engine: str, *, whole: bool
) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        hook = (await webhooks(rig).create(account.id, URL)).webhook.id
        failing = Failing(account.id)
        if whole:
            with pytest.raises(StoreFailed):
                await rig.store.submit(failing)
        else:
            with pytest.raises(ConflictError):
                await rig.store.write(lambda tx: Failing.run_batch(tx, [failing]))
        await happens(rig, account.id, EventKind.FAILED)
        assert len(await bodies(rig, account.id, hook)) == 1


async def test_more_webhooks_than_are_remembered_are_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_REMEMBERED_MAX", 1)
    async with services(tmp_path) as rig:
        for name in ("One", "Two", "Three"):
            account = await rig.account(name=name)
            hook = (await webhooks(rig).create(account.id, URL)).webhook.id
            await happens(rig, account.id, EventKind.FAILED)
            assert len(await bodies(rig, account.id, hook)) == 1


async def test_a_batch_of_many_accounts_finds_each_webhook(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        hook = (await webhooks(rig).create(account.id, URL)).webhook.id
        others = [f"{number:026d}" for number in range(1200)]

        def happen(tx: Tx) -> None:
            outbox.enqueue(
                tx,
                [failed(one) for one in [*others, account.id]],
            )

        await rig.store.write(happen)
        assert len(await bodies(rig, account.id, hook)) == 1


# --- replay and retention ------------------------------------------------------------------------------


async def settle_all(rig: Services, status: str) -> None:
    sql = "UPDATE webhook_delivery SET status = ?, attempts = 20"
    await rig.store.write(lambda tx: tx.run(sql, (status,)))


async def test_a_ping_is_queued_whatever_was_asked_for(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        hook = (await webhooks(rig).create(account.id, URL, ["message.failed"])).webhook.id
        delivery = await webhooks(rig).ping(account.id, hook)
        (row,) = await webhooks(rig).deliveries(account.id, hook)
        assert (row.id, row.status, row.attempts) == (delivery, "waiting", 0)
        assert msgspec.json.decode(row.body)["type"] == "webhook.test"


async def test_one_delivery_is_replayed_under_its_own_id(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        service = webhooks(rig)
        hook = (await service.create(account.id, URL)).webhook.id
        delivery = await service.ping(account.id, hook)
        await service.ping(account.id, hook)
        await settle_all(rig, "delivered")
        rig.clock.advance(3600)
        await service.replay(account.id, hook, delivery)
        newest, oldest = await service.deliveries(account.id, hook)
        assert (oldest.id, oldest.status, oldest.attempts) == (delivery, "waiting", 0)
        assert oldest.queued_ms == rig.clock.now_ms()  # it has its day again
        assert newest.status == "delivered"
        with pytest.raises(NotFoundError):
            await service.replay(account.id, hook, "0" * 26)


async def test_what_failed_since_then_is_replayed(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        service = webhooks(rig)
        hook = (await service.create(account.id, URL)).webhook.id
        other = (await service.create(account.id, URL)).webhook.id
        await service.ping(account.id, hook)
        rig.clock.advance(10)
        since_ms = rig.clock.now_ms()
        later = await service.ping(account.id, hook)
        await service.ping(account.id, other)
        await settle_all(rig, "failed")
        assert await service.replay_since(account.id, hook, since_ms) == 1
        assert [row.status for row in await service.deliveries(account.id, hook)] == ["waiting", "failed"]
        await settle_all(rig, "delivered")
        assert await service.replay_since(account.id, hook, since_ms) == 0
        assert await service.replay_since(account.id, hook, since_ms, delivered=True) == 1
        assert (await service.deliveries(account.id, hook, limit=1))[0].id == later


async def test_a_disabled_webhook_is_neither_pinged_nor_replayed(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        service = webhooks(rig)
        hook = (await service.create(account.id, URL)).webhook.id
        await service.update(account.id, hook, active=False)
        with pytest.raises(ConflictError, match="enable"):
            await service.ping(account.id, hook)
        with pytest.raises(ConflictError, match="enable"):
            await service.replay_since(account.id, hook, 0)


async def test_deliveries_are_listed_in_pages_the_newest_first(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        service = webhooks(rig)
        hook = (await service.create(account.id, URL)).webhook.id
        made = [await service.ping(account.id, hook) for _ in range(5)]
        first = await service.deliveries(account.id, hook, limit=2)
        rest = await service.deliveries(account.id, hook, before=first[-1].id)
        assert [row.id for row in [*first, *rest]] == made[::-1]


async def test_retention_deletes_what_is_finished_and_old(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        service = webhooks(rig)
        hook = (await service.create(account.id, URL)).webhook.id
        for _ in range(3):
            await service.ping(account.id, hook)
        await settle_all(rig, "delivered")
        waiting = await service.ping(account.id, hook)
        rig.clock.advance(86_400)
        before_ms = rig.clock.now_ms()
        young = await service.ping(account.id, hook)

        def sweep(tx: Tx) -> int:
            return outbox.purge(tx, before_ms=before_ms, limit=2)

        assert [await rig.store.write(sweep) for _ in range(3)] == [2, 1, 0]
        assert [row.id for row in await service.deliveries(account.id, hook)] == [young, waiting]


def test_the_signature_is_that_of_standard_webhooks() -> None:
    secret = signature.make_secret()
    made = signature.headers(secret, "id", b'{"a":1}', 1_790_000_000)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, b'id.1790000000.{"a":1}', hashlib.sha256).digest()).decode()
    assert made == {
        "webhook-id": "id",
        "webhook-timestamp": "1790000000",
        "webhook-signature": f"v1,{expected}",
    }
    # The example of the specification's own libraries.
    secret, message = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    known = signature.headers(secret, message, b'{"test": 2432232314}', 1614265330)
    assert known["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_the_road_says_whom_each_event_is_about(tmp_path: Path) -> None:
    insert = """
    INSERT INTO webhook (account_id, id, url, events, secret, status, created_ms)
    VALUES (?, 'w', 'https://hooks.example.com', '["*"]', 'whsec_', 'active', 0)
    """
    async with rig(tmp_path, [FakeUpstream()]) as one:
        await one.store.write(lambda tx: tx.run(insert, (ACCOUNT,)))
        sent = await one.send_mail("ada@example.net")
        await one.settled(sent.id or "")
        later = await one.send_mail("bob@example.net", send_at_ms=one.clock.now_ms() + 86_400_000)
        cancelling = Cancelling(one.store, one.clock, one.road.rules, keep_content=False)
        assert await cancelling.cancel(ACCOUNT, later.id or "", Channel.MAIL) == 1
        rows = await one.store.read(lambda tx: tx.rows("SELECT body FROM webhook_delivery ORDER BY id"))
    told = [msgspec.json.decode(body) for (body,) in rows]
    assert {(one["type"], one["data"]["address"]) for one in told} == {
        ("message.delivered", "ada@example.net"),
        ("message.cancelled", "bob@example.net"),
        ("message.refunded", "bob@example.net"),
    }
