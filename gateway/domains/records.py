"""What a domain publishes so that mail from it is trusted: DKIM keys, SPF, DMARC; as records and as checks.

Pure: records in, records and comparisons out. DKIM: RFC 6376 section 3.6.1; SPF: RFC 7208; DMARC: RFC 7489.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

DMARC_SUGGESTED = "v=DMARC1; p=none"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord:
    """One record to publish; `purpose` is dkim, spf or dmarc."""

    purpose: str
    type: str
    name: str
    value: str


def tags(text: str) -> dict[str, str]:
    """The tag=value list of a DKIM or DMARC record; blanks in a value do not count (RFC 6376 section 3.2)."""
    found = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found[name.strip().lower()] = "".join(value.split())
    return found


def same_key(published: str, wanted: str) -> bool:
    """Whether a published DKIM record carries the public key of ours, whatever else it says."""
    theirs, ours = tags(published), tags(wanted)
    return theirs.get("p", "") == ours["p"] and theirs.get("k", "rsa") == ours.get("k", "rsa")


def is_dkim(text: str) -> bool:
    """Whether a TXT record is meant as a DKIM key (v= may be left out)."""
    found = tags(text)
    return found.get("v", "DKIM1").upper() == "DKIM1" and "p" in found


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is a DMARC record (RFC 7489 section 6.6.3)."""
    return "".join(text.partition(";")[0].split()).lower() == "v=dmarc1"


def spf_record(addresses: Sequence[str]) -> str:
    """A first SPF record that lets `addresses` send."""
    mechanisms = [f"ip{ipaddress.ip_address(address).version}:{address}" for address in addresses]
    return " ".join(["v=spf1", *mechanisms, "~all"])
