"""The DKIM keys of a domain: made, published, activated one by one, retired (rows of `dkim_key`).

A key signs from the moment its record has been seen (or the operator said so), and retires the older ones
of its algorithm then, so a rotation never signs with what nobody can check. A retired key's record is to
stay for a week, for the mail that is still under way. Selectors are the configured prefix and a number that
is unique within the domain, whichever accounts have it. An account's first number is a random one, so that
it does not tell whether others have the domain, too; later ones count up from it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway.domains.records import DnsRecord
from gateway.store.tx import Tx
from smtp import dkim

RETIRED_KEPT_MS = 7 * 86_400_000  # longer than the lifetime of a mail (RFC 5321 section 4.5.4.1: 5 days)
_PARSED_MAX = 4096
_NUMBERS_FROM = 100_000  # of six digits: two accounts meet once in a few hundred thousand times
_NUMBERS = 900_000

_SELECT = """
SELECT selector, algorithm, private_pem, created_ms, active_ms, retired_ms FROM dkim_key
WHERE account_id = ? AND domain = ?
"""
_SELECTORS = "SELECT selector FROM dkim_key WHERE domain = ?"
_INSERT = """
INSERT INTO dkim_key (account_id, domain, selector, algorithm, private_pem, created_ms)
VALUES (?, ?, ?, ?, ?, ?)
"""
_ACTIVATE = "UPDATE dkim_key SET active_ms = ? WHERE account_id = ? AND domain = ? AND selector = ?"
_RETIRE = "UPDATE dkim_key SET retired_ms = ? WHERE account_id = ? AND domain = ? AND selector = ?"
_DELETE = "DELETE FROM dkim_key WHERE account_id = ? AND domain = ? AND selector = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """One key. New while `active_ms` is None, retired when `retired_ms` is set, else it signs."""

    domain: str
    selector: str
    algorithm: str
    created_ms: int
    active_ms: int | None
    retired_ms: int | None
    private_pem: str = field(repr=False)

    @property
    def state(self) -> str:
        """new, active or retired."""
        if self.retired_ms is not None:
            return "retired"
        return "new" if self.active_ms is None else "active"

    @property
    def record(self) -> DnsRecord:
        """What to publish for it."""
        found = dkim.dns_record(parsed(self.private_pem, self.domain, self.selector))
        return DnsRecord(purpose="dkim", type="TXT", name=found.name, value=found.text)


@lru_cache(maxsize=_PARSED_MAX)
def parsed(private_pem: str, domain: str, selector: str) -> dkim.SigningKey:
    """The key ready to sign, which outlives the caches that hold it. All keys here are from `make_pems`."""
    return dkim.load_key(private_pem.encode(), domain=domain, selector=selector, ours=True)


def make_pems(*, ed25519: bool) -> list[tuple[str, str]]:
    """New private keys as (algorithm, PEM): RSA-2048, and Ed25519 (RFC 8463). To be called in a thread."""
    rsa, ed = dkim.make_keys()
    pems = [("rsa-sha256", rsa.decode())]
    return [*pems, ("ed25519-sha256", ed.decode())] if ed25519 else pems


def keys_of(tx: Tx, account_id: str, domain: str) -> list[DkimKey]:
    """The keys in the order of their numbers."""
    rows = tx.rows(_SELECT, (account_id, domain))
    return sorted((_key(domain, row) for row in rows), key=lambda key: _number(key.selector))


def insert(
    tx: Tx,
    account_id: str,
    domain: str,
    pems: Sequence[tuple[str, str]],
    *,
    prefix: str,
    now_ms: int,
    random_below: Callable[[int], int],
) -> None:
    """Adds new keys under the account's next free selectors."""
    taken = {_number(selector) for (selector,) in tx.rows(_SELECTORS, (domain,))}
    number = max((_number(key.selector) for key in keys_of(tx, account_id, domain)), default=0)
    if number < _NUMBERS_FROM:
        number = _NUMBERS_FROM + random_below(_NUMBERS)
    for algorithm, pem in pems:
        number += 1
        while number in taken:
            number += 1
        tx.run(_INSERT, (account_id, domain, f"{prefix}{number}", algorithm, pem, now_ms))


def drop_new(tx: Tx, account_id: str, domain: str, *, except_for: Collection[str]) -> None:
    """Deletes keys that never signed, but for some selectors."""
    for key in keys_of(tx, account_id, domain):
        if key.state == "new" and key.selector not in except_for:
            tx.run(_DELETE, (account_id, domain, key.selector))


def drop_retired(tx: Tx, account_id: str, domain: str, now_ms: int) -> None:
    """Deletes retired keys whose week is over."""
    for key in keys_of(tx, account_id, domain):
        if key.retired_ms is not None and key.retired_ms + RETIRED_KEPT_MS <= now_ms:
            tx.run(_DELETE, (account_id, domain, key.selector))


def activate(tx: Tx, account_id: str, domain: str, selectors: Collection[str], now_ms: int) -> None:
    """Lets the new keys among `selectors` sign, and retires the older ones of their algorithms."""
    keys = keys_of(tx, account_id, domain)
    for key in keys:
        if key.state == "new" and key.selector in selectors:
            tx.run(_ACTIVATE, (now_ms, account_id, domain, key.selector))
            for older in keys:
                same = older.algorithm == key.algorithm and _number(older.selector) < _number(key.selector)
                if same and older.state == "active":
                    tx.run(_RETIRE, (now_ms, account_id, domain, older.selector))


def _number(selector: str) -> int:
    digits = selector[len(selector.rstrip("0123456789")) :]
    return int(digits) if digits else 0


def _key(domain: str, row: tuple[Any, ...]) -> DkimKey:
    selector, algorithm, private_pem, created_ms, active_ms, retired_ms = row
    return DkimKey(
        domain=domain,
        selector=selector,
        algorithm=algorithm,
        created_ms=created_ms,
        active_ms=active_ms,
        retired_ms=retired_ms,
        private_pem=private_pem,
    )
