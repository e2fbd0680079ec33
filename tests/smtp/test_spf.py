"""SPF by pyspf over an injected DNS, and DMARC records."""

from __future__ import annotations

from itertools import count
from typing import Any

import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import dmarc, spf
from smtp.dmarc import Dmarc, Policy
from smtp.resolver import LookupFailedError, NoSuchName
from smtp.spf import SpfResult

ZONE = {
    ("pass.example", "TXT"): ['"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"', '"other text"'],
    ("split.example", "TXT"): ['"v=spf1 ip4:192." "0.2.1 -all"'],
    ("mx.example", "TXT"): ['"v=spf1 mx a:host.mx.example ~all"'],
    ("mx.example", "MX"): ["10 host.mx.example."],
    ("host.mx.example", "A"): ["192.0.2.9"],
    ("host.mx.example", "AAAA"): ["2001:db8::9"],
    ("include.example", "TXT"): ['"v=spf1 include:pass.example ?all"'],
    ("redirect.example", "TXT"): ['"v=spf1 redirect=pass.example"'],
    ("ill.example", "TXT"): ['"v=spf1 include:servfail.example -all"'],
    ("broken.example", "TXT"): ['"v=spf1 ip4:1.2.3 -all"'],
    ("two.example", "TXT"): ['"v=spf1 a -all"', '"v=spf1 mx ~all"'],
    ("void.example", "TXT"): ['"v=spf1 a:n1.example a:n2.example a:n3.example a:n4.example -all"'],
    ("loop.example", "TXT"): ['"v=spf1 include:loop.example -all"'],
    ("none.example", "TXT"): ['"hello"'],
}


def lookup(name: str, kind: str) -> list[Any]:
    if name == "servfail.example":
        raise LookupFailedError("SERVFAIL")
    values = ZONE.get((name, kind))
    if values is None:
        if any(name == known for known, _ in ZONE):
            return []
        raise NoSuchName(name)
    return list(dns.rrset.from_text(f"{name}.", 300, "IN", kind, *values))


@pytest.mark.parametrize(
    ("ip", "domain", "result"),
    [
        ("192.0.2.1", "pass.example", SpfResult.PASS),
        ("2001:db8::1", "pass.example", SpfResult.PASS),
        ("198.51.100.1", "pass.example", SpfResult.FAIL),
        ("192.0.2.1", "split.example", SpfResult.PASS),
        ("192.0.2.9", "mx.example", SpfResult.PASS),
        ("2001:db8::9", "mx.example", SpfResult.PASS),
        ("192.0.2.8", "mx.example", SpfResult.SOFTFAIL),
        ("192.0.2.1", "include.example", SpfResult.PASS),
        ("198.51.100.1", "include.example", SpfResult.NEUTRAL),
        ("192.0.2.1", "redirect.example", SpfResult.PASS),
        ("192.0.2.1", "ill.example", SpfResult.TEMPERROR),
        ("192.0.2.1", "servfail.example", SpfResult.TEMPERROR),
        ("192.0.2.1", "broken.example", SpfResult.PERMERROR),
        ("192.0.2.1", "two.example", SpfResult.PERMERROR),
        ("192.0.2.1", "void.example", SpfResult.PERMERROR),
        ("192.0.2.1", "loop.example", SpfResult.PERMERROR),
        ("192.0.2.1", "none.example", SpfResult.NONE),
        ("192.0.2.1", "missing.example", SpfResult.NONE),
    ],
)
def test_result_of_each_kind(ip: str, domain: str, result: SpfResult) -> None:
    checked = spf.check(ip, f"user@{domain}", "gw.example", lookup)
    assert (checked.ip, checked.result) == (ip, result)
    assert spf.check(ip, domain, "gw.example", lookup).result is result
    assert checked.explanation or result is SpfResult.NONE


def test_null_reverse_path_is_judged_by_helo() -> None:
    assert spf.check("192.0.2.1", "", "pass.example", lookup).result is SpfResult.PASS


def test_dns_that_takes_too_long_is_temperror() -> None:
    seconds = count(step=15)
    checked = spf.check("192.0.2.9", "mx.example", "gw.example", lookup, clock=lambda: float(next(seconds)))
    assert checked.result is SpfResult.TEMPERROR


@pytest.mark.parametrize(
    ("domain", "ips", "publish"),
    [
        ("pass.example", ["192.0.2.1", "2001:db8::1"], ""),
        (
            "pass.example",
            ["192.0.2.1", "198.51.100.1"],
            "v=spf1 ip4:198.51.100.1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
        ),
        ("none.example", ["192.0.2.1", "2001:db8::1"], "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all"),
        ("missing.example", ["192.0.2.1"], "v=spf1 ip4:192.0.2.1 ~all"),
        ("redirect.example", ["198.51.100.1"], "v=spf1 ip4:198.51.100.1 redirect=pass.example"),
        ("two.example", ["192.0.2.1"], "v=spf1 ip4:192.0.2.1 a mx ~all"),
        ("servfail.example", ["192.0.2.1"], ""),
    ],
)
def test_egress_verdict_says_what_to_publish(domain: str, ips: list[str], publish: str) -> None:
    verdict = spf.egress_verdict(domain, ips, "gw.example", lookup)
    assert [check.ip for check in verdict.checks] == ips
    assert verdict.publish == publish
    assert verdict.passes is (domain == "pass.example" and publish == "")


@pytest.mark.parametrize("domain", ["pass.example", "none.example", "redirect.example", "two.example"])
def test_what_is_to_be_published_passes_once_published(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ips = ["198.51.100.7", "2001:db9::7"]
    record = spf.egress_verdict(domain, ips, "gw.example", lookup).publish
    monkeypatch.setitem(ZONE, (domain, "TXT"), [f'"{record}"'])
    verdict = spf.egress_verdict(domain, ips, "gw.example", lookup)
    assert verdict.passes
    assert verdict.record == record


# DMARC


def test_record_is_read_with_its_defaults() -> None:
    assert dmarc.parse("v=DMARC1; p=reject; rua=mailto:a@x.example,mailto:b@x.example!10m") == Dmarc(
        policy=Policy.REJECT,
        subdomain_policy=Policy.REJECT,
        rua=("mailto:a@x.example", "mailto:b@x.example!10m"),
    )
    full = dmarc.parse(
        "v = DMARC1 ;p=Quarantine; sp=none; pct=20; adkim=s; aspf=s; ruf=mailto:r@x.example; fo=1;"
    )
    assert full is not None
    assert (full.policy, full.subdomain_policy, full.percent) == (Policy.QUARANTINE, Policy.NONE, 20)
    assert (full.strict_dkim, full.strict_spf, full.ruf, full.faults) == (
        True,
        True,
        ("mailto:r@x.example",),
        (),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=spf1 -all",
        "v=dmarc1; p=none",
        "p=none; v=DMARC1",
        "v=DMARC1",
        "v=DMARC1; p=x",
        "v=DMARC1; p=none;" + ";!" * 4096,
    ],
)
def test_what_is_no_record_is_none(text: str) -> None:
    assert dmarc.parse(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("v=DMARC1; rua=mailto:a@x.example", "p= is missing"),
        ("v=DMARC1; p=ignore; rua=mailto:a@x.example", "p=ignore"),
        ("v=DMARC1; p=none; pct=200", "pct=200"),
        ("v=DMARC1; p=none; pct=²", "pct=²"),
        ("v=DMARC1; p=none; aspf=x", "aspf=x"),
        ("v=DMARC1; p=none; rua=a@x.example", "not a mailto"),
        ("v=DMARC1; p=none; p=reject", "twice"),
        ("v=DMARC1; p=none; junk", "not tag=value"),
        ("v=DMARC1; p=none; sp=", "sp="),
    ],
)
def test_fault_is_told_and_the_rest_still_counts(text: str, fault: str) -> None:
    record = dmarc.parse(text)
    assert record is not None
    assert record.policy is Policy.NONE
    assert len(record.faults) == 1
    assert fault in record.faults[0]


@given(st.text(max_size=100))
def test_any_text_parses_or_is_none(text: str) -> None:
    dmarc.parse(text)
    dmarc.parse(f"v=DMARC1;{text}")


def test_record_is_looked_for_at_the_domain_and_above() -> None:
    zone = {
        "_dmarc.x.example": ["v=DMARC1; p=reject", "unrelated"],
        "_dmarc.two.example": ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
    }

    def texts(name: str) -> list[str]:
        return zone.get(name, [])

    found = dmarc.find("mail.x.example", "x.example", texts)
    assert found is not None
    assert (found[0], found[1].policy) == ("_dmarc.x.example", Policy.REJECT)
    assert dmarc.find("two.example", "two.example", texts) is None
    assert dmarc.find("none.example", "none.example", texts) is None
