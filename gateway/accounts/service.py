"""Accounts: made, listed, suspended and closed by the operator (R36, R41).

Closing only marks the account: nothing of it can be used from then on, and the erasure (R37) counts from
`status_ms`. Raises the errors of `gateway.errors`. Credits are not its business: who makes an
account hands in what else belongs into the same transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

from config.sections.notices import Language
from gateway.accounts import known
from gateway.clock import Clock
from gateway.errors import ConflictError, InvalidError, NotFoundError
from gateway.ids import IdFactory
from gateway.store.cache import Caches
from gateway.store.tx import Tx
from smtp.address import AddressError, parse_address

_COLUMNS = "id, name, status, email, rate_per_s, note, created_ms, status_ms, language"
_INSERT = f"INSERT INTO account ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
_ONE = f"SELECT {_COLUMNS} FROM account WHERE id = ?"  # noqa: S608 - constants only
_BY_NAME = f"""
SELECT {_COLUMNS} FROM account WHERE name = ? ORDER BY status = 'closed', id LIMIT ?
"""  # noqa: S608 - constants only
_PAGE = f"SELECT {_COLUMNS} FROM account WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - constants only
_SET_STATUS = "UPDATE account SET status = ?, note = ?, status_ms = ? WHERE id = ?"
_SET_CONTACT = "UPDATE account SET email = ?, language = ? WHERE id = ?"
_LANGUAGE = "SELECT language FROM account WHERE id = ?"
_SET_RATE = "UPDATE account SET rate_per_s = ? WHERE id = ?"

NAME_MAX = 200
NOTE_MAX = 500
LANGUAGES: Sequence[str] = get_args(Language)


class AccountStatus(StrEnum):
    """Whether an account can be used."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account as its row has it. None in `rate_per_s` (R29) and `language`: the configured one counts."""

    id: str
    name: str
    status: AccountStatus
    email: str | None
    rate_per_s: int | None
    note: str | None
    created_ms: int
    status_ms: int
    language: str | None = None


class Accounts:
    """The operator's hand on the accounts."""

    def __init__(self, caches: Caches, clock: Clock, ids: IdFactory) -> None:
        self._caches = caches
        self._clock = clock
        self._ids = ids

    async def create(
        self,
        name: str,
        email: str | None = None,
        *,
        language: str | None = None,
        grants: Callable[[Tx, str], None] | None = None,
    ) -> Account:
        """A new, active account; `grants(tx, account_id)` runs in its transaction (R11's free credits)."""
        now_ms = self._clock.now_ms()
        account = Account(
            id=self._ids.new(now_ms),
            name=plain_text("name", name, NAME_MAX),
            status=AccountStatus.ACTIVE,
            email=_email(email),
            rate_per_s=None,
            note=None,
            created_ms=now_ms,
            status_ms=now_ms,
            language=_language(language),
        )

        def insert(tx: Tx) -> None:
            state = (account.status.value, account.email, None, None, now_ms, now_ms, account.language)
            tx.run(_INSERT, (account.id, account.name, *state))
            if grants is not None:
                grants(tx, account.id)

        await self._caches.write(insert)
        return account

    async def get(self, account_id: str) -> Account:
        """The account, or NotFoundError."""
        return await self._caches.store.read(lambda tx: account_of(tx, account_id))

    async def named(self, name: str, *, limit: int = 2) -> "list[Account]":
        """Up to `limit` accounts of this name: those that are not closed before the others, by age."""
        rows = await self._caches.store.read(lambda tx: tx.rows(_BY_NAME, (name, limit)))
        return [_account(row) for row in rows]

    async def list(self, *, after: str = "", limit: int = 100) -> "list[Account]":
        """Up to `limit` accounts in the order they were made, from the one behind id `after`."""
        rows = await self._caches.store.read(lambda tx: tx.rows(_PAGE, (after, limit)))
        return [_account(row) for row in rows]

    async def suspend(self, account_id: str, note: str | None = None) -> Account:
        """Nothing can be sent until it is activated again; `note` is told to the client."""
        reason = None if note is None else plain_text("note", note, NOTE_MAX)
        return await self._set_status(account_id, AccountStatus.SUSPENDED, reason)

    async def activate(self, account_id: str) -> Account:
        """Ends a suspension. A closed account stays closed."""
        return await self._set_status(account_id, AccountStatus.ACTIVE, None)

    async def close(self, account_id: str) -> Account:
        """Ends the account for good (R36)."""
        return await self._set_status(account_id, AccountStatus.CLOSED, None)

    async def set_rate(self, account_id: str, rate_per_s: int | None) -> Account:
        """A limit of its own (R29): submissions per second; None for the configured one."""
        if rate_per_s is not None and rate_per_s < 1:
            raise InvalidError("rate_per_s", "must be 1 or more, or nothing for the configured limit")

        def change(tx: Tx) -> Account:
            open_account(tx, account_id)
            tx.run(_SET_RATE, (rate_per_s, account_id))
            return account_of(tx, account_id)

        return await self._caches.write(change)

    async def set_contact(
        self, account_id: str, *, email: str | None = None, language: str | None = None
    ) -> Account:
        """Where its notices go, and in which language; None leaves what is there, "" takes it away."""
        changed = (_email(email or None), _language(language or None))

        def change(tx: Tx) -> Account:
            account = open_account(tx, account_id)
            new_email = account.email if email is None else changed[0]
            new_language = account.language if language is None else changed[1]
            tx.run(_SET_CONTACT, (new_email, new_language, account_id))
            return account_of(tx, account_id)

        return await self._caches.write(change)

    async def _set_status(self, account_id: str, status: AccountStatus, note: str | None) -> Account:
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> Account:
            account = open_account(tx, account_id)
            if account.status is not status or account.note != note:
                since_ms = account.status_ms if account.status is status else now_ms
                tx.run(_SET_STATUS, (status.value, note, since_ms, account_id))
            if status is AccountStatus.CLOSED:
                known.forget(tx, account_id)
            return account_of(tx, account_id)

        return await self._caches.write(change)


def account_of(tx: Tx, account_id: str) -> Account:
    """The account, or NotFoundError; inside a transaction."""
    row = tx.one(_ONE, (account_id,))
    if row is None:
        raise NotFoundError(f"There is no account {account_id[:26]}.")
    return _account(row)


def language_of(tx: Tx, account_id: str) -> str | None:
    """The language that the account was given, None for none; inside a transaction."""
    row = tx.one(_LANGUAGE, (account_id,))
    return None if row is None else row[0]


def plain_text(field: str, text: str, longest: int) -> str:
    """`text` without blanks around it. Raises InvalidError if it is empty, too long, or no plain line."""
    text = text.strip()
    if not text:
        raise InvalidError(field, "must not be empty")
    if len(text) > longest:
        raise InvalidError(field, f"must have at most {longest} characters, this has {len(text)}")
    if not text.isprintable():
        raise InvalidError(field, "must be one line without control characters")
    return text


def open_account(tx: Tx, account_id: str) -> Account:
    """The account, unless it is closed (ConflictError) or there is none; inside a transaction."""
    account = account_of(tx, account_id)
    if account.status is AccountStatus.CLOSED:
        raise ConflictError("The account is closed; open a new one instead.")
    return account


def _account(row: tuple[Any, ...]) -> Account:
    identity, name, status, email, rate_per_s, note, created_ms, status_ms, language = row
    return Account(
        id=identity,
        name=name,
        status=AccountStatus(status),
        email=email,
        rate_per_s=rate_per_s,
        note=note,
        created_ms=created_ms,
        status_ms=created_ms if status_ms is None else status_ms,
        language=language,
    )


def _email(email: str | None) -> str | None:
    if email is None:
        return None
    try:
        return str(parse_address(email.strip()))
    except AddressError as error:
        raise InvalidError("email", error.reason) from error


def _language(language: str | None) -> str | None:
    if language is None or language in LANGUAGES:
        return language
    raise InvalidError("language", f"must be one of {', '.join(LANGUAGES)}")
