"""Sender domains: added, proved by the DKIM record that only their owner can publish, and checked.

Only verified domains send. Two accounts may have the same domain, each with selectors and keys of its own, so
each proves it for itself. Raises the errors of `gateway.errors`.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from config.sections.messages import Mail
from gateway.accounts.service import open_account
from gateway.clock import Clock
from gateway.dns import Dns
from gateway.domains import keys
from gateway.domains.check import RecordState, Row, check, check_dkim
from gateway.domains.keys import DkimKey
from gateway.domains.records import DMARC_SUGGESTED, DnsRecord, spf_record
from gateway.domains.spf import SpfJudge
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.events.record import of_account
from gateway.store.cache import Caches
from gateway.store.tx import Tx
from smtp.address import AddressError, parse_domain

VERIFIED: Final = "domain.verified"
"""The kind of event."""
DOMAINS_MAX = 1000  # per account
_LONGEST_NAME = 253 - len("._domainkey.") - 63  # room for any selector
_KEYS_AT_ONCE = 1  # making an RSA key takes a core for a good while

_ONE = "SELECT status, created_ms, verified_ms FROM domain WHERE account_id = ? AND name = ?"
_LIST = "SELECT name FROM domain WHERE account_id = ? AND name > ? ORDER BY name LIMIT ?"
_COUNT = "SELECT count(*) FROM domain WHERE account_id = ?"
_INSERT = "INSERT INTO domain (account_id, name, status, created_ms) VALUES (?, ?, 'pending', ?)"
_VERIFY = "UPDATE domain SET status = 'verified', verified_ms = ? WHERE account_id = ? AND name = ?"
_DELETE = "DELETE FROM domain WHERE account_id = ? AND name = ?"
_DELETE_KEYS = "DELETE FROM dkim_key WHERE account_id = ? AND domain = ?"


class DomainStatus(StrEnum):
    """Whether the account may send from it."""

    PENDING = "pending"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One domain of one account, its name as lower-case A-labels."""

    account_id: str
    name: str
    status: DomainStatus
    created_ms: int
    verified_ms: int | None
    keys: tuple[DkimKey, ...]


class Domains:
    """Every account's sender domains."""

    def __init__(
        self,
        caches: Caches,
        clock: Clock,
        mail: Mail,
        *,
        dns: Dns,
        spf: SpfJudge,
        random_below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._caches = caches
        self._clock = clock
        self._mail = mail
        self._dns = dns
        self._spf = spf
        self._random_below = random_below
        self._making = asyncio.Semaphore(_KEYS_AT_ONCE)

    async def add(self, account_id: str, name: str) -> Domain:
        """A new domain, pending, with new DKIM keys that are still to be published."""
        name = normal_name(name)
        await self._caches.store.read(lambda tx: self._check_new(tx, account_id, name))
        pems = await self._make_pems()
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> Domain:
            self._check_new(tx, account_id, name)
            tx.run(_INSERT, (account_id, name, now_ms))
            self._insert_keys(tx, account_id, name, pems, now_ms)
            return one(tx, account_id, name)

        return await self._caches.write(change)

    async def get(self, account_id: str, name: str) -> Domain:
        """The domain, or NotFoundError."""
        return await self._caches.store.read(lambda tx: one(tx, account_id, stored_name(name)))

    async def list(self, account_id: str, *, after: str = "", limit: int = 100) -> "list[Domain]":
        """Up to `limit` domains by name, from the one behind `after`."""
        return await self._caches.store.read(
            lambda tx: [one(tx, account_id, name) for (name,) in tx.rows(_LIST, (account_id, after, limit))]
        )

    async def remove(self, account_id: str, name: str) -> None:
        """Takes the domain and its keys away; nothing from it is accepted any more."""
        name = stored_name(name)

        def change(tx: Tx) -> None:
            one(tx, account_id, name)
            tx.run(_DELETE_KEYS, (account_id, name))
            tx.run(_DELETE, (account_id, name))

        await self._caches.write(change)

    async def rotate(self, account_id: str, name: str) -> Domain:
        """New keys beside those that sign; they take over when `verify` has seen their records."""
        name = stored_name(name)
        await self.get(account_id, name)
        pems = await self._make_pems()
        now_ms = self._clock.now_ms()

        def change(tx: Tx) -> Domain:
            open_account(tx, account_id)
            one(tx, account_id, name)
            keys.drop_retired(tx, account_id, name, now_ms)
            self._insert_keys(tx, account_id, name, pems, now_ms)
            newest = {key.selector for key in keys.keys_of(tx, account_id, name)[-len(pems) :]}
            keys.drop_new(tx, account_id, name, except_for=newest)
            return one(tx, account_id, name)

        return await self._caches.write(change)

    async def verify(self, account_id: str, name: str) -> tuple[Domain, Sequence[Row]]:
        """Looks for the records of the new keys; those that are there sign from now on.

        The domain is verified with its first RSA key. The rows say what was found for each key.
        """
        domain = await self.get(account_id, name)
        new = [key for key in domain.keys if key.state == "new"]
        rows = await asyncio.gather(*(check_dkim(key.record, self._dns) for key in new))
        seen = {key.selector for key, row in zip(new, rows, strict=True) if row.state is RecordState.OK}
        if seen:
            domain = await self._caches.write(lambda tx: self._activate(tx, account_id, domain.name, seen))
        return domain, rows

    async def approve(self, account_id: str, name: str) -> Domain:
        """The operator vouches for the domain: all its new keys sign from now on, published or not."""
        name = stored_name(name)

        def change(tx: Tx) -> Domain:
            selectors = {key.selector for key in one(tx, account_id, name).keys}
            return self._activate(tx, account_id, name, selectors)

        return await self._caches.write(change)

    async def dns_records(self, account_id: str, name: str) -> Sequence[DnsRecord]:
        """What to publish for the domain: its DKIM keys, SPF for our egress addresses, a DMARC record."""
        return records_of(await self.get(account_id, name), self._mail.egress_ips)

    async def check(self, account_id: str, name: str) -> Sequence[Row]:
        """What is published and what should be, for a domain of the account."""
        domain = await self.get(account_id, name)
        return await self._check(domain.name, [key.record for key in domain.keys if key.state != "retired"])

    async def check_any(self, name: str) -> Sequence[Row]:
        """The same for any domain, without keys (the command line asks for domains nobody added yet)."""
        return await self._check(normal_name(name), [])

    async def _check(self, name: str, dkim: Sequence[DnsRecord]) -> Sequence[Row]:
        return await check(name, dkim=dkim, egress_ips=self._mail.egress_ips, dns=self._dns, spf=self._spf)

    async def _make_pems(self) -> Sequence[tuple[str, str]]:
        async with self._making:
            return await asyncio.to_thread(keys.make_pems, ed25519=self._mail.dkim_ed25519)

    def _insert_keys(
        self, tx: Tx, account_id: str, name: str, pems: Sequence[tuple[str, str]], now_ms: int
    ) -> None:
        prefix = self._mail.dkim_selector_prefix
        keys.insert(tx, account_id, name, pems, prefix=prefix, now_ms=now_ms, random_below=self._random_below)

    def _check_new(self, tx: Tx, account_id: str, name: str) -> None:
        open_account(tx, account_id)
        if tx.one(_ONE, (account_id, name)) is not None:
            raise ConflictError(f"{name} is there already.")
        row = tx.one(_COUNT, (account_id,))
        if row is not None and row[0] >= DOMAINS_MAX:
            raise LimitError(f"The account has {DOMAINS_MAX} domains; remove some that are not used.")

    def _activate(self, tx: Tx, account_id: str, name: str, selectors: set[str]) -> Domain:
        now_ms = self._clock.now_ms()
        one(tx, account_id, name)
        keys.activate(tx, account_id, name, selectors, now_ms)
        domain = one(tx, account_id, name)
        signs = any(key.state == "active" and key.algorithm == "rsa-sha256" for key in domain.keys)
        if not signs or domain.status is DomainStatus.VERIFIED:
            return domain
        tx.run(_VERIFY, (now_ms, account_id, name))
        of_account(tx, account_id, VERIFIED, now_ms, {"name": name})
        return one(tx, account_id, name)


def one(tx: Tx, account_id: str, name: str) -> Domain:
    """The domain, or NotFoundError; inside a transaction."""
    row = tx.one(_ONE, (account_id, name))
    if row is None:
        raise NotFoundError("There is no such domain in this account; add it first.")
    return Domain(
        account_id=account_id,
        name=name,
        status=DomainStatus(row[0]),
        created_ms=row[1],
        verified_ms=row[2],
        keys=tuple(keys.keys_of(tx, account_id, name)),
    )


def records_of(domain: Domain, egress_ips: Sequence[str]) -> list[DnsRecord]:
    """What to publish for `domain`."""
    records = [key.record for key in domain.keys]
    if egress_ips:
        value = spf_record(egress_ips)
        records.append(DnsRecord(purpose="spf", type="TXT", name=domain.name, value=value))
    name = f"_dmarc.{domain.name}"
    return [*records, DnsRecord(purpose="dmarc", type="TXT", name=name, value=DMARC_SUGGESTED)]


def normal_name(name: str) -> str:
    """The name as lower-case A-labels, without a final dot. Raises InvalidError with what is wrong."""
    text = name.strip().removesuffix(".")
    try:
        normal = parse_domain(text)
    except AddressError as error:
        raise InvalidError("name", error.reason) from error
    if normal.startswith("["):
        raise InvalidError("name", "must be a domain name, not an address")
    if "." not in normal:
        raise InvalidError("name", "must have at least two labels, such as example.org")
    if len(normal) > _LONGEST_NAME:
        raise InvalidError("name", f"is too long for DKIM records; at most {_LONGEST_NAME} characters")
    return normal


def stored_name(name: str) -> str:
    """The name to look up; one that is no domain name is not found."""
    try:
        return normal_name(name)
    except InvalidError:
        raise NotFoundError("There is no such domain in this account; add it first.") from None
