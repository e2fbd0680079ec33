"""Who is asking: checks API keys and passwords, slows guessing, and keeps the answers for the hot path.

A secret that was good is recognised by a keyed digest of it, without a read or a hash, until anything
changes (`gateway.store.cache`). Everything else is looked up in the database, so a credential made a moment
ago works at once. Raises `AuthRefused`; its texts never tell an unknown user from a wrong secret.

Guessing cannot succeed against the 160 bits of an API key or SMTP secret, so a good one is never kept waiting
at an address that has shown it before; SMPP's short passwords always wait their turn.
"""

import asyncio
import os
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from config.schema import Limits
from gateway.accounts.credentials import ALL_SCOPES, scopes_of
from gateway.accounts.guessing import Guessing
from gateway.accounts.secrets import DECOY, CredentialKind, key_prefix, matches
from gateway.accounts.service import AccountStatus
from gateway.ports import Clock
from gateway.store.cache import Caches
from gateway.store.tx import Tx

_SELECT = """
SELECT c.account_id, c.id, c.kind, c.username, c.scopes, c.secret_hash, a.name, a.status, a.rate_per_s, a.note
FROM credential c JOIN account a ON a.id = c.account_id WHERE c.revoked_ms IS NULL
"""
_BY_USERNAME = f"{_SELECT} AND c.kind = ? AND c.username = ?"
_BY_ID = f"{_SELECT} AND c.account_id = ? AND c.id = ?"

_PRINCIPALS_MAX = 20_000
_LONGEST_SECRET = 256
_SCRYPT_AT_ONCE = 2  # 16 MiB and a core each
_SCRYPT_WAITING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalAccount:
    """What the road needs to know of the account. `rate_per_s` None: the configured limit."""

    name: str
    status: AccountStatus
    rate_per_s: int | None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, through which credential, and what that one may do."""

    account_id: str
    credential_id: str
    kind: CredentialKind
    username: str
    scopes: frozenset[str]
    account: PrincipalAccount

    def allows(self, scope: str) -> bool:
        """Whether the credential may do what `scope` names."""
        return scope in self.scopes or ALL_SCOPES in self.scopes


class AuthRefused(Exception):
    """No. `reason` is one of missing, malformed, credentials, slow_down, busy, revoked, suspended, closed.

    `detail` is public text; `retry_after_s` above 0 says when the next attempt will be looked at.
    """

    def __init__(self, reason: str, detail: str, retry_after_s: float = 0.0) -> None:
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s
        super().__init__(f"{reason}: {detail}")


_WRONG = {
    CredentialKind.API: "The API key is not known. Use a key as it was shown when it was made.",
    CredentialKind.SMTP: "Username or password is wrong.",
    CredentialKind.SMPP: "system_id or password is wrong.",
}


class Authenticator:
    """Checks credentials. One per process: it remembers failures and good secrets."""

    def __init__(self, caches: Caches, clock: Clock, limits: Limits) -> None:
        self._caches = caches
        self._clock = clock
        self._guessing = Guessing(limits)
        self._digest_key = os.urandom(32)  # what is kept of a good secret is worth nothing outside
        self._by_field = caches.cache(_nothing, _PRINCIPALS_MAX)
        self._by_secret = caches.cache(_nothing, _PRINCIPALS_MAX)
        self._by_id = caches.cache(_load_by_id, _PRINCIPALS_MAX)
        self._scrypt = asyncio.Semaphore(_SCRYPT_AT_ONCE)
        self._scrypt_waiting = 0

    def known(self, field: bytes) -> Principal | None:
        """Who a header field with an API key in it, as it came, spoke for a moment ago; None: ask `api_key`.

        It is forgotten with everything else as soon as a credential or an account changes.
        """
        return self._by_field.peek(self._field_digest(field))

    async def api_field(self, field: bytes, header_value: str | None, peer: str) -> Principal:
        """`api_key`, for `header_value` out of `field`; from then on the field is `known`."""
        generation = self._caches.generation
        principal = await self.api_key(header_value, peer)
        self._by_field.put(self._field_digest(field), principal, generation)
        return principal

    async def api_key(self, header_value: str | None, peer: str) -> Principal:
        """Who an Authorization header speaks for: `Bearer gw_…`, or the bare key. `peer` is an IP address."""
        if not header_value:
            raise AuthRefused("missing", "Send your API key as Authorization: Bearer gw_…")
        scheme, _, key = header_value.strip().rpartition(" ")
        prefix = key_prefix(key) if scheme.rstrip().lower() in {"bearer", ""} else None
        if prefix is None:
            self._guessing.failed(peer, "", self._clock.monotonic_s())
            raise AuthRefused("malformed", "This is not an API key. Send Authorization: Bearer gw_…")
        return await self.password(CredentialKind.API, prefix, key, peer)

    async def password(self, kind: CredentialKind, username: str, password: str, peer: str) -> Principal:
        """Who `username` with `password` is; for kind api `password` is the whole key."""
        digest = self._digest(kind, username, password)
        user = f"{kind.value}:{username}"
        held = self._by_secret.peek(digest)
        guessable = kind is CredentialKind.SMPP
        if held is not None and not guessable:
            return held
        delay_s = self._delay_s(peer, user, guessable=guessable)
        if delay_s > 0 and (guessable or not self._guessing.trusts(peer, user)):
            raise _slow_down(delay_s)
        if held is not None:
            self._guessing.succeeded(peer, user)
            return held
        plain = username.isascii() and username.isprintable()  # PostgreSQL takes no NUL in a text
        if len(password) > _LONGEST_SECRET or not plain or len(username) > 64:
            self._refuse_wrong(kind, peer, user, delay_s)
        generation = self._caches.generation
        found = await self._caches.store.read(lambda tx: tx.one(_BY_USERNAME, (kind.value, username)))
        if not await self._matches(found, password, peer, user, guessable=guessable):
            self._refuse_wrong(kind, peer, user, delay_s)
        self._guessing.succeeded(peer, user)
        principal = _usable(found)
        self._by_secret.put(digest, principal, generation)
        self._by_id.put((principal.account_id, principal.credential_id), principal, generation)
        return principal

    def peek(self, principal: Principal) -> Principal | None:
        """The principal of an open session as it stands, if that is known without a read; else `renew` it."""
        held = self._by_id.peek((principal.account_id, principal.credential_id))
        return held if held is not None and held.account.status is AccountStatus.ACTIVE else None

    async def renew(self, principal: Principal) -> Principal:
        """The principal of an open session (SMTP, a bind) as it stands now.

        Raises AuthRefused when the credential was revoked, or the account suspended or closed, since.
        """
        current = await self._by_id.get((principal.account_id, principal.credential_id))
        if current is None:
            raise AuthRefused("revoked", "These credentials were revoked. Use others.")
        _check_account(current.account)
        return current

    def _digest(self, kind: CredentialKind, username: str, password: str) -> bytes:
        text = f"{kind.value}\0{len(username)}\0{username}\0{password}"
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._digest_key, digest_size=20).digest()

    def _field_digest(self, field: bytes) -> bytes:
        return blake2b(field, key=self._digest_key, digest_size=20).digest()

    def _delay_s(self, peer: str, user: str, *, guessable: bool) -> float:
        return self._guessing.delay_s(peer, user, self._clock.monotonic_s(), guessable=guessable)

    def _refuse_wrong(self, kind: CredentialKind, peer: str, user: str, delay_s: float) -> None:
        if delay_s > 0:  # looked at all the same, for the sake of a good secret: it was none
            raise _slow_down(delay_s)
        self._guessing.failed(peer, user, self._clock.monotonic_s())
        raise AuthRefused("credentials", _WRONG[kind])

    async def _matches(
        self, found: tuple[Any, ...] | None, password: str, peer: str, user: str, *, guessable: bool
    ) -> bool:
        stored = DECOY if found is None else found[5]
        if not guessable:
            return found is not None and matches(stored, password)
        if self._scrypt_waiting >= _SCRYPT_WAITING:
            raise AuthRefused("busy", "Too many logins at once; try again in a moment.", 1.0)
        self._scrypt_waiting += 1
        try:
            async with self._scrypt:
                # Those who came in parallel wait out what the first of them has earned.
                delay_s = self._delay_s(peer, user, guessable=True)
                if delay_s > 0:
                    raise _slow_down(delay_s)
                good = await asyncio.to_thread(matches, stored, password)
        finally:
            self._scrypt_waiting -= 1
        return good and found is not None


def _slow_down(delay_s: float) -> AuthRefused:
    return AuthRefused("slow_down", "Too many failed attempts; wait before the next one.", delay_s)


def _nothing(_tx: Tx, _digest: bytes) -> Principal | None:
    return None


def _load_by_id(tx: Tx, key: tuple[str, str]) -> Principal | None:
    row = tx.one(_BY_ID, key)
    return None if row is None else _principal(row)


def _usable(row: Any) -> Principal:
    principal = _principal(row)
    _check_account(principal.account)
    return principal


def _check_account(account: PrincipalAccount) -> None:
    if account.status is AccountStatus.SUSPENDED:
        because = f": {account.note}" if account.note else ""
        raise AuthRefused("suspended", f"The account is suspended{because}. Ask the operator.")
    if account.status is AccountStatus.CLOSED:
        raise AuthRefused("closed", "The account is closed.")


def _principal(row: tuple[Any, ...]) -> Principal:
    account_id, credential_id, kind, username, scopes, _hash, name, status, rate_per_s, note = row
    return Principal(
        account_id=account_id,
        credential_id=credential_id,
        kind=CredentialKind(kind),
        username=username,
        scopes=scopes_of(kind, scopes),
        account=PrincipalAccount(name=name, status=AccountStatus(status), rate_per_s=rate_per_s, note=note),
    )
