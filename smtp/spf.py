"""SPF by pyspf (RFC 7208): may this address send for that domain, and what to publish so that ours may.

The DNS is asked through an injected `Lookup`; `dns_client.BlockingDns` is one for real use. pyspf blocks, so
callers on an event loop run these functions in a thread. Nothing raises but what the lookup itself cannot
map: an unreachable DNS is the result TEMPERROR.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

import spf

from smtp.resolver import LookupFailedError, NoSuchName

MAX_SECONDS = 20  # for one check in all (RFC 7208 section 4.6.4 advises at least 20)

# Name and type to dnspython records. Raises `NoSuchName` or `LookupFailedError`.
Lookup = Callable[[str, str], list[Any]]


class SpfResult(StrEnum):
    """RFC 7208 section 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a result, no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class SpfCheck:
    """The result for one client address, and pyspf's words for it."""

    ip: str
    result: SpfResult
    explanation: str


@dataclass(frozen=True, slots=True)
class SpfVerdict:
    """What SPF says of a domain's egress addresses.

    `publish` is the record to put in place, "" where all pass.
    """

    domain: str
    record: str  # as published; "" where there is none
    checks: tuple[SpfCheck, ...]
    publish: str

    @property
    def passes(self) -> bool:
        """Whether every address may send."""
        return all(check.result is SpfResult.PASS for check in self.checks)


class _Query(spf.query):  # type: ignore[misc]  # pyspf ships no types
    """pyspf's evaluation with our DNS in place of its module-wide hook."""

    def __init__(self, lookup: Lookup, ip: str, sender: str, helo: str, clock: Callable[[], float]) -> None:
        super().__init__(i=ip, s=sender, h=helo)
        self._lookup = lookup
        self._clock = clock
        self._deadline = clock() + MAX_SECONDS

    def dns(
        self,
        name: str,
        qtype: str,
        cnames: Any = None,  # noqa: ARG002 - the lookup follows CNAMEs
        ignore_void: bool = False,
    ) -> list[Any]:
        """Values in the forms of pyspf; names without an answer are counted (RFC 7208 section 4.6.4)."""
        name = str(name).removesuffix(".").lower()
        if not name or any(not 0 < len(label) < 64 for label in name.split(".")):
            return []
        kept: list[Any] | None = self.cache.get((name, qtype))
        if kept is None:
            if self._clock() > self._deadline:
                raise spf.TempError(f"DNS took longer than {MAX_SECONDS} s")
            try:
                kept = [_value(record, qtype) for record in self._lookup(name, qtype)]
            except NoSuchName:
                kept = []
            except LookupFailedError as error:
                raise spf.TempError(f"DNS {error}") from error
            self.cache[name, qtype] = kept
        if not kept and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        return kept


def _value(record: Any, qtype: str) -> Any:
    match qtype:
        case "A" | "AAAA":
            return record.address
        case "MX":
            return record.preference, record.exchange.to_text(True)
        case "PTR":
            return record.target.to_text(True)
        case _:
            return record.strings


def check(
    ip: str, sender: str, helo: str, lookup: Lookup, *, clock: Callable[[], float] = time.monotonic
) -> SpfCheck:
    """The result for a client at `ip` that says `helo` and sends from `sender` (an address, or a domain)."""
    if "@" not in sender and sender:
        sender = f"postmaster@{sender}"
    try:
        result, _, explanation = _Query(lookup, ip, sender, helo, clock).check()
    except spf.TempError as error:
        return SpfCheck(ip, SpfResult.TEMPERROR, str(error))
    except spf.PermError as error:
        return SpfCheck(ip, SpfResult.PERMERROR, str(error))
    return SpfCheck(ip, SpfResult(str(result).lower()), str(explanation))


def published(domain: str, lookup: Lookup) -> list[str]:
    """The SPF records of the domain: none, one, or, which is an error (RFC 7208 section 4.5), several."""
    try:
        records = lookup(domain, "TXT")
    except NoSuchName:
        return []
    texts = [b"".join(record.strings).decode("ascii", "replace") for record in records]
    return [text for text in texts if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]


def egress_verdict(domain: str, egress_ips: Sequence[str], helo: str, lookup: Lookup) -> SpfVerdict:
    """What receivers will find for mail of this domain from each of our addresses, and what to publish."""
    checks = tuple(check(ip, domain, helo, lookup) for ip in egress_ips)
    try:
        records = published(domain, lookup)
    except LookupFailedError as error:
        failed = tuple(SpfCheck(ip, SpfResult.TEMPERROR, str(error)) for ip in egress_ips)
        return SpfVerdict(domain, "", failed, "")
    missing = [check.ip for check in checks if check.result is not SpfResult.PASS]
    asked = [check for check in checks if check.result is SpfResult.TEMPERROR]
    publish = "" if not missing or asked else _suggestion(records, missing)
    return SpfVerdict(domain, " | ".join(records), checks, publish)


def _suggestion(records: Sequence[str], missing: Sequence[str]) -> str:
    """The published record with the missing addresses put first, or a new one; of several records, one."""
    addresses = [f"ip{ip_address(ip).version}:{ip}" for ip in missing]
    terms: list[str] = []
    for record in records:
        terms += [term for term in record.split()[1:] if term not in terms]
    ends = [term for term in terms if term.lower().lstrip("+-~?") == "all"]
    others = [term for term in terms if term not in ends]
    redirected = any(term.lower().startswith("redirect=") for term in others)
    end = ends[-1:] or ([] if redirected else ["~all"])
    return " ".join(["v=spf1", *addresses, *others, *end])
