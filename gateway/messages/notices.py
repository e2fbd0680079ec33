"""Notices (`gateway.notices`): what waits becomes mails to the accounts, each exactly once (R8).

A notice is a free message of the account that is told, as a DSN is. Its row is marked in the transaction that
makes the message durable, so a process that dies between any two lines neither loses nor doubles it. What
cannot be told (no address, a closed account) is marked with a note instead. Without `notices.from` everything
waits, for as long as retention keeps it.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from config.schema import Settings
from gateway.accounts.service import LANGUAGES, Account, AccountStatus, account_of
from gateway.clock import Clock
from gateway.errors import NotFoundError
from gateway.ids import IdFactory
from gateway.messages.accept.accepting import insert_free
from gateway.messages.model import NOTICE, Channel, Delivery, MailEnvelope, Message
from gateway.messages.route import Router
from gateway.notices import queue
from gateway.notices.kind import NoticeKinds
from gateway.notices.queue import Notice
from gateway.store.store import Store
from gateway.store.tx import Tx
from smtp.address import AddressError, NamedMailbox, parse_address, parse_mailbox
from smtp.compose import Draft, compose

log = structlog.get_logger(__name__)

AT_ONCE: Final = 100
NO_ACCOUNT = "there is no such account"
CLOSED = "the account is closed"
NO_ADDRESS = "the account has no e-mail address"
NO_ROUTE = "no mail route fits the account's address"
NO_TEXT = "it has no text: this program knows no such kind, or other data of it"


@dataclass(frozen=True, slots=True)
class _Told:
    """What becomes of one notice: a message, or the note that says why there is none."""

    notice: Notice
    message: Message | None = None
    note: str = ""


class Notices:
    """Sends what waits. `sent` is called after each COMMIT that left something in the queue."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        clock: Clock,
        kinds: NoticeKinds,
        router: Router,
        sent: Callable[[], None],
    ) -> None:
        self._author = parse_mailbox(settings.notices.from_) if settings.notices.from_ else None
        self._language = settings.notices.language
        self._server_name = settings.server.name
        self._lifetime_ms = settings.mail.lifetime_s * 1000
        self._store = store
        self._clock = clock
        self._ids = IdFactory()  # of its own, since it is used in a thread
        self._kinds = kinds
        self._router = router
        self._sent = sent
        if self._author is None:
            log.warning(
                "notices_without_sender", reason="notices.from is not set: no account is told anything"
            )

    async def send(self) -> bool:
        """Up to 100 of those that wait; True: there may be more."""
        author = self._author
        if author is None:
            return False
        found = await self._store.read(_waiting)
        if not found:
            return False
        now_ms = self._clock.now_ms()
        # In a thread: the first of them imports Babel and reads its catalogues.
        told = await asyncio.to_thread(self._tell, author, found, now_ms)
        count = await self._store.sweep(lambda tx: _write(tx, told, now_ms))
        if count:
            self._sent()
        log.info("notices_sent", sent=count, waited=len(found))
        return len(found) == AT_ONCE

    def _tell(
        self, author: NamedMailbox, found: Sequence[tuple[Notice, Account | None]], now_ms: int
    ) -> Sequence[_Told]:
        return [self._one(author, notice, account, now_ms) for notice, account in found]

    def _one(self, author: NamedMailbox, notice: Notice, account: Account | None, now_ms: int) -> _Told:
        if account is None:
            return _Told(notice, note=NO_ACCOUNT)
        if account.status is AccountStatus.CLOSED:
            return _Told(notice, note=CLOSED)
        if account.email is None:
            return _Told(notice, note=NO_ADDRESS)
        route = self._router.mail(account.email)
        if route is None:
            return _Told(notice, note=NO_ROUTE)
        try:
            message = self._message(author, notice, account, account.email, route.destination, now_ms)
        except (AddressError, LookupError, ValueError):
            log.exception("notice_not_rendered", kind=notice.kind, notice_id=notice.id)
            return _Told(notice, note=NO_TEXT)
        return _Told(notice, message)

    def _message(
        self,
        author: NamedMailbox,
        notice: Notice,
        account: Account,
        email: str,
        destination: str,
        now_ms: int,
    ) -> Message:
        from gateway.notices import rendering  # noqa: PLC0415 - Babel costs time; only who renders needs it

        language = notice.language or self._language
        if language not in LANGUAGES:  # a newer program's
            language = self._language
        text = rendering.render(self._kinds[notice.kind], language, notice.data, account=account.name)
        to = parse_address(email)
        message_id = self._ids.new(now_ms)
        content = compose(
            Draft(
                author=author,
                to=[NamedMailbox("", to)],
                subject=text.subject,
                text=text.body,
                language=language,
                headers={"Auto-Submitted": "auto-generated"},  # RFC 3834 section 5
            ),
            date=datetime.fromtimestamp(now_ms / 1000, UTC),
            message_id=f"<{message_id}@{self._server_name}>",
            boundary=secrets.token_hex(12),
        )
        sender = str(author.mailbox)
        return Message(
            account_id=account.id,
            id=message_id,
            channel=Channel.MAIL,
            ingress=NOTICE,
            sender=sender,
            subject=text.subject,
            envelope=MailEnvelope(mail_from=sender, smtputf8=to.needs_smtputf8),
            content=content,
            accepted_ms=now_ms,
            expires_ms=now_ms + self._lifetime_ms,
            deliveries=[
                Delivery(n=0, address=email, destination=destination, price_credits=0, next_attempt_ms=now_ms)
            ],
            recipients=1,
        )


def _waiting(tx: Tx) -> Sequence[tuple[Notice, Account | None]]:
    return [(one, _account(tx, one.account_id)) for one in queue.waiting(tx, AT_ONCE)]


def _account(tx: Tx, account_id: str) -> Account | None:
    try:
        return account_of(tx, account_id)
    except NotFoundError:
        return None


def _write(tx: Tx, told: Sequence[_Told], now_ms: int) -> int:
    """Marks each notice, and makes the messages of those that nobody else has marked; how many."""
    messages = []
    for one in told:
        if one.message is None:
            queue.not_sent(tx, one.notice, one.note)
        elif queue.sent(tx, one.notice, one.message.id, now_ms):
            messages.append(one.message)
    insert_free(tx, messages)
    return len(messages)
