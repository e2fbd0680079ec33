"""Checks of sender domains: SPF, DKIM, DMARC and MX as rows with what to publish, and what DNS may answer."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.dns import DnsUnavailableError, SystemDns
from gateway.domains import check as check_module
from gateway.domains.check import RecordState, Row
from gateway.domains.records import DnsRecord, same_key, spf_record, tags
from smtp import resolver
from smtp.resolver import Answer, LookupFailedError, NoSuchName
from smtp.spf import SpfVerdict
from tests.support.services import EGRESS, FakeDns, FakeSpf, publish, services

NAME = "example.org"

pytestmark = pytest.mark.usefixtures("cheap_rsa")


def by_what(rows: "list[Row] | tuple[Row, ...]") -> dict[str, Row]:
    return {row.what: row for row in rows}


# --- checks --------------------------------------------------------------------------------------------


async def test_a_sound_domain_is_ok_in_every_row(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        publish(rig, await rig.domains.add(account.id, NAME))
        rig.dns.texts[NAME] = ["google-site-verification=x", "v=spf1 include:spf.example.net ~all"]
        rig.dns.texts["spf.example.net"] = ["v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"]
        rig.dns.texts[f"_dmarc.{NAME}"] = ["v=DMARC1;p=reject; rua=mailto:d@example.org"]
        rig.dns.hosts[NAME] = [(10, "mx1.example.org"), (20, "mx2.example.org")]
        rows = by_what(list(await rig.domains.check(account.id, NAME)))
        assert {what: row.state for what, row in rows.items()} == dict.fromkeys(
            ["SPF", "DKIM gw100001", "DKIM gw100002", "DMARC", "MX"], RecordState.OK
        )
        assert all(row.publish == "" for row in rows.values())
        assert rows["MX"].found == "10 mx1.example.org, 20 mx2.example.org"


async def test_an_empty_zone_is_missing_in_every_row_with_what_to_publish(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        rows = by_what(list(await rig.domains.check(account.id, NAME)))
        assert {row.state for row in rows.values()} == {RecordState.MISSING}
        assert rows["DKIM gw100001"].publish == domain.keys[0].record.value
        assert rows["SPF"].publish == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 ~all"
        assert rows["DMARC"].name == "_dmarc.example.org"


async def test_silent_dns_is_unknown_in_every_row(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        rig.dns.silent = {NAME, f"_dmarc.{NAME}", *(key.record.name for key in domain.keys)}
        rows = await rig.domains.check(account.id, NAME)
        assert {row.state for row in rows} == {RecordState.UNKNOWN}


async def test_a_domain_nobody_added_can_be_checked(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        rows = await rig.domains.check_any("Example.ORG")
        assert [row.what for row in rows] == ["SPF", "DMARC", "MX"]


RECORD = DnsRecord(
    purpose="dkim", type="TXT", name="gw100001._domainkey.example.org", value="v=DKIM1; k=rsa; p=AAAA"
)


@pytest.mark.parametrize(
    ("published", "state"),
    [
        ([], RecordState.MISSING),
        (["not a key"], RecordState.MISSING),
        (["v=DKIM1; k=rsa; p=AAAA"], RecordState.OK),
        (["p=AA AA"], RecordState.OK),  # k=rsa is the default, blanks inside p= do not count
        (["v=DKIM1; k=rsa; t=s; p=AAAA;"], RecordState.OK),
        (["v=DKIM1; k=rsa; p=BBBB"], RecordState.WRONG),
        (["v=DKIM1; k=rsa; p="], RecordState.WRONG),  # revoked, RFC 6376 section 3.6.1
        (["v=DKIM1; k=ed25519; p=AAAA"], RecordState.WRONG),
        (["v=DKIM1; p=AAAA", "v=DKIM1; p=BBBB"], RecordState.WRONG),
    ],
)
async def test_dkim_records_are_compared_by_their_key(published: list[str], state: RecordState) -> None:
    dns = FakeDns()
    dns.texts[RECORD.name] = published
    row = await check_module.check_dkim(RECORD, dns)
    assert row.state is state
    assert row.publish == ("" if state is RecordState.OK else RECORD.value)


SUGGESTED = "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10"


@pytest.mark.parametrize(
    ("published", "state", "publish"),
    [
        (["v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all"], RecordState.OK, ""),
        (["V=SPF1 -all"], RecordState.WRONG, f"{SUGGESTED} -all"),
        (["v=spf1 ip4:192.0.2.10 -all"], RecordState.WRONG, "v=spf1 ip6:2001:db8::10 ip4:192.0.2.10 -all"),
        (
            ["v=spf1 -all", "v=spf1 ip4:192.0.2.10 ~all"],
            RecordState.WRONG,
            f"{SUGGESTED} ip4:192.0.2.10 ~all",
        ),
        (["v=spf1 include:loop.example -all"], RecordState.WRONG, f"{SUGGESTED} include:loop.example -all"),
        (["v=spf10 -all"], RecordState.MISSING, f"{SUGGESTED} ~all"),
        (["v=spf1 include:silent.example -all"], RecordState.UNKNOWN, ""),
        ([], RecordState.MISSING, f"{SUGGESTED} ~all"),
    ],
)
async def test_spf_is_judged_for_every_egress_address(
    published: list[str], state: RecordState, publish: str
) -> None:  # R70
    dns = FakeDns()
    dns.texts = {NAME: published, "loop.example": ["v=spf1 include:loop.example -all"]}
    dns.silent = {"silent.example"}
    row = await check_module.check_spf(NAME, EGRESS, FakeSpf(dns))
    assert (row.state, row.publish) == (state, publish)
    assert row.found.isprintable()


async def test_a_judge_that_breaks_leaves_spf_unknown() -> None:
    async def broken(domain: str, egress_ips: Sequence[str]) -> SpfVerdict:
        raise TimeoutError

    row = await check_module.check_spf(NAME, EGRESS, broken)
    assert (row.state, row.found) == (RecordState.UNKNOWN, "SPF could not be judged (TimeoutError)")


async def test_without_egress_addresses_spf_is_shown_but_not_judged() -> None:
    dns = FakeDns()
    dns.texts[NAME] = ["v=spf1 mx"]
    row = await check_module.check_spf(NAME, (), FakeSpf(dns))
    assert row.state is RecordState.UNKNOWN
    assert row.found == "v=spf1 mx (set mail.egress_ips to have the addresses judged)"


@pytest.mark.parametrize(
    ("published", "state"),
    [
        (["v=DMARC1; p=none"], RecordState.OK),
        (["v = DMARC1 ; p = Reject"], RecordState.OK),
        (["v=DMARC1"], RecordState.WRONG),
        (["v=DMARC1; p=perhaps"], RecordState.WRONG),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], RecordState.WRONG),
        (["something else"], RecordState.MISSING),
    ],
)
async def test_dmarc_needs_one_record_with_a_policy(published: list[str], state: RecordState) -> None:
    dns = FakeDns()
    dns.texts[f"_dmarc.{NAME}"] = published
    assert (await check_module.check_dmarc(NAME, dns)).state is state


async def test_a_null_mx_is_wrong_for_a_sender() -> None:
    dns = FakeDns()
    dns.hosts[NAME] = [(0, "")]
    assert (await check_module.check_mx(NAME, dns)).state is RecordState.WRONG


async def test_what_is_shown_of_a_record_is_short_and_printable() -> None:
    dns = FakeDns()
    dns.texts[f"_dmarc.{NAME}"] = ["v=DMARC1; p=none; \x1b[31m\r\n" + "x" * 5000]
    row = await check_module.check_dmarc(NAME, dns)
    assert len(row.found) < 320
    assert row.found.isprintable()


def test_records_are_compared_whatever_their_blanks() -> None:
    assert tags(" v = DKIM1 ;; p= A B ; x") == {"v": "DKIM1", "p": "AB"}
    assert same_key("k=rsa;p=A A", "v=DKIM1; k=rsa; p=AA")
    assert spf_record(["192.0.2.1"]) == "v=spf1 ip4:192.0.2.1 ~all"


# --- DNS -----------------------------------------------------------------------------------------------


class PortDns(resolver.Dns):
    """The port of `smtp.resolver` with one answer for everything."""

    def __init__(self, outcome: Answer[object] | Exception) -> None:
        self._outcome = outcome

    async def _answer(self, name: str) -> object:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    mx = addresses = txt = _answer  # type: ignore[assignment]  # whatever the test prepared


async def test_questions_without_an_answer_are_empty_or_unavailable() -> None:
    empty: Answer[object] = Answer(values=(), ttl_s=1)
    for nothing in (NoSuchName(), empty):
        dns = SystemDns(PortDns(nothing))
        assert (await dns.txt("a.example"), await dns.mx("a.example")) == ([], [])
        assert await dns.addresses("a.example") == []
    dns = SystemDns(PortDns(LookupFailedError("time-out")))
    for question in (dns.txt, dns.mx, dns.addresses):
        with pytest.raises(DnsUnavailableError):
            await question("a.example")
    assert await dns.addresses("localhost") == ["127.0.0.1", "::1"]
    assert await SystemDns(PortDns(Answer(values=(b"caf\xe9",), ttl_s=1))).txt("a.example") == ["caf\ufffd"]
