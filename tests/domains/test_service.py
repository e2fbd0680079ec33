"""Sender domains: keys that rotate without a gap, proof by DNS, signers for the hot path."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from config.schema import Settings
from gateway.domains import keys as keys_module
from gateway.domains import service as service_module
from gateway.domains.check import RecordState
from gateway.domains.records import tags
from gateway.domains.service import DomainStatus, normal_name
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from smtp import dkim
from smtp.headers import Field
from tests.support.services import CountingStore, Services, publish, services

NAME = "example.org"

pytestmark = pytest.mark.usefixtures("cheap_rsa")


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
            ("gw100001", "rsa-sha256", "new"),
            ("gw100002", "ed25519-sha256", "new"),
        ]
        records = {record.name: record for record in await rig.domains.dns_records(account.id, NAME)}
        assert tags(records["gw100001._domainkey.example.org"].value)["k"] == "rsa"
        assert tags(records["gw100002._domainkey.example.org"].value)["k"] == "ed25519"
        assert records[NAME].value == "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 ~all"
        assert records["_dmarc.example.org"].value == "v=DMARC1; p=none"
        assert "PRIVATE" not in repr(domain)


async def test_ed25519_is_left_out_where_it_is_switched_off(tmp_path: Path) -> None:
    mail = replace(Settings().mail, dkim_ed25519=False, dkim_selector_prefix="mail-")
    async with services(tmp_path, mail=mail) as rig:
        account = await rig.account()
        domain = await rig.domains.add(account.id, NAME)
        assert [key.selector for key in domain.keys] == ["mail-100001"]
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


async def test_selectors_do_not_tell_that_another_account_has_the_domain(tmp_path: Path) -> None:
    drawn = iter([500, 7, 500])
    async with services(tmp_path, random_below=lambda _: next(drawn)) as rig:
        accounts = [await rig.account(name) for name in ("Ada", "Bob", "Cy")]
        added = [await rig.domains.add(one.id, NAME) for one in accounts]
        numbers = [[int(key.selector.removeprefix("gw")) for key in domain.keys] for domain in added]
        assert numbers == [
            [100_501, 100_502],
            [100_008, 100_009],
            [100_503, 100_504],
        ]  # the last met the first
        await rig.domains.approve(accounts[1].id, NAME)
        rotated = await rig.domains.rotate(accounts[1].id, NAME)
        assert [key.selector for key in rotated.keys][2:] == ["gw100010", "gw100011"]


async def test_a_domain_with_selectors_from_one_on_draws_its_next_ones_too(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.store.write(
            lambda tx: tx.run("UPDATE dkim_key SET selector = 'gw' || substr(selector, 8), active_ms = 1")
        )
        rotated = await rig.domains.rotate(account.id, NAME)
        assert [key.selector for key in rotated.keys] == ["gw1", "gw2", "gw100001", "gw100002"]
        approved = await rig.domains.approve(account.id, NAME)
        assert [key.state for key in approved.keys] == ["retired", "retired", "active", "active"]


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
        assert [row.state for row in rows] == [RecordState.MISSING, RecordState.MISSING]
        rsa = domain.keys[0].record
        rig.dns.texts[rsa.name] = [rsa.value]
        proved, rows = await rig.domains.verify(account.id, NAME)
        assert proved.status is DomainStatus.VERIFIED
        assert [key.state for key in proved.keys] == ["active", "new"]
        assert [row.state for row in rows] == [RecordState.OK, RecordState.MISSING]
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
        assert {row.state for row in rows} == {RecordState.UNKNOWN}


async def test_rotation_signs_with_the_old_keys_until_the_new_are_seen(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        rotated = await rig.domains.rotate(account.id, NAME)
        assert [(key.selector, key.state) for key in rotated.keys] == [
            ("gw100001", "active"),
            ("gw100002", "active"),
            ("gw100003", "new"),
            ("gw100004", "new"),
        ]
        assert await selectors(rig, account.id) == ["gw100001", "gw100002"]
        publish(rig, rotated)
        after, _ = await rig.domains.verify(account.id, NAME)
        assert [key.state for key in after.keys] == ["retired", "retired", "active", "active"]
        assert await selectors(rig, account.id) == ["gw100003", "gw100004"]


async def test_rotating_twice_replaces_keys_that_never_signed(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.domains.add(account.id, NAME)
        await rig.domains.approve(account.id, NAME)
        await rig.domains.rotate(account.id, NAME)
        twice = await rig.domains.rotate(account.id, NAME)
        assert [(key.selector, key.state) for key in twice.keys][2:] == [
            ("gw100005", "new"),
            ("gw100006", "new"),
        ]


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


async def test_what_the_gateway_itself_sends_is_signed_by_the_first_account_that_verified_the_domain(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as rig:
        accounts = [await rig.account(name) for name in ("Ada", "Bob", "Eve")]
        for account in accounts:
            await rig.domains.add(account.id, NAME)
        assert await rig.signers.of_domain(NAME) is None, "a domain that nobody has verified has no keys"
        for account in (accounts[1], accounts[0]):
            rig.clock.advance(1)
            await rig.domains.approve(account.id, NAME)
        found = await rig.signers.of_domain(NAME)
        assert found is not None
        assert found is await rig.signers.get(accounts[1].id, NAME)
        await rig.domains.remove(accounts[1].id, NAME)
        assert await rig.signers.of_domain(NAME) is await rig.signers.get(accounts[0].id, NAME)
