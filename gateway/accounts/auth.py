"""Who is asking: checks API keys and passwords, slows guessing, and keeps the answers for the hot path.

A secret that was good is recognised by a keyed digest of it, without a read or a hash, until anything
changes (`gateway.store.cache`). Everything else is looked up in the database, so a credential made a moment
ago works at once. Raises `AuthRefused`; its texts never tell an unknown user from a wrong secret.

Only who guesses waits. The 160 bits of an API key or SMTP secret cannot be guessed, so each is looked at,
whatever failed before it; only the answer to a wrong one says to wait. SMPP's short passwords are hashed
slowly, and wait their turn; but where the credential has logged in before (`gateway.accounts.known`) the
right one is recognised at once. A wrong one goes the slow way there, too, and is answered as anywhere.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, NoReturn

import structlog

from config.sections.limits import Limits
from gateway.accounts import known
from gateway.accounts.credentials import ALL_SCOPES, scopes_of
from gateway.accounts.guessing import Guessing, Pair
from gateway.accounts.known import KnownLogins, Remember
from gateway.accounts.secrets import DECOY, CredentialKind, key_prefix, matches
from gateway.accounts.service import AccountStatus
from gateway.clock import Clock
from gateway.peers import peer_prefix
from gateway.store import revision
from gateway.store.cache import Caches
from gateway.store.errors import StoreBusy
from gateway.store.operation import Call
from gateway.store.tx import Tx
from policy.retention import DAY_MS

log = structlog.get_logger(__name__)

_COLUMNS = """
SELECT c.account_id, c.id, c.kind, c.username, c.scopes, c.secret_hash, a.name, a.status, a.rate_per_s, a.note
"""
_FROM = "FROM credential c JOIN account a ON a.id = c.account_id"
_BY_USERNAME = f"{_COLUMNS} {_FROM} WHERE c.revoked_ms IS NULL AND c.kind = ? AND c.username = ?"
_BY_ID = f"{_COLUMNS} {_FROM} WHERE c.revoked_ms IS NULL AND c.account_id = ? AND c.id = ?"
_KNOWN = f"""
{_COLUMNS}, k.digest, k.last_ms {_FROM} LEFT JOIN known_login k
ON k.account_id = c.account_id AND k.credential_id = c.id AND k.prefix = ? AND k.last_ms > ?
WHERE c.revoked_ms IS NULL AND c.kind = ? AND c.username = ?
"""
_ACCOUNT_ITSELF = """
SELECT id, name, status, rate_per_s, note FROM account WHERE id = ? OR name = ? LIMIT 1
"""

_PRINCIPALS_MAX = 20_000
_LONGEST_SECRET = 256
_READS_AT_ONCE = 32  # of those the store allows: guesses without end leave the rest to others
_SCRYPT_AT_ONCE = 2  # 16 MiB and a core each
_SCRYPT_WAITING = 64
_TELL_EVERY_S = 60.0


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

    @property
    def rate_per_s(self) -> int | None:
        """How many requests a second the account may make; None: what is configured."""
        return self.account.rate_per_s

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


@dataclass(slots=True)
class _Found:
    """A credential as it is stored. `digest` is that of its secret where it has logged in before."""

    principal: Principal
    secret_hash: str
    digest: str | None = None
    last_ms: int = 0


class Authenticator:
    """Checks credentials. One per process: it remembers failures and good secrets."""

    def __init__(
        self, caches: Caches, clock: Clock, limits: Limits, *, login_key: bytes | None = None
    ) -> None:
        """With the `login_key` of an earlier process, what logged in then is known still."""
        self._caches = caches
        self._clock = clock
        self._trusted_ms = limits.auth_trusted_days * DAY_MS
        self._guessing = Guessing(limits)
        self._digest_key = os.urandom(32)  # what is kept of a good secret is worth nothing outside
        self._logins = KnownLogins(login_key or self._digest_key)
        self._by_field = caches.cache(_nothing, _PRINCIPALS_MAX)
        self._by_secret = caches.cache(_nothing, _PRINCIPALS_MAX)
        self._by_id = caches.cache(_load_by_id, _PRINCIPALS_MAX)
        self._by_pair = caches.cache(_nothing_found, _PRINCIPALS_MAX)
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._scrypt = asyncio.Semaphore(_SCRYPT_AT_ONCE)
        self._scrypt_waiting = 0
        self._tell_again_s = 0.0

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
            pair = Pair(CredentialKind.API.value, peer_prefix(peer), "")
            self._guessing.failed(pair, self._clock.monotonic_s())
            raise AuthRefused("malformed", "This is not an API key. Send Authorization: Bearer gw_…")
        return await self.password(CredentialKind.API, prefix, key, peer)

    async def password(self, kind: CredentialKind, username: str, password: str, peer: str) -> Principal:
        """Who `username` with `password` is; for kind api `password` is the whole key."""
        if kind is CredentialKind.SMPP:
            return await self._short(Pair(kind.value, peer_prefix(peer), username), password)
        digest = self._digest(kind, username, password)
        held = self._by_secret.peek(digest)
        if held is not None:
            return held
        generation = self._caches.generation
        found = await self._find(kind, username, password)
        if found is None or not matches(found.secret_hash, password):
            pair = Pair(kind.value, peer_prefix(peer), username)
            self._wait_out(pair, guessable=False)
            self._fail(kind, pair)
        principal = self._usable(found, generation)
        self._by_secret.put(digest, principal, generation)
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

    def stays(self, principal: Principal, peer: str) -> None:
        """A bind of an SMPP credential is open still: so that it is known when it comes back. Once a day."""
        prefix = self._logins.prefix(Pair(principal.kind.value, peer_prefix(peer), principal.username))
        row = (principal.account_id, principal.credential_id, prefix, self._clock.now_ms())
        with contextlib.suppress(StoreBusy):
            self._caches.store.post(Call(lambda tx: known.touch(tx, *row), revision.LOCK))

    # --- looking up ------------------------------------------------------------------------------------

    def _digest(self, kind: CredentialKind, username: str, password: str) -> bytes:
        text = f"{kind.value}\0{len(username)}\0{username}\0{password}"
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._digest_key, digest_size=20).digest()

    def _field_digest(self, field: bytes) -> bytes:
        return blake2b(field, key=self._digest_key, digest_size=20).digest()

    async def _find(self, kind: CredentialKind, username: str, password: str) -> _Found | None:
        if not _plausible(username, password):
            return None
        async with self._reads:
            row = await self._caches.store.read(lambda tx: tx.one(_BY_USERNAME, (kind.value, username)))
        return None if row is None else _Found(_principal(row), row[5])

    async def _find_pair(self, pair: Pair, password: str) -> _Found | None:
        """The same for SMPP, with what is known of the pair; a pair that has logged in is held."""
        if not _plausible(pair.user, password):
            return None
        since_ms = self._clock.now_ms() - self._trusted_ms
        held = self._by_pair.peek(pair)
        if held is not None and held.last_ms > since_ms:
            return held
        generation = self._caches.generation
        key = (self._logins.prefix(pair), since_ms, pair.door, pair.user)
        async with self._reads:
            row = await self._caches.store.read(lambda tx: tx.one(_KNOWN, key))
        if row is None:
            return None
        found = _Found(_principal(row[:10]), row[5], row[10], row[11] or 0)
        if found.digest is not None:
            self._by_pair.put(pair, found, generation)
        return found

    def _usable(self, found: _Found, generation: int) -> Principal:
        """Who it is, unless the account may do nothing; to be renewed without a read from now on."""
        principal = found.principal
        _check_account(principal.account)
        self._by_id.put((principal.account_id, principal.credential_id), principal, generation)
        return principal

    # --- short secrets ---------------------------------------------------------------------------------

    async def _short(self, pair: Pair, password: str) -> Principal:
        """Who `pair.user` is: by the digest where it has logged in before, or else by the slow hash."""
        generation = self._caches.generation
        found = await self._find_pair(pair, password)
        if found is None or not self._recognised(found, pair, password):
            self._wait_out(pair)
            good = await self._matches(found, pair, password)
            if not good or found is None:
                self._fail(CredentialKind.SMPP, pair)
            digest = self._logins.digest(pair, password, found.secret_hash)
            if found.digest is None or not compare_digest(found.digest, digest):
                found.digest, found.last_ms = digest, 0
            self._by_pair.put(pair, found, generation)
        principal = self._usable(found, generation)
        self._remember(found, pair)
        return principal

    def _recognised(self, found: _Found, pair: Pair, password: str) -> bool:
        """Whether the secret is the one that logged in from here before. A wrong one takes a look away."""
        now_s = self._clock.monotonic_s()
        if found.digest is None:
            return False
        if not self._guessing.may_look(pair, now_s):
            self._tell_flooded(found.principal.account_id, now_s)
            return False
        if compare_digest(found.digest, self._logins.digest(pair, password, found.secret_hash)):
            return True
        self._guessing.looked(pair, now_s)
        return False

    def _tell_flooded(self, account_id: str, now_s: float) -> None:
        if now_s >= self._tell_again_s:
            self._tell_again_s = now_s + _TELL_EVERY_S
            log.warning("known_login_flooded", account_id=account_id)

    def _remember(self, found: _Found, pair: Pair) -> None:
        """Has it written, unless it was today; a store that has no time does it at another login."""
        now_ms = self._clock.now_ms()
        if found.digest is None or now_ms - found.last_ms < DAY_MS:
            return
        who = found.principal
        prefix = self._logins.prefix(pair)
        with contextlib.suppress(StoreBusy):
            self._caches.store.post(Remember(who.account_id, who.credential_id, prefix, found.digest, now_ms))
            found.last_ms = now_ms

    async def _matches(self, found: _Found | None, pair: Pair, password: str) -> bool:
        """Whether the slow hash says so; without a user it takes the same time."""
        if self._scrypt_waiting >= _SCRYPT_WAITING:
            raise AuthRefused("busy", "Too many logins at once; try again in a moment.", 1.0)
        if not _plausible(pair.user, password):
            return False
        self._scrypt_waiting += 1
        try:
            async with self._scrypt:
                # Those who came in parallel wait out what the first of them has earned.
                self._wait_out(pair)
                return await asyncio.to_thread(matches, found.secret_hash if found else DECOY, password)
        finally:
            self._scrypt_waiting -= 1

    # --- refusing --------------------------------------------------------------------------------------

    def _wait_out(self, pair: Pair, *, guessable: bool = True) -> None:
        """Refuses what comes before its time, and does not count it."""
        delay_s = self._guessing.delay_s(pair, self._clock.monotonic_s(), guessable=guessable)
        if delay_s > 0:
            raise _slow_down(delay_s)

    def _fail(self, kind: CredentialKind, pair: Pair) -> NoReturn:
        """Counts a wrong secret and says no."""
        self._guessing.failed(pair, self._clock.monotonic_s())
        raise AuthRefused("credentials", _WRONG[kind])


def _slow_down(delay_s: float) -> AuthRefused:
    return AuthRefused("slow_down", "Too many failed attempts; wait before the next one.", delay_s)


def _nothing(_tx: Tx, _digest: bytes) -> Principal | None:
    return None


def _nothing_found(_tx: Tx, _pair: Pair) -> _Found | None:
    return None


def _plausible(username: str, password: str) -> bool:
    """Whether there can be such a credential; PostgreSQL takes no NUL in a text."""
    return (
        len(password) <= _LONGEST_SECRET
        and len(username) <= 64
        and username.isascii()
        and username.isprintable()
    )


def _load_by_id(tx: Tx, key: tuple[str, str]) -> Principal | None:
    row = tx.one(_BY_ID, key)
    return None if row is None else _principal(row)


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


def principal_of(tx: Tx, account: str) -> Principal | None:
    """Who sends for an account, given by id or name, without a login of its own; None: there is none."""
    row = tx.one(_ACCOUNT_ITSELF, (account, account))
    if row is None:
        return None
    account_id, name, status, rate_per_s, note = row
    return Principal(
        account_id=account_id,
        credential_id="",
        kind=CredentialKind.SMTP,
        username=name,
        scopes=frozenset(),
        account=PrincipalAccount(name=name, status=AccountStatus(status), rate_per_s=rate_per_s, note=note),
    )
