"""Webhooks: where an account wants to be told what happened, and what became of each telling.

The secret is shown when it is made; it is kept in clear, since it signs. Raises the errors of
`gateway.errors`. Sending is `gateway.webhooks.sender`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from config.sections.webhooks import Webhooks as Settings
from gateway.accounts.service import open_account
from gateway.clock import Clock
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.events.record import EventKinds
from gateway.ids import IdFactory, id_floor
from gateway.store.cache import Caches
from gateway.store.tx import Tx
from gateway.webhooks import outbox, queue, signature
from gateway.webhooks.outbox import EVERY_EVENT
from gateway.webhooks.targets import TargetError, check_url

TEST_EVENT = "webhook.test"
REPLAYED_MAX = 10_000  # by one call
# That a message was accepted is the answer to its submission; it is no event of its own.
_SCOPES = {
    "message": "messages:read",
    "credits": "credits:read",
    "sendername": "sendernames:read",
    "domain": "domains:read",
}

_COLUMNS = "account_id, id, url, events, status, note, created_ms"
_ONE = f"SELECT {_COLUMNS} FROM webhook WHERE account_id = ? AND id = ?"  # noqa: S608 - constants only
_LIST = f"SELECT {_COLUMNS} FROM webhook WHERE account_id = ? ORDER BY id"  # noqa: S608 - constants only
_INSERT = f"INSERT INTO webhook ({_COLUMNS}, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
_UPDATE = "UPDATE webhook SET url = ?, events = ?, status = ?, note = ? WHERE account_id = ? AND id = ?"
_RENEW = "UPDATE webhook SET secret = ? WHERE account_id = ? AND id = ?"
_DELETE = "DELETE FROM webhook WHERE account_id = ? AND id = ?"
_COUNT = "SELECT count(*) FROM webhook WHERE account_id = ?"
_DELIVERIES = """
SELECT id, webhook_id, status, attempts, next_attempt_ms, reply, queued_ms, body FROM webhook_delivery
WHERE account_id = ? AND webhook_id = ? AND id < ? ORDER BY id DESC LIMIT ?
"""
_REPLAY = """
UPDATE webhook_delivery SET status = 'waiting', attempts = 0, next_attempt_ms = ?, queued_ms = ?
WHERE account_id = ? AND webhook_id = ? AND status <> 'waiting'
"""
_REPLAY_ONE = f"{_REPLAY} AND id = ?"
_REPLAY_SINCE = f"""{_REPLAY} AND id IN (
  SELECT id FROM webhook_delivery WHERE account_id = ? AND webhook_id = ? AND id >= ? AND (status = 'failed'
  OR (? = 1 AND status = 'delivered')) ORDER BY id LIMIT ?)
"""  # noqa: S608 - constants only
_HAS = "SELECT 1 FROM webhook_delivery WHERE account_id = ? AND webhook_id = ? AND id = ?"
_AFTER_ALL = "~"  # sorts behind every id


class WebhookStatus(StrEnum):
    """Whether it is told anything."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook without its secret. `events` are kinds, or `*`; `note` says why it was disabled."""

    account_id: str
    id: str
    url: str
    events: tuple[str, ...]
    status: WebhookStatus
    note: str | None
    created_ms: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A webhook and its secret, the only time it is shown."""

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """One telling: waiting, delivered or failed. `id` is the webhook-id header; `body` is what is sent."""

    id: str
    webhook_id: str
    status: str
    attempts: int
    next_attempt_ms: int
    reply: str | None
    queued_ms: int
    body: str


class Webhooks:
    """Every account's webhooks."""

    def __init__(
        self,
        caches: Caches,
        clock: Clock,
        ids: IdFactory,
        settings: Settings,
        kinds: EventKinds,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._caches = caches
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._kinds = kinds
        self._random_bytes = random_bytes

    def checked_events(self, events: Iterable[str]) -> tuple[str, ...]:
        """The kinds, sorted; raises InvalidError for unknown ones and for none at all."""
        wanted = set(events)
        unknown = sorted(wanted - self._kinds.keys() - {EVERY_EVENT})
        if unknown:
            known = ", ".join([EVERY_EVENT, *sorted(self._kinds)])
            raise InvalidError("events", f"{', '.join(unknown)[:100]} is unknown; use some of {known}")
        if not wanted:
            raise InvalidError("events", "must name at least one; * for all")
        return (EVERY_EVENT,) if EVERY_EVENT in wanted else tuple(sorted(wanted))

    def scopes_told(self, events: Iterable[str]) -> list[str]:
        """The scopes that reading the same over the API takes: `message.delivered` tells of messages."""
        kinds = set(events)
        return sorted({self._kinds[kind] for kind in (self._kinds if EVERY_EVENT in kinds else kinds)})

    async def create(self, account_id: str, url: str, events: Iterable[str] = (EVERY_EVENT,)) -> Issued:
        """A new, active webhook with its secret."""
        now_ms = self._clock.now_ms()
        webhook = Webhook(
            account_id=account_id,
            id=self._ids.new(now_ms),
            url=self._checked_url(url),
            events=self.checked_events(events),
            status=WebhookStatus.ACTIVE,
            note=None,
            created_ms=now_ms,
        )
        secret = signature.make_secret(self._random_bytes)

        def insert(tx: Tx) -> None:
            open_account(tx, account_id)
            row = tx.one(_COUNT, (account_id,))
            if row is not None and row[0] >= self._settings.max_per_account:
                raise LimitError(f"The account has {row[0]} webhooks; delete one that is not used.")
            kinds = msgspec.json.encode(webhook.events).decode()
            status = webhook.status.value
            tx.run(_INSERT, (account_id, webhook.id, webhook.url, kinds, status, None, now_ms, secret))

        await self._caches.write(insert)
        return Issued(webhook, secret)

    async def get(self, account_id: str, webhook_id: str) -> Webhook:
        """The webhook, or NotFoundError."""
        return await self._caches.store.read(lambda tx: one(tx, account_id, webhook_id))

    async def list(self, account_id: str) -> "list[Webhook]":
        """All of the account's, in the order they were made."""
        rows = await self._caches.store.read(lambda tx: tx.rows(_LIST, (account_id,)))
        return [_webhook(row) for row in rows]

    async def update(
        self,
        account_id: str,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        active: bool | None = None,
        may_tell: Callable[[Sequence[str]], None] = lambda _events: None,
    ) -> Webhook:
        """Changes what is given. Deliveries that wait go to the new address.

        `may_tell` raises where the new address, or the new events, would tell more than they may.
        """
        new_url = None if url is None else self._checked_url(url)
        new_events = None if events is None else self.checked_events(events)

        def change(tx: Tx) -> Webhook:
            webhook = one(tx, account_id, webhook_id)
            if new_url is not None or new_events is not None:
                may_tell(new_events or webhook.events)
            kinds = msgspec.json.encode(new_events or webhook.events).decode()
            status, note = webhook.status, webhook.note
            if active is not None:
                status, note = (WebhookStatus.ACTIVE if active else WebhookStatus.DISABLED), None
            row = (new_url or webhook.url, kinds, status.value, note, account_id, webhook_id)
            tx.run(_UPDATE, row)
            return one(tx, account_id, webhook_id)

        return await self._caches.write(change)

    async def renew_secret(self, account_id: str, webhook_id: str) -> Issued:
        """A new secret; what is sent from now on is signed with it alone."""
        secret = signature.make_secret(self._random_bytes)

        def change(tx: Tx) -> Webhook:
            webhook = one(tx, account_id, webhook_id)
            tx.run(_RENEW, (secret, account_id, webhook_id))
            return webhook

        return Issued(await self._caches.write(change), secret)

    async def delete(self, account_id: str, webhook_id: str) -> None:
        """Takes it away; what still waits for it is dropped by the sender."""

        def change(tx: Tx) -> None:
            one(tx, account_id, webhook_id)
            tx.run(_DELETE, (account_id, webhook_id))

        await self._caches.write(change)

    async def deliveries(
        self, account_id: str, webhook_id: str, *, before: str = "", limit: int = 100
    ) -> Sequence[WebhookDelivery]:
        """Up to `limit` deliveries, the newest first, older than the one with id `before`."""

        def select(tx: Tx) -> Sequence[WebhookDelivery]:
            one(tx, account_id, webhook_id)
            rows = tx.rows(_DELIVERIES, (account_id, webhook_id, before or _AFTER_ALL, limit))
            return [_delivery(row) for row in rows]

        return await self._caches.store.read(select)

    async def replay(self, account_id: str, webhook_id: str, delivery_id: str) -> None:
        """Sends one delivery again, under the same webhook-id. One that still waits is tried now anyway."""
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> None:
            self._active(tx, account_id, webhook_id)
            if tx.one(_HAS, (account_id, webhook_id, delivery_id)) is None:
                raise NotFoundError("There is no such delivery; it may be older than what is kept.")
            tx.run(_REPLAY_ONE, (now_ms, now_ms, account_id, webhook_id, delivery_id))

        await self._caches.store.write(change, locks=queue.locks((account_id, webhook_id)))

    async def replay_since(
        self, account_id: str, webhook_id: str, since_ms: int, *, delivered: bool = False
    ) -> int:
        """Sends again what failed (and, if asked, what was delivered) since then; how many it were.

        At most REPLAYED_MAX by one call, the oldest first.
        """
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> int:
            self._active(tx, account_id, webhook_id)
            account = (account_id, webhook_id)
            row = (now_ms, now_ms, *account, *account, id_floor(since_ms), int(delivered), REPLAYED_MAX)
            return tx.run(_REPLAY_SINCE, row)

        return await self._caches.store.write(change, locks=queue.locks((account_id, webhook_id)))

    async def ping(self, account_id: str, webhook_id: str) -> str:
        """Queues a `webhook.test` for it, whatever events it asked for; the id of the delivery."""
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> str:
            self._active(tx, account_id, webhook_id)
            data = {"webhook_id": webhook_id}
            return outbox.enqueue_one(tx, account_id, webhook_id, TEST_EVENT, data, now_ms)

        return await self._caches.store.write(change)

    def _active(self, tx: Tx, account_id: str, webhook_id: str) -> None:
        if one(tx, account_id, webhook_id).status is not WebhookStatus.ACTIVE:
            raise ConflictError("The webhook is disabled; enable it first.")

    def _checked_url(self, url: str) -> str:
        try:
            check_url(url, allow_private=self._settings.allow_private_targets)
        except TargetError as error:
            raise InvalidError("url", str(error)) from error
        return url


def one(tx: Tx, account_id: str, webhook_id: str) -> Webhook:
    """The webhook, or NotFoundError; inside a transaction."""
    row = tx.one(_ONE, (account_id, webhook_id))
    if row is None:
        raise NotFoundError("There is no such webhook.")
    return _webhook(row)


def _webhook(row: tuple[Any, ...]) -> Webhook:
    account_id, identity, url, kinds, status, note, created_ms = row
    return Webhook(
        account_id=account_id,
        id=identity,
        url=url,
        events=tuple(msgspec.json.decode(kinds, type=list[str])),
        status=WebhookStatus(status),
        note=note,
        created_ms=created_ms,
    )


def _delivery(row: tuple[Any, ...]) -> WebhookDelivery:
    identity, webhook_id, status, attempts, next_attempt_ms, reply, queued_ms, body = row
    return WebhookDelivery(
        id=identity,
        webhook_id=webhook_id,
        status=status,
        attempts=attempts,
        next_attempt_ms=next_attempt_ms,
        reply=reply,
        queued_ms=queued_ms,
        body=body,
    )
