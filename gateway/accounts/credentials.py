"""Credentials: API keys, SMTP and SMPP logins; made, listed without their secrets, renewed and revoked.

A secret is shown once, in `Issued`, and kept only as a hash (`gateway.accounts.secrets`). Raises the errors
of `gateway.errors`. Checking a secret is `gateway.accounts.auth`.
"""

import asyncio
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.accounts import known
from gateway.accounts.secrets import (
    PREFIX_CHARACTERS,
    CredentialKind,
    RandomBytes,
    hash_secret,
    make_secret,
    matches,
    random_text,
)
from gateway.accounts.service import open_account, plain_text
from gateway.clock import Clock
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.ids import IdFactory
from gateway.store.cache import Caches
from gateway.store.tx import Tx

ALL_SCOPES = "*"
"""Whatever an API key may be allowed."""


class Scopes(frozenset[str]):
    """What an API key may be allowed: those of every vertical."""


IMPLIED_SCOPES = {
    CredentialKind.SMTP: frozenset({"mail:send", "sms:send"}),
    CredentialKind.SMPP: frozenset({"sms:send"}),
}
CREDENTIALS_MAX = 1000  # not revoked, per account
LABEL_MAX = 100

_USERNAMES = {
    CredentialKind.SMTP: re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@+-]{0,63})"),
    CredentialKind.SMPP: re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,14})"),  # SMPP 3.4 section 5.2.1
}
_USERNAME_RULES = {
    CredentialKind.SMTP: "1 to 64 letters, digits or . _ @ + -, beginning with a letter or digit",
    CredentialKind.SMPP: "1 to 15 letters, digits or . _ -, beginning with a letter or digit",
}
_HASH = """
SELECT account_id, secret_hash FROM credential WHERE kind = ? AND username = ? AND revoked_ms IS NULL
"""
_INSERT = """
INSERT INTO credential (account_id, id, kind, username, secret_hash, scopes, label, created_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_COLUMNS = "account_id, id, kind, username, scopes, label, created_ms, revoked_ms"
_ONE = f"SELECT {_COLUMNS} FROM credential WHERE account_id = ? AND id = ?"  # noqa: S608 - constants only
_LIST = f"""
SELECT {_COLUMNS} FROM credential
WHERE account_id = ? AND id > ? AND (? = 1 OR revoked_ms IS NULL) ORDER BY id LIMIT ?
"""  # noqa: S608 - constants only
_COUNT = "SELECT count(*) FROM credential WHERE account_id = ? AND revoked_ms IS NULL"
_TAKEN = "SELECT 1 FROM credential WHERE kind = ? AND username = ?"
_REVOKE = "UPDATE credential SET revoked_ms = ? WHERE account_id = ? AND id = ? AND revoked_ms IS NULL"
_SET_HASH = "UPDATE credential SET secret_hash = ? WHERE account_id = ? AND id = ?"
_decode_scopes = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One credential without its secret. `username` is the public prefix of an API key."""

    account_id: str
    id: str
    kind: CredentialKind
    username: str
    scopes: frozenset[str]
    label: str | None
    created_ms: int
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential just made or renewed: the only time its secret is there to be shown."""

    credential: Credential
    secret: str = field(repr=False)


class Credentials:
    """Every account's credentials."""

    def __init__(
        self,
        caches: Caches,
        clock: Clock,
        ids: IdFactory,
        scopes: Scopes,
        *,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._scopes = scopes
        self._caches = caches
        self._clock = clock
        self._ids = ids
        self._random_bytes = random_bytes

    async def create(
        self,
        account_id: str,
        kind: CredentialKind,
        *,
        username: str | None = None,
        scopes: Iterable[str] = (ALL_SCOPES,),
        label: str | None = None,
    ) -> Issued:
        """A new credential. `username` (SMTP, SMPP) is made up if none is given; `scopes` are for API keys.

        Raises ConflictError for a username in use, also by a revoked credential: renew that one instead.
        """
        now_ms = self._clock.now_ms()
        credential = Credential(
            account_id=account_id,
            id=self._ids.new(now_ms),
            kind=kind,
            username=self._username(kind, username),
            scopes=IMPLIED_SCOPES.get(kind) or self._checked(scopes),
            label=None if label is None else plain_text("label", label, LABEL_MAX),
            created_ms=now_ms,
            revoked_ms=None,
        )
        secret = make_secret(kind, credential.username, self._random_bytes)
        hashed = await self._hash(kind, secret)
        await self._caches.write(lambda tx: _insert(tx, credential, hashed))
        return Issued(credential, secret)

    async def get(self, account_id: str, credential_id: str) -> Credential:
        """The credential, or NotFoundError."""
        return await self._caches.store.read(lambda tx: _one(tx, account_id, credential_id))

    async def list(
        self, account_id: str, *, after: str = "", limit: int = 100, revoked: bool = False
    ) -> "list[Credential]":
        """Up to `limit` credentials from the one behind id `after`; revoked ones only when asked for."""
        rows = await self._caches.store.read(
            lambda tx: tx.rows(_LIST, (account_id, after, int(revoked), limit))
        )
        return [_credential(row) for row in rows]

    async def renew(self, account_id: str, credential_id: str) -> Issued:
        """The same credential with a new secret; the old one stops at once."""
        credential = await self.get(account_id, credential_id)
        secret = make_secret(credential.kind, credential.username, self._random_bytes)
        hashed = await self._hash(credential.kind, secret)

        def change(tx: Tx) -> Credential:
            current = _one(tx, account_id, credential_id)
            if current.revoked_ms is not None:
                raise ConflictError("The credential is revoked; make a new one.")
            tx.run(_SET_HASH, (hashed, account_id, credential_id))
            known.forget(tx, account_id, credential_id)
            return current

        return Issued(await self._caches.write(change), secret)

    async def revoke(self, account_id: str, credential_id: str) -> Credential:
        """Ends the credential for good; revoking it twice changes nothing."""
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> Credential:
            _one(tx, account_id, credential_id)
            tx.run(_REVOKE, (now_ms, account_id, credential_id))
            known.forget(tx, account_id, credential_id)
            return _one(tx, account_id, credential_id)

        return await self._caches.write(change)

    def _username(self, kind: CredentialKind, username: str | None) -> str:
        if kind is CredentialKind.API:
            if username is not None:
                raise InvalidError("username", "an API key has none; use label to tell keys apart")
            return random_text(PREFIX_CHARACTERS, self._random_bytes)
        if username is None:
            return f"{kind.value}-{random_text(10, self._random_bytes)}"  # 15 characters: fits a system_id
        if _USERNAMES[kind].fullmatch(username) is None:
            raise InvalidError("username", f"must be {_USERNAME_RULES[kind]}")
        return username

    async def _hash(self, kind: CredentialKind, secret: str) -> str:
        if kind is CredentialKind.SMPP:
            return await asyncio.to_thread(hash_secret, kind, secret, self._random_bytes)
        return hash_secret(kind, secret)

    async def opens(self, account_id: str, kind: CredentialKind, username: str, secret: str) -> bool:
        """Whether the account has this login: its own setting up asks, which needs no slowing."""
        row = await self._caches.store.read(lambda tx: tx.one(_HASH, (kind.value, username)))
        return row is not None and row[0] == account_id and matches(row[1], secret)

    def _checked(self, scopes: Iterable[str]) -> frozenset[str]:
        """The scopes as a set; raises InvalidError for unknown ones and for none at all."""
        wanted = frozenset(scopes)
        unknown = sorted(wanted - self._scopes - {ALL_SCOPES})
        if unknown:
            known = ", ".join([ALL_SCOPES, *sorted(self._scopes)])
            raise InvalidError("scopes", f"{', '.join(unknown)[:100]} is unknown; use some of {known}")
        if not wanted:
            raise InvalidError("scopes", "must name at least one; * for everything")
        return frozenset({ALL_SCOPES}) if ALL_SCOPES in wanted else wanted


def scopes_of(kind: str, stored: str) -> frozenset[str]:
    """The scopes of a row: those of its kind, or the list that is stored with an API key."""
    return IMPLIED_SCOPES.get(CredentialKind(kind)) or frozenset(_decode_scopes(stored))


def _insert(tx: Tx, credential: Credential, hashed: str) -> None:
    open_account(tx, credential.account_id)
    row = tx.one(_COUNT, (credential.account_id,))
    if row is not None and row[0] >= CREDENTIALS_MAX:
        raise LimitError(f"The account has {CREDENTIALS_MAX} credentials; revoke some that are not used.")
    if tx.one(_TAKEN, (credential.kind.value, credential.username)) is not None:
        raise ConflictError(f"The username {credential.username} is taken; choose another one.")
    scopes = msgspec.json.encode(sorted(credential.scopes)).decode()
    tx.run(
        _INSERT,
        (
            credential.account_id,
            credential.id,
            credential.kind.value,
            credential.username,
            hashed,
            scopes,
            credential.label,
            credential.created_ms,
        ),
    )


def _one(tx: Tx, account_id: str, credential_id: str) -> Credential:
    row = tx.one(_ONE, (account_id, credential_id))
    if row is None:
        raise NotFoundError("There is no such credential.")
    return _credential(row)


def _credential(row: tuple[Any, ...]) -> Credential:
    account_id, identity, kind, username, scopes, label, created_ms, revoked_ms = row
    return Credential(
        account_id=account_id,
        id=identity,
        kind=CredentialKind(kind),
        username=username,
        scopes=scopes_of(kind, scopes),
        label=label,
        created_ms=created_ms,
        revoked_ms=revoked_ms,
    )
