"""Sender domains: keys that rotate without a gap, proof by DNS, checks as rows, signers for the hot path."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from config.schema import Settings
from gateway.accounts.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.domains import check as check_module
from gateway.domains import keys as keys_module
from gateway.domains import service as service_module
from gateway.domains.check import Row, State
from gateway.domains.dns import DnsUnavailableError, SystemDns
from gateway.domains.records import DnsRecord, same_key, spf_record, tags
from gateway.domains.service import Domain, DomainStatus, normal_name
from smtp import dkim, resolver
from smtp.headers import Field
from smtp.resolver import Answer, LookupFailedError, NoSuchName
from smtp.spf import SpfVerdict
from tests.gateway.services_rig import EGRESS, CountingStore, FakeDns, FakeSpf, Services, services

NAME = "example.org"


_make_keys = cache(dkim.make_keys)


@pytest.fixture(autouse=True)
def _cheap_rsa(monkeypatch: pytest.MonkeyPatch) -> None:
    """RSA keys are made once and shared: each test needs several, and their making is not what is tested."""
    monkeypatch.setattr(dkim, "make_keys", _make_keys)


def publish(rig: Services, domain: Domain, *, states: tuple[str, ...] = ("new", "active")) -> None:
    """The owner of the domain publishes the records of its keys."""
    for key in domain.keys:
        if key.state in states:
            rig.dns.texts[key.record.name] = [key.record.value]


def by_what(rows: "list[Row] | tuple[Row, ...]") -> dict[str, Row]:
    return {row.what: row for row in rows}


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Example.ORG", "example.org"),
        (" example.org. ", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_names_are_kept_as_lower_case_a_labels(name: str, normal: str) -> None:
    assert normal_name(name) == normal


@pytest.mark.parametrize(
    "name",
    [
        *("", "localhost", "a..b", "-a.org", "a b.org", "a\x00.org", "a\r\n.org", "[192.0.2.1]", "192.0.2.1"),
        *("x" * 64 + ".org", ".".join(["x" * 50] * 5), "user@example.org", "a_b.org", "\u2028.org"),
    ],
)
async def test_what_is_no_domain_name_is_refused_with_its_field(tmp_path: Path, name: str) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        with pytest.raises(InvalidError) as caught:
            await rig.domains.add(account.id, name)
        assert caught.value.field == "name"
        with pytest.raises(NotFoundError):
            await rig.domains.get(account.id, name)


# --- adding --------------------------------------------------------------------------------------------


async def test_a_new_domain_is_pending_and_says_what_to_publish(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, "Example.org")
        assert (domain.name, domain.status) == (NAME, DomainStatus.PENDING)
        assert [(key.selector, key.algorithm, key.state) for key in domain.keys] == [
            ("gw1", "rsa-sha256", "new"),
            ("gw2", "ed25519-sha256", "new"),
        ]
        records = {record.name: record for record in await rig.domains.dns_records(account.id, NAME)}
        assert tags(records["gw1._domainkey.example.org"].value)["k"] == "rsa"
        assert tags(records["gw2._domainkey.example.org"].value)["k"] == "ed25519"
        assert records[NAME].value == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 ~all"
        assert records["_dmarc.example.org"].value == "v=DMARC1; p=none"
        assert "PRIVATE" not in repr(domain)


async def test_ed25519_is_left_out_where_it_is_switched_off(tmp_path: Path) -> None:
    mail = replace(Settings().mail, dkim_ed25519=False, dkim_selector_prefix="mail-")
    async with services(tmp_path, mail=mail) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        assert [key.selector for key in domain.keys] == ["mail-1"]
        assert not any(record.purpose == "spf" for record in await rig.domains.dns_records(account.id, NAME))


async def test_a_domain_is_added_once_per_account(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        with pytest.raises(ConflictError):
            await rig.domains.add(account.id, "EXAMPLE.org.")


async def test_two_accounts_with_one_domain_never_share_a_selector_or_a_proof(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        ada, bob = await rig.account("Ada"), await rig.account("Bob")
        first = await rig.domains.add(ada.id, NAME)
        second = await rig.domains.add(bob.id, NAME)
        assert not {key.selector for key in first.keys} & {key.selector for key in second.keys}
        publish(rig, first)
        assert (await rig.domains.verify(ada.id, NAME))[0].status is DomainStatus.VERIFIED
        assert (await rig.domains.verify(bob.id, NAME))[0].status is DomainStatus.PENDING
        assert await rig.signers.allowed(ada.id, NAME)
        assert not await rig.signers.allowed(bob.id, NAME)


async def test_an_account_has_a_bounded_number_of_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "DOMAINS_MAX", 1)
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, "a.example")
        with pytest.raises(LimitError):
            await rig.domains.add(account.id, "b.example")


async def test_domains_are_listed_in_pages(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        for letter in "cab":
            await rig.domains.add(account.id, f"{letter}.example")
        first = await rig.domains.list(account.id, limit=2)
        rest = await rig.domains.list(account.id, after=first[-1].name)
        assert [one.name for one in [*first, *rest]] == ["a.example", "b.example", "c.example"]


async def test_another_accounts_domain_is_not_found(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        ada, bob = await rig.account("Ada"), await rig.account("Bob")
        await rig.domains.add(ada.id, NAME)
        attempts = (rig.domains.get, rig.domains.remove, rig.domains.rotate, rig.domains.verify)
        for attempt in (*attempts, rig.domains.approve, rig.domains.check, rig.domains.dns_records):
            with pytest.raises(NotFoundError):
                await attempt(bob.id, NAME)


async def test_a_removed_domain_no_longer_sends(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        assert await rig.signers.allowed(account.id, NAME)
        assert await rig.signers.get(account.id, NAME) is not None
        await rig.domains.remove(account.id, NAME)
        assert not await rig.signers.allowed(account.id, NAME)
        assert await rig.signers.get(account.id, NAME) is None


# --- proof and rotation --------------------------------------------------------------------------------


async def test_a_domain_is_verified_when_its_rsa_key_is_published(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        unproved, rows = await rig.domains.verify(account.id, NAME)
        assert unproved.status is DomainStatus.PENDING
        assert [row.state for row in rows] == [State.MISSING, State.MISSING]
        rsa = domain.keys[0].record
        rig.dns.texts[rsa.name] = [rsa.value]
        proved, rows = await rig.domains.verify(account.id, NAME)
        assert proved.status is DomainStatus.VERIFIED
        assert [key.state for key in proved.keys] == ["active", "new"]
        assert [row.state for row in rows] == [State.OK, State.MISSING]
        again, _ = await rig.domains.verify(account.id, NAME)
        assert again == proved
        assert [kind for kind, _ in await rig.events(account.id)] == ["domain.verified"]


async def test_an_ed25519_key_alone_does_not_verify_a_domain(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        record = domain.keys[1].record
        rig.dns.texts[record.name] = [record.value]
        after, _ = await rig.domains.verify(account.id, NAME)
        assert after.status is DomainStatus.PENDING


async def test_dns_that_does_not_answer_proves_nothing_and_raises_nothing(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        publish(rig, domain)
        rig.dns.silent = {key.record.name for key in domain.keys}
        after, rows = await rig.domains.verify(account.id, NAME)
        assert after.status is DomainStatus.PENDING
        assert {row.state for row in rows} == {State.UNKNOWN}


async def test_rotation_signs_with_the_old_keys_until_the_new_are_seen(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        rotated = await rig.domains.rotate(account.id, NAME)
        assert [(key.selector, key.state) for key in rotated.keys] == [
            ("gw1", "active"),
            ("gw2", "active"),
            ("gw3", "new"),
            ("gw4", "new"),
        ]
        assert await selectors(rig, account.id) == ["gw1", "gw2"]
        publish(rig, rotated)
        after, _ = await rig.domains.verify(account.id, NAME)
        assert [key.state for key in after.keys] == ["retired", "retired", "active", "active"]
        assert await selectors(rig, account.id) == ["gw3", "gw4"]


async def test_rotating_twice_replaces_keys_that_never_signed(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        await rig.domains.rotate(account.id, NAME)
        twice = await rig.domains.rotate(account.id, NAME)
        assert [(key.selector, key.state) for key in twice.keys][2:] == [("gw5", "new"), ("gw6", "new")]


async def test_a_retired_key_stays_a_week(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        await rig.domains.rotate(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        rig.clock.advance(7 * 86_400 - 1)
        kept = await rig.domains.rotate(account.id, NAME)
        assert [key.state for key in kept.keys] == ["retired"] * 2 + ["active"] * 2 + ["new"] * 2
        rig.clock.advance(1)
        gone = await rig.domains.rotate(account.id, NAME)
        assert [key.state for key in gone.keys] == ["active"] * 2 + ["new"] * 2


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
            ["SPF", "DKIM gw1", "DKIM gw2", "DMARC", "MX"], State.OK
        )
        assert all(row.publish == "" for row in rows.values())
        assert rows["MX"].found == "10 mx1.example.org, 20 mx2.example.org"


async def test_an_empty_zone_is_missing_in_every_row_with_what_to_publish(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        rows = by_what(list(await rig.domains.check(account.id, NAME)))
        assert {row.state for row in rows.values()} == {State.MISSING}
        assert rows["DKIM gw1"].publish == domain.keys[0].record.value
        assert rows["SPF"].publish == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 ~all"
        assert rows["DMARC"].name == "_dmarc.example.org"


async def test_silent_dns_is_unknown_in_every_row(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        rig.dns.silent = {NAME, f"_dmarc.{NAME}", *(key.record.name for key in domain.keys)}
        rows = await rig.domains.check(account.id, NAME)
        assert {row.state for row in rows} == {State.UNKNOWN}


async def test_a_domain_nobody_added_can_be_checked(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        rows = await rig.domains.check_any("Example.ORG")
        assert [row.what for row in rows] == ["SPF", "DMARC", "MX"]


RECORD = DnsRecord(
    purpose="dkim", type="TXT", name="gw1._domainkey.example.org", value="v=DKIM1; k=rsa; p=AAAA"
)


@pytest.mark.parametrize(
    ("published", "state"),
    [
        ([], State.MISSING),
        (["not a key"], State.MISSING),
        (["v=DKIM1; k=rsa; p=AAAA"], State.OK),
        (["p=AA AA"], State.OK),  # k=rsa is the default, blanks inside p= do not count
        (["v=DKIM1; k=rsa; t=s; p=AAAA;"], State.OK),
        (["v=DKIM1; k=rsa; p=BBBB"], State.WRONG),
        (["v=DKIM1; k=rsa; p="], State.WRONG),  # revoked, RFC 6376 section 3.6.1
        (["v=DKIM1; k=ed25519; p=AAAA"], State.WRONG),
        (["v=DKIM1; p=AAAA", "v=DKIM1; p=BBBB"], State.WRONG),
    ],
)
async def test_dkim_records_are_compared_by_their_key(published: list[str], state: State) -> None:
    dns = FakeDns()
    dns.texts[RECORD.name] = published
    row = await check_module.check_dkim(RECORD, dns)
    assert row.state is state
    assert row.publish == ("" if state is State.OK else RECORD.value)


SUGGESTED = "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10"


@pytest.mark.parametrize(
    ("published", "state", "publish"),
    [
        (["v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all"], State.OK, ""),
        (["V=SPF1 -all"], State.WRONG, f"{SUGGESTED} -all"),
        (["v=spf1 ip4:192.0.2.10 -all"], State.WRONG, "v=spf1 ip6:2001:db8::10 ip4:192.0.2.10 -all"),
        (["v=spf1 -all", "v=spf1 ip4:192.0.2.10 ~all"], State.WRONG, f"{SUGGESTED} ip4:192.0.2.10 ~all"),
        (["v=spf1 include:loop.example -all"], State.WRONG, f"{SUGGESTED} include:loop.example -all"),
        (["v=spf10 -all"], State.MISSING, f"{SUGGESTED} ~all"),
        (["v=spf1 include:silent.example -all"], State.UNKNOWN, ""),
        ([], State.MISSING, f"{SUGGESTED} ~all"),
    ],
)
async def test_spf_is_judged_for_every_egress_address(
    published: list[str], state: State, publish: str
) -> None:
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
    assert (row.state, row.found) == (State.UNKNOWN, "SPF could not be judged (TimeoutError)")


async def test_without_egress_addresses_spf_is_shown_but_not_judged() -> None:
    dns = FakeDns()
    dns.texts[NAME] = ["v=spf1 mx"]
    row = await check_module.check_spf(NAME, (), FakeSpf(dns))
    assert row.state is State.UNKNOWN
    assert row.found == "v=spf1 mx (set mail.egress_ips to have the addresses judged)"


@pytest.mark.parametrize(
    ("published", "state"),
    [
        (["v=DMARC1; p=none"], State.OK),
        (["v = DMARC1 ; p = Reject"], State.OK),
        (["v=DMARC1"], State.WRONG),
        (["v=DMARC1; p=perhaps"], State.WRONG),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], State.WRONG),
        (["something else"], State.MISSING),
    ],
)
async def test_dmarc_needs_one_record_with_a_policy(published: list[str], state: State) -> None:
    dns = FakeDns()
    dns.texts[f"_dmarc.{NAME}"] = published
    assert (await check_module.check_dmarc(NAME, dns)).state is state


async def test_a_null_mx_is_wrong_for_a_sender() -> None:
    dns = FakeDns()
    dns.hosts[NAME] = [(0, "")]
    assert (await check_module.check_mx(NAME, dns)).state is State.WRONG


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


# --- signers -------------------------------------------------------------------------------------------


async def selectors(rig: Services, account_id: str) -> list[str]:
    """The selectors that a mail from the domain is signed with."""
    signer = await rig.signers.get(account_id, NAME)
    assert signer is not None
    mail = [Field("from", b"From: ada@example.org\r\n")]
    return [
        tags(field.raw.decode().partition(":")[2].replace("\r\n", ""))["s"]
        for field in signer.sign(mail, b"hello\r\n", now=1_790_000_000)
    ]


async def test_signatures_are_valid_by_the_published_records(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        publish(rig, await rig.domains.add(account.id, NAME))
        await rig.domains.verify(account.id, NAME)
        signer = await rig.signers.get(account.id, NAME)
        assert signer is not None
        mail = [Field("from", b"From: ada@example.org\r\n")]
        signed = signer.sign(mail, b"hello\r\n", now=1_790_000_000)
        raw = b"".join(field.raw for field in [*signed, *mail]) + b"\r\nhello\r\n"
        texts = rig.dns.texts
        found = dkim.verify(raw, lambda name: texts[name][0].encode() if name in texts else None)
        assert [(one.algorithm, one.valid) for one in found] == [
            ("rsa-sha256", True),
            ("ed25519-sha256", True),
        ]


async def test_a_hit_of_signer_and_sender_check_reads_nothing(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        assert not rig.signers.peek_allowed(account.id, NAME)
        assert rig.signers.peek(account.id, NAME) is None
        signer = await rig.signers.get(account.id, NAME)
        assert await rig.signers.allowed(account.id, NAME)
        spy = CountingStore(rig.store)
        assert rig.signers.peek(account.id, NAME) is signer
        assert rig.signers.peek_allowed(account.id, NAME)
        assert await rig.signers.allowed(account.id, NAME)
        assert spy.reads == 0


async def test_a_domain_approved_by_another_process_sends_at_once(tmp_path: Path) -> None:
    async with services(tmp_path) as daemon, services(tmp_path) as command:
        account = await command.account()
        await command.domains.add(account.id, NAME)
        assert not await daemon.signers.allowed(account.id, NAME)
        assert await daemon.signers.get(account.id, NAME) is None
        await command.domains.approve(account.id, NAME)
        assert await daemon.signers.allowed(account.id, NAME)
        assert await daemon.signers.get(account.id, NAME) is not None


async def test_parsed_keys_outlive_the_emptying_of_the_caches(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        await rig.signers.get(account.id, NAME)
        before = keys_module.parsed.cache_info().misses
        await rig.accounts.set_rate(account.id, 5)
        assert rig.signers.peek(account.id, NAME) is None
        await rig.signers.get(account.id, NAME)
        assert keys_module.parsed.cache_info().misses == before


async def test_callers_that_miss_together_share_one_read(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        spy = CountingStore(rig.store)
        answers = await asyncio.gather(*(rig.signers.get(account.id, NAME) for _ in range(100)))
        assert len(set(map(id, answers))) == 1
        assert spy.reads == 1
