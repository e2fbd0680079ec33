"""The check of a domain: what is published, what should be, as rows for a table (`gateway domain check`).

Each row says ok, missing, wrong or unknown; DNS that does not answer is "unknown", never an exception. SPF is
judged by evaluating it for each of our egress addresses, so that includes and redirects count.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.domains.dns import Dns, DnsUnavailableError
from gateway.domains.records import (
    DMARC_SUGGESTED,
    DnsRecord,
    is_dkim,
    is_dmarc,
    is_spf,
    same_key,
    spf_with,
    tags,
)

SpfJudge = Callable[[str, str], Awaitable[str]]
"""The result of RFC 7208 section 2.6 for (IP address, domain of the reverse-path)."""

_SHOWN_MAX = 300


class State(StrEnum):
    """What a row says."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `publish` is the record to publish when the state is not ok, "" for none."""

    what: str
    state: State
    name: str
    found: str = ""
    publish: str = ""


async def check(
    domain: str,
    *,
    dkim: Sequence[DnsRecord],
    egress_ips: Sequence[str],
    dns: Dns,
    spf: SpfJudge,
) -> list[Row]:
    """The rows for SPF, each DKIM key, DMARC and MX, all asked at once."""
    groups = await asyncio.gather(
        check_spf(domain, egress_ips, dns, spf),
        *(check_dkim(record, dns) for record in dkim),
        check_dmarc(domain, dns),
        check_mx(domain, dns),
    )
    return list(groups)


async def check_dkim(record: DnsRecord, dns: Dns) -> Row:
    """Whether the public key of `record` is published under its name."""
    what = f"DKIM {record.name.partition('._domainkey.')[0]}"

    def row(state: State, found: str = "") -> Row:
        publish = "" if state is State.OK else record.value
        return Row(what=what, state=state, name=record.name, found=found, publish=publish)

    try:
        published = [text for text in await dns.txt(record.name) if is_dkim(text)]
    except DnsUnavailableError as error:
        return row(State.UNKNOWN, str(error))
    if not published:
        return row(State.MISSING)
    shown = _shown(published)
    if len(published) > 1:  # RFC 6376 section 3.6.2.2: with several, the result is undefined
        return row(State.WRONG, f"{len(published)} records: {shown}")
    return row(State.OK if same_key(published[0], record.value) else State.WRONG, shown)


async def check_spf(domain: str, egress_ips: Sequence[str], dns: Dns, spf: SpfJudge) -> Row:
    """Whether every egress address gets "pass" from the domain's SPF record."""

    def row(state: State, found: str, publish: str) -> Row:
        return Row(what="SPF", state=state, name=domain, found=found, publish=publish)

    try:
        records = [text for text in await dns.txt(domain) if is_spf(text)]
    except DnsUnavailableError as error:
        return row(State.UNKNOWN, str(error), spf_with(None, egress_ips) if egress_ips else "")
    shown = _shown(records)
    if not egress_ips:
        note = "set mail.egress_ips to have the addresses judged"
        return row(State.UNKNOWN, f"{shown or 'none'} ({note})", "")
    if len(records) > 1:  # RFC 7208 section 4.5: permerror
        return row(State.WRONG, f"{len(records)} records: {shown}", spf_with(records[0], egress_ips))
    publish = spf_with(records[0] if records else None, egress_ips)
    if not records:
        return row(State.MISSING, "", publish)
    results = dict(zip(egress_ips, await _judge(spf, egress_ips, domain), strict=True))
    refused = {address: result for address, result in results.items() if result != "pass"}
    if not refused:
        return row(State.OK, shown, "")
    state = State.UNKNOWN if set(refused.values()) == {"temperror"} else State.WRONG
    verdicts = ", ".join(f"{address} {result}" for address, result in refused.items())
    return row(state, f"{shown} ({verdicts})", publish)


async def check_dmarc(domain: str, dns: Dns) -> Row:
    """Whether the domain has one DMARC record with a policy."""
    name = f"_dmarc.{domain}"

    def row(state: State, found: str = "") -> Row:
        publish = "" if state is State.OK else DMARC_SUGGESTED
        return Row(what="DMARC", state=state, name=name, found=found, publish=publish)

    try:
        records = [text for text in await dns.txt(name) if is_dmarc(text)]
    except DnsUnavailableError as error:
        return row(State.UNKNOWN, str(error))
    if not records:
        return row(State.MISSING)
    sound = len(records) == 1 and tags(records[0]).get("p", "").lower() in {"none", "quarantine", "reject"}
    return row(State.OK if sound else State.WRONG, _shown(records))


async def check_mx(domain: str, dns: Dns) -> Row:
    """Whether answers and bounces to the domain can arrive."""
    try:
        records = await dns.mx(domain)
    except DnsUnavailableError as error:
        return Row(what="MX", state=State.UNKNOWN, name=domain, found=str(error))
    shown = ", ".join(f"{preference} {host}" for preference, host in records)[:_SHOWN_MAX]
    if not records:
        return Row(what="MX", state=State.MISSING, name=domain, publish="the host that takes its mail")
    if any(host == "" for _, host in records):  # RFC 7505: the domain takes no mail
        found = f"{shown}. (null MX: no answer can arrive)"
        return Row(what="MX", state=State.WRONG, name=domain, found=found)
    return Row(what="MX", state=State.OK, name=domain, found=shown)


async def _judge(spf: SpfJudge, addresses: Sequence[str], domain: str) -> list[str]:
    answers = await asyncio.gather(*(spf(address, domain) for address in addresses), return_exceptions=True)
    return ["temperror" if isinstance(answer, BaseException) else answer for answer in answers]


def _shown(records: Sequence[str]) -> str:
    text = " | ".join(records)
    printable = "".join(sign if sign.isprintable() else "?" for sign in text)
    return printable if len(printable) <= _SHOWN_MAX else printable[:_SHOWN_MAX] + "…"
