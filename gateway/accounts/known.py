"""Known logins: from where each SMPP credential has logged in, so that its next login needs no slow hash.

A row of `known_login` holds two keyed digests: of the prefix, and of the secret with the hash that it was
checked against (a renewed secret makes it worthless). The key is a file of its own in `server.data_dir`:
whoever has the database alone learns neither an address nor anything about a password's 40 bits. Machines on
one PostgreSQL that do not share the file know their own logins only.

Credentials of 160 bits have no rows: nothing is slow about checking them.

A row is written at most once a day, at a login or while a bind is open. It goes with its credential or
account, after `limits.auth_trusted_days` without a login (`gateway.jobs.retention`), and when there are too
many, the least recent first.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.accounts.guessing import Pair
from gateway.files import private_once
from gateway.store import revision
from gateway.store.locks import Locks
from gateway.store.operation import Operation
from gateway.store.tx import Tx
from policy.retention import DAY_MS

log = structlog.get_logger(__name__)

ROWS_MAX: Final = 100_000
ACCOUNT_ROWS_MAX: Final = 1_000
"""Of one account: an IPv6 site has 65,536 prefixes, which must not push out everybody else's rows."""
KEY_FILE: Final = "login.key"
_KEY_OCTETS = 32


class LoginKey(bytes):
    """What the digests of known logins are keyed with."""


_ROOM = 100  # is made at a time, since to look for the least recent of all takes some 10 ms
_ALL = 1_000_000  # more than there can be

_REMEMBER = """
INSERT INTO known_login (account_id, credential_id, prefix, digest, last_ms)
SELECT c.account_id, c.id, ?, ?, ? FROM credential c JOIN account a ON a.id = c.account_id
WHERE c.account_id = ? AND c.id = ? AND c.revoked_ms IS NULL AND a.status <> 'closed'
ON CONFLICT (account_id, credential_id, prefix)
DO UPDATE SET digest = excluded.digest, last_ms = excluded.last_ms
WHERE known_login.last_ms <= excluded.last_ms - ? OR known_login.digest <> excluded.digest
"""
_KEY = "(account_id, credential_id, prefix)"
_TRIM_ACCOUNT = f"""
DELETE FROM known_login WHERE {_KEY} IN (
  SELECT account_id, credential_id, prefix FROM known_login WHERE account_id = ?
  ORDER BY last_ms DESC LIMIT {_ALL} OFFSET {ACCOUNT_ROWS_MAX}"""  # noqa: S608 - constants only
_COUNT = "SELECT count(*) FROM known_login"
_TRIM = f"""
DELETE FROM known_login WHERE {_KEY} IN (
  SELECT account_id, credential_id, prefix FROM known_login
  ORDER BY last_ms DESC LIMIT {_ALL} OFFSET {ROWS_MAX - _ROOM}"""  # noqa: S608 - constants only
_PURGE = """
DELETE FROM known_login WHERE (account_id, credential_id, prefix) IN (
  SELECT account_id, credential_id, prefix FROM known_login WHERE last_ms <= ? LIMIT ?{skip_locked})
"""
_TOUCH = """
UPDATE known_login SET last_ms = ?
WHERE account_id = ? AND credential_id = ? AND prefix = ? AND last_ms <= ?
"""
_FORGET = "DELETE FROM known_login WHERE account_id = ? AND credential_id = ?"
_FORGET_ACCOUNT = "DELETE FROM known_login WHERE account_id = ?"


class KnownLogins:
    """The digests, made with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def prefix(self, pair: Pair) -> str:
        """What is kept of the prefix of `pair`."""
        return blake2b(pair.prefix.encode(), key=self._key, digest_size=16, person=b"prefix").hexdigest()

    def digest(self, pair: Pair, secret: str, secret_hash: str) -> str:
        """What is kept of `secret`, which `secret_hash` was made of, for logins of `pair`."""
        text = f"{secret_hash}\0{pair.prefix}\0{pair.user}\0{secret}"
        octets = text.encode("utf-8", "surrogatepass")
        return blake2b(octets, key=self._key, digest_size=20, person=b"secret").hexdigest()


class Remember(Operation[None]):
    """Writes that a pair has logged in, unless that was written today."""

    def __init__(self, account_id: str, credential_id: str, prefix: str, digest: str, now_ms: int) -> None:
        self.account_id = account_id
        self.row = (prefix, digest, now_ms, account_id, credential_id, DAY_MS)

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[Remember]") -> Locks:
        """That of credentials: whoever revokes one drops its rows."""
        del tx, operations
        return revision.LOCK

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[Remember]") -> list[Any]:
        rows = sorted((one.row for one in operations), key=lambda row: (row[3], row[4], row[0]))
        tx.run_many(_REMEMBER, rows)
        for account_id in sorted({row[3] for row in rows}):
            tx.run(f"{_TRIM_ACCOUNT}{tx.skip_locked})", (account_id,))
        if tx.rows(_COUNT)[0][0] > ROWS_MAX:
            tx.run(f"{_TRIM}{tx.skip_locked})")
        return [None] * len(operations)


def touch(tx: Tx, account_id: str, credential_id: str, prefix: str, now_ms: int) -> None:
    """Writes that a pair is still logged in, unless that was written today."""
    tx.require(revision.LOCK)
    tx.run(_TOUCH, (now_ms, account_id, credential_id, prefix, now_ms - DAY_MS))


def forget(tx: Tx, account_id: str, credential_id: str | None = None) -> None:
    """Drops the rows of a credential, or of the whole account."""
    tx.require(revision.LOCK)
    if credential_id is None:
        tx.run(_FORGET_ACCOUNT, (account_id,))
    else:
        tx.run(_FORGET, (account_id, credential_id))


def read_key(folder: Path) -> LoginKey:
    """The key in `folder`, made if there is none; without a usable one, one for this process alone."""
    made = LoginKey(os.urandom(_KEY_OCTETS))
    try:
        key = private_once(folder / KEY_FILE, made)
    except OSError as error:
        log.warning("login_key_unusable", reason=str(error))
        return made
    if len(key) != _KEY_OCTETS:
        log.warning("login_key_unusable", reason=f"it has {len(key)} octets instead of {_KEY_OCTETS}")
        return made
    return LoginKey(key)


def purge(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Forgets up to `limit` logins since which `before_ms` has passed; how many it were. It is a sweep."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (before_ms, limit))
