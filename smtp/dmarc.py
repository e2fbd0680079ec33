"""DMARC records: read one, find the one that counts for a domain (RFC 7489 sections 6.3 and 6.6.3).

The parser is as tolerant as the RFC asks: unknown tags are ignored, and a record that lacks a valid p= but
has a rua= counts as p=none. Everything else that is wrong is told in `faults`, for whoever publishes it. Asks
no DNS itself: `find` takes the lookup. No public suffix list: the organisational domain is what the caller
says it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

TxtLookup = Callable[[str], Sequence[str]]
MAX_OCTETS = 8_192
"""A longer text is no record: real ones have some hundred octets, and each fault of it would be told."""


class Policy(StrEnum):
    """What the domain's owner asks receivers to do with mail that fails (RFC 7489 section 6.3)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dmarc:
    """A DMARC record with the defaults filled in."""

    policy: Policy
    subdomain_policy: Policy
    percent: int = 100
    strict_dkim: bool = False
    strict_spf: bool = False
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is meant as DMARC: v=DMARC1 comes first, in capitals (section 6.3)."""
    tag, _, value = text.partition(";")[0].partition("=")
    return tag.strip() == "v" and value.strip() == "DMARC1"


def parse(text: str) -> Dmarc | None:
    """The record, or None where it is no DMARC record or has neither a policy nor an address for reports."""
    if len(text) > MAX_OCTETS or not is_dmarc(text):
        return None
    tags, faults = _tags(text)
    rua, ruf = (_uris(tags.get(tag, ""), tag, faults) for tag in ("rua", "ruf"))
    policy = _policy(tags, "p", faults)
    if policy is None:
        if not rua:  # section 6.6.3, step 6
            return None
        policy = Policy.NONE
    percent = tags.get("pct", "100")
    if not (percent.isascii() and percent.isdigit() and len(percent) <= 3 and int(percent) <= 100):
        faults.append(f"pct={percent} is not a number from 0 to 100")
        percent = "100"
    for tag in ("adkim", "aspf"):
        if tags.get(tag, "r").lower() not in ("r", "s"):
            faults.append(f"{tag}={tags[tag]} is neither r nor s")
    return Dmarc(
        policy=policy,
        subdomain_policy=(_policy(tags, "sp", faults) if "sp" in tags else None) or policy,
        percent=int(percent),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        rua=rua,
        ruf=ruf,
        faults=tuple(faults),
    )


def find(domain: str, organisational_domain: str, lookup: TxtLookup) -> tuple[str, Dmarc] | None:
    """The name of the record that counts and the record, looked for at the domain and then above it.

    `lookup` gives the TXT records at a name, none where it does not exist. Two DMARC records at a name are as
    good as none (section 6.6.3, step 5).
    """
    for candidate in dict.fromkeys((domain, organisational_domain)):
        name = f"_dmarc.{candidate}"
        records = [text for text in lookup(name) if is_dmarc(text)]
        if len(records) == 1:
            parsed = parse(records[0])
            return None if parsed is None else (name, parsed)
        if records:
            return None
    return None


def _tags(text: str) -> tuple[dict[str, str], list[str]]:
    tags: dict[str, str] = {}
    faults: list[str] = []
    for part in text.split(";")[1:]:
        if not part.strip():
            continue
        tag, equals, value = part.partition("=")
        tag = tag.strip().lower()
        if not equals or not tag:
            faults.append(f"{part.strip()[:40]!r} is not tag=value")
        elif tag in tags:
            faults.append(f"{tag}= stands twice, the first counts")
        else:
            tags[tag] = value.strip()
    return tags, faults


def _policy(tags: dict[str, str], tag: str, faults: list[str]) -> Policy | None:
    value = tags.get(tag)
    if value is None:
        faults.append(f"{tag}= is missing")
        return None
    try:
        return Policy(value.lower())
    except ValueError:
        faults.append(f"{tag}={value[:40]} is none of none, quarantine, reject")
        return None


def _uris(value: str, tag: str, faults: list[str]) -> tuple[str, ...]:
    uris = tuple(uri.strip() for uri in value.split(",") if uri.strip())
    faults += [
        f"{tag}={uri[:60]} is not a mailto: address" for uri in uris if not uri.lower().startswith("mailto:")
    ]
    return tuple(uri for uri in uris if uri.lower().startswith("mailto:"))
