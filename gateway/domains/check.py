"""The check of a domain: what is published, what should be, as rows for a table (`gateway domain check`).

Each row says ok, missing, wrong or unknown; DNS that does not answer is "unknown", never an exception. SPF is
judged by evaluating it for each of our egress addresses, so that includes and redirects count.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.dns import Dns, DnsUnavailableError
from gateway.domains.records import DMARC_SUGGESTED, DnsRecord, is_dkim, is_dmarc, same_key, tags
from gateway.domains.spf import SpfJudge
from smtp.spf import SpfResult

_SHOWN_MAX = 300


class RecordState(StrEnum):
    """What a row says."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `publish` is the record to publish when the state is not ok, "" for none."""

    what: str
    state: RecordState
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
        check_spf(domain, egress_ips, spf),
        *(check_dkim(record, dns) for record in dkim),
        check_dmarc(domain, dns),
        check_mx(domain, dns),
    )
    return list(groups)


async def check_dkim(record: DnsRecord, dns: Dns) -> Row:
    """Whether the public key of `record` is published under its name."""
    what = f"DKIM {record.name.partition('._domainkey.')[0]}"

    def row(state: RecordState, found: str = "") -> Row:
        publish = "" if state is RecordState.OK else record.value
        return Row(what=what, state=state, name=record.name, found=found, publish=publish)

    try:
        published = [text for text in await dns.txt(record.name) if is_dkim(text)]
    except DnsUnavailableError as error:
        return row(RecordState.UNKNOWN, str(error))
    if not published:
        return row(RecordState.MISSING)
    shown = _shown(published)
    if len(published) > 1:  # RFC 6376 section 3.6.2.2: with several, the result is undefined
        return row(RecordState.WRONG, f"{len(published)} records: {shown}")
    return row(RecordState.OK if same_key(published[0], record.value) else RecordState.WRONG, shown)


async def check_spf(domain: str, egress_ips: Sequence[str], spf: SpfJudge) -> Row:
    """Whether every egress address gets "pass" from the domain's SPF record."""

    def row(state: RecordState, found: str, publish: str = "") -> Row:
        return Row(what="SPF", state=state, name=domain, found=found, publish=publish)

    try:
        verdict = await spf(domain, egress_ips)
    except Exception as error:  # noqa: BLE001 - a table with one unknown row is better than none
        return row(RecordState.UNKNOWN, f"SPF could not be judged ({type(error).__name__})")
    shown = _shown([verdict.record]) if verdict.record else "no SPF record"
    if not egress_ips:
        return row(RecordState.UNKNOWN, f"{shown} (set mail.egress_ips to have the addresses judged)")
    refused = [one for one in verdict.checks if one.result is not SpfResult.PASS]
    if not refused:
        return row(RecordState.OK, shown)
    if any(one.result is SpfResult.TEMPERROR for one in refused):
        return row(RecordState.UNKNOWN, _shown([refused[0].explanation]))
    if not verdict.record:
        return row(RecordState.MISSING, "", verdict.publish)
    results = ", ".join(f"{one.ip} {one.result.value}" for one in refused)
    return row(RecordState.WRONG, f"{shown} ({results})", verdict.publish)


async def check_dmarc(domain: str, dns: Dns) -> Row:
    """Whether the domain has one DMARC record with a policy."""
    name = f"_dmarc.{domain}"

    def row(state: RecordState, found: str = "") -> Row:
        publish = "" if state is RecordState.OK else DMARC_SUGGESTED
        return Row(what="DMARC", state=state, name=name, found=found, publish=publish)

    try:
        records = [text for text in await dns.txt(name) if is_dmarc(text)]
    except DnsUnavailableError as error:
        return row(RecordState.UNKNOWN, str(error))
    if not records:
        return row(RecordState.MISSING)
    sound = len(records) == 1 and tags(records[0]).get("p", "").lower() in {"none", "quarantine", "reject"}
    return row(RecordState.OK if sound else RecordState.WRONG, _shown(records))


async def check_mx(domain: str, dns: Dns) -> Row:
    """Whether answers and bounces to the domain can arrive."""
    try:
        records = await dns.mx(domain)
    except DnsUnavailableError as error:
        return Row(what="MX", state=RecordState.UNKNOWN, name=domain, found=str(error))
    shown = ", ".join(f"{preference} {host}" for preference, host in records)[:_SHOWN_MAX]
    if not records:
        return Row(what="MX", state=RecordState.MISSING, name=domain, publish="the host that takes its mail")
    if any(host == "" for _, host in records):  # RFC 7505: the domain takes no mail
        found = f"{shown}. (null MX: no answer can arrive)"
        return Row(what="MX", state=RecordState.WRONG, name=domain, found=found)
    return Row(what="MX", state=RecordState.OK, name=domain, found=shown)


def _shown(records: Sequence[str]) -> str:
    text = " | ".join(records)
    printable = "".join(sign if sign.isprintable() else "?" for sign in text)
    return printable if len(printable) <= _SHOWN_MAX else printable[:_SHOWN_MAX] + "…"
