"""The mail sandbox: captures what would have been sent, signed and all, where the API shows it.

Every recipient is delivered at once, except the magic ones, by which an application tests how it copes:

=====================================  =====================================================================
recipient                              outcome
=====================================  =====================================================================
``bounce@magic.test``                  fails: 550 5.1.1
``full@magic.test``                    is deferred every time: 452 4.2.2
``greylist@magic.test``                is deferred at the first attempt, then delivered
``unknown@magic.test``                 no reply after the final dot at the first attempt, then delivered
=====================================  =====================================================================

A `+tag` behind the word changes nothing. An account's oldest captures make room for its new ones. What lists
show is written at the capture; lists never touch a mail's content.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from sqlalchemy import select

from config.sections.upstreams import SandboxMailUpstream
from gateway.clock import Clock
from gateway.messages.model import Deferred, Delivered, Delivery, Failed, MailEnvelope, Outcome, Unknown, Work
from gateway.messages.ports import Links
from gateway.store.locks import Locks, named
from gateway.store.operation import Operation
from gateway.store.store import Store
from gateway.store.tx import Tx
from gateway.upstreams.sandbox.tables import captured_mail
from gateway.upstreams.signing import Signing
from smtp.headers import HeaderError, peek
from smtp.words import readable

MAGIC_DOMAIN = "magic.test"
_INSERT = """
INSERT INTO captured_mail
  (account_id, id, message_id, mail_from, recipients, subject, author, size_octets, received_ms, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PRUNE = """
DELETE FROM captured_mail WHERE account_id = ? AND id <= (
  SELECT id FROM captured_mail WHERE account_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
"""
_PRUNE_EVERY = 100
_COUNTED_ACCOUNTS = 10_000
_AUTHOR_CHARS = 500
_LISTED = [column for column in captured_mail.c if column.name != "data"]


class SandboxMail:
    """An upstream that keeps what it gets."""

    concurrency = 16
    recipients_per_work = 1000

    def __init__(
        self, name: str, settings: SandboxMailUpstream, *, store: Store, signing: Signing, clock: Clock
    ) -> None:
        self.name = name
        self._settings = settings
        self._store = store
        self._signing = signing
        self._clock = clock

    @property
    def serving(self) -> bool:
        """Every process has its own."""
        return True

    def destination(self, address: str) -> str:
        """Everything waits in one queue."""
        del address
        return self.name

    async def start(self, links: Links) -> None:
        """Nothing to open."""
        del links

    def withdraw(self) -> None:
        """Nothing waits here for anybody."""

    async def stop(self, drain_s: float) -> None:
        """Nothing to close."""

    async def deliver(self, work: Work) -> Sequence[Outcome]:
        """Captures the mail for the recipients that take it."""
        if self._settings.delay_ms:
            await asyncio.sleep(self._settings.delay_ms / 1000)
        outcomes = [_outcome(delivery) for delivery in work.deliveries]
        taken = [
            delivery.address
            for delivery, outcome in zip(work.deliveries, outcomes, strict=True)
            if isinstance(outcome, Delivered)
        ]
        if taken:
            message = work.message
            envelope = message.envelope
            mail_from = envelope.mail_from if isinstance(envelope, MailEnvelope) else ""
            data = await self._signing.prepared(message)
            row = (
                *(message.id, mail_from, msgspec.json.encode(taken).decode(), message.subject),
                *(_author(message.content), len(data), self._clock.now_ms(), data),
            )
            capture = _Capture(message.account_id, row, self._clock.now_ms(), self._settings.kept)
            await self._store.submit(capture, urgent=True)
        return outcomes

    async def captured(self, account_id: str, before: str | None, limit: int) -> list[dict[str, Any]]:
        """The account's captured mails without `raw`, the newest first, from before the id `before`."""
        query = select(*_LISTED).where(captured_mail.c.account_id == account_id)
        if before is not None:
            query = query.where(captured_mail.c.id < before)
        query = query.order_by(captured_mail.c.id.desc()).limit(limit)
        return await self._store.read(lambda tx: [_view(row) for row in tx.mappings(query)])

    async def captured_one(self, account_id: str, capture_id: str) -> dict[str, Any] | None:
        """One captured mail, or None."""
        query = select(captured_mail).where(
            captured_mail.c.account_id == account_id, captured_mail.c.id == capture_id
        )
        row = await self._store.read(lambda tx: tx.mapping(query))
        return None if row is None else _view(row)


def _view(row: Any) -> dict[str, Any]:
    view = dict(row)
    view["recipients"] = msgspec.json.decode(view["recipients"])
    if "data" in view:
        view["raw"] = bytes(view.pop("data"))
    return view


def _author(content: bytes) -> str:
    """The field From for human eyes, "" where there is none that can be read."""
    try:
        field = peek(content, "From")
    except HeaderError:
        return ""
    return "" if field is None else readable(field.value, _AUTHOR_CHARS)


def _outcome(delivery: Delivery) -> Outcome:
    local, _, domain = delivery.address.rpartition("@")
    if domain != MAGIC_DOMAIN:
        return Delivered(reply="250 2.0.0 captured by the sandbox")
    first = delivery.attempts == 0
    match local.partition("+")[0]:
        case "bounce":
            return Failed(reply="550 5.1.1 no such mailbox (sandbox)")
        case "full":
            return Deferred(reply="452 4.2.2 mailbox full (sandbox)")
        case "greylist" if first:
            return Deferred(reply="451 4.7.1 greylisted (sandbox)")
        case "unknown" if first:
            return Unknown(reply="no reply after the final dot (sandbox)")
    return Delivered(reply="250 2.0.0 captured by the sandbox")


class _Capture(Operation[None]):
    """Keeps one mail."""

    _since_prune: ClassVar[dict[str, int]] = {}  # by account: its first capture prunes, then every hundredth

    def __init__(self, account_id: str, row: tuple[Any, ...], now_ms: int, kept: int) -> None:
        self.account_id = account_id
        self.row = row
        self.now_ms = now_ms
        self.kept = kept

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[_Capture]") -> Locks:
        del tx
        return named(*{f"captures:{one.account_id}" for one in operations})

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[_Capture]") -> list[Any]:
        tx.run_many(_INSERT, [(one.account_id, tx.new_id(one.now_ms), *one.row) for one in operations])
        since = cls._since_prune
        if len(since) > _COUNTED_ACCOUNTS:
            since.clear()
        for account_id, count in Counter([one.account_id for one in operations]).items():
            since[account_id] = since.get(account_id, _PRUNE_EVERY) + count
            if since[account_id] >= _PRUNE_EVERY:
                since[account_id] = 0
                tx.run(_PRUNE, (account_id, account_id, operations[0].kept))
        return [None] * len(operations)
