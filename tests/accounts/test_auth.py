"""Authentication: hits without a read, changes seen at once, and the same answer for every wrong guess."""

import asyncio
from pathlib import Path

import pytest

from config.sections.limits import Limits
from gateway.accounts import auth as auth_module
from gateway.accounts.auth import AuthRefused, Principal
from gateway.accounts.secrets import CredentialKind, matches
from tests.support.services import CountingStore, Services, polling, services

HERE, THERE = "192.0.2.1", "198.51.100.7"
STRICT = Limits(auth_free_failures=2, auth_delay_first_s=1.0, auth_delay_max_s=8.0)


async def refusal(attempt: "asyncio.Future[Principal] | object") -> AuthRefused:
    """What an attempt that must fail was answered."""
    with pytest.raises(AuthRefused) as caught:
        await attempt  # type: ignore[misc]  # any awaitable
    return caught.value


async def until_refused(rig: Services, key: str) -> AuthRefused:
    """The refusal that a key runs into; the caller bounds the time."""
    while True:
        try:
            await rig.auth.api_key(f"Bearer {key}", HERE)
        except AuthRefused as refused:
            return refused
        await asyncio.sleep(0)


@pytest.mark.parametrize("header", [None, ""])
async def test_no_key_is_missing(tmp_path: Path, header: str | None) -> None:
    async with services(tmp_path) as rig:
        assert (await refusal(rig.auth.api_key(header, HERE))).reason == "missing"


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Basic Z3c6eA==", "Bearer gw_a_b", "\x00", "x" * 9999]
)
async def test_a_broken_header_is_malformed(tmp_path: Path, header: str) -> None:
    async with services(tmp_path) as rig:
        assert (await refusal(rig.auth.api_key(header, HERE))).reason == "malformed"


async def test_the_scheme_is_read_in_any_case(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        for header in (f"bearer {key.secret}", f"BEARER  {key.secret} ", key.secret):
            principal = await rig.auth.api_key(header, HERE)
            assert (principal.account_id, principal.account.name) == (account.id, "Ada")


async def test_a_good_secret_is_recognised_without_a_read(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        bind = await rig.credentials.create(account.id, CredentialKind.SMPP)
        name = bind.credential.username
        first = await rig.auth.api_key(key.secret, HERE)
        await rig.auth.password(CredentialKind.SMPP, name, bind.secret, HERE)
        spy = CountingStore(rig.store)
        assert await rig.auth.api_key(key.secret, THERE) is first
        assert rig.auth.peek(first) is first
        assert (await rig.auth.password(CredentialKind.SMPP, name, bind.secret, HERE)).username == name
        assert spy.reads == 0


async def test_a_header_field_is_known_from_its_first_success_until_anything_changes(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        field, other = f"Bearer {key.secret}".encode(), b"Bearer gw_0123456789ab_" + b"0" * 32
        assert rig.auth.known(field) is None
        principal = await rig.auth.api_field(field, key.secret, HERE)
        await refusal(rig.auth.api_field(other, other.decode(), HERE))
        spy = CountingStore(rig.store)
        assert rig.auth.known(field) is principal
        assert rig.auth.known(field + b" ") is None
        assert rig.auth.known(other) is None
        assert spy.reads == 0
        await rig.accounts.suspend(account.id)
        assert rig.auth.known(field) is None
        assert (await refusal(rig.auth.api_field(field, key.secret, HERE))).reason == "suspended"
        assert rig.auth.known(field) is None


async def test_a_header_field_looked_up_during_a_change_is_not_known_after_it(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        field = f"Bearer {key.secret}".encode()
        look = asyncio.create_task(rig.auth.api_field(field, key.secret, HERE))
        await asyncio.sleep(0)  # it is reading
        rig.caches.generation += 1  # what emptying does
        await look
        assert rig.auth.known(field) is None


async def test_wrong_secret_and_unknown_user_look_the_same(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        for kind in (CredentialKind.SMTP, CredentialKind.SMPP):
            await rig.credentials.create(account.id, kind, username="known")
            wrong = await refusal(rig.auth.password(kind, "known", "guess", HERE))
            unknown = await refusal(rig.auth.password(kind, "nobody", "guess", HERE))
            assert (wrong.reason, wrong.detail) == (unknown.reason, unknown.detail)


async def test_an_unknown_smpp_user_costs_the_same_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def spy(stored: str, secret: str) -> bool:
        compared.append(stored)
        return matches(stored, secret)

    monkeypatch.setattr(auth_module, "matches", spy)
    async with services(tmp_path) as rig:
        await refusal(rig.auth.password(CredentialKind.SMPP, "nobody", "", HERE))  # the decoy's own secret
    assert [stored.split("$")[0] for stored in compared] == ["scrypt"]


async def test_a_secret_opens_only_its_own_door(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        smtp = await rig.credentials.create(account.id, CredentialKind.SMTP, username="demo")
        await rig.auth.password(CredentialKind.SMTP, "demo", smtp.secret, HERE)
        await refusal(rig.auth.password(CredentialKind.SMPP, "demo", smtp.secret, HERE))
        await refusal(rig.auth.password(CredentialKind.SMTP, "DEMO", smtp.secret, HERE))


@pytest.mark.parametrize("username", ["", "x" * 65, "nul\x00", "\udcff", "' OR 1=1 --"])
async def test_odd_usernames_are_just_wrong(tmp_path: Path, username: str) -> None:
    async with services(tmp_path) as rig:
        for kind in (CredentialKind.SMTP, CredentialKind.SMPP):
            odd = await refusal(rig.auth.password(kind, username, "guess", HERE))
            assert odd.reason == "credentials"
            long = await refusal(rig.auth.password(kind, "demo", "x" * 100_000, THERE))
            assert long.reason == "credentials"


async def test_suspended_and_closed_accounts_are_told_so(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        principal = await rig.auth.api_key(key.secret, HERE)
        await rig.accounts.suspend(account.id, "unpaid invoice")
        refused = await refusal(rig.auth.api_key(key.secret, HERE))
        assert refused.reason == "suspended"
        assert "unpaid invoice" in refused.detail
        assert (await refusal(rig.auth.renew(principal))).reason == "suspended"
        assert rig.auth.peek(principal) is None
        await rig.accounts.activate(account.id)
        await rig.auth.api_key(key.secret, HERE)
        assert await rig.auth.renew(principal) == principal
        await rig.accounts.close(account.id)
        assert (await refusal(rig.auth.api_key(key.secret, HERE))).reason == "closed"


async def test_only_the_right_secret_learns_that_an_account_is_suspended(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.credentials.create(account.id, CredentialKind.SMTP, username="demo")
        await rig.accounts.suspend(account.id)
        refused = await refusal(rig.auth.password(CredentialKind.SMTP, "demo", "guess", HERE))
        assert refused.reason == "credentials"


async def test_an_open_session_ends_when_its_credential_is_revoked(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        login = await rig.credentials.create(account.id, CredentialKind.SMTP, username="app")
        principal = await rig.auth.password(CredentialKind.SMTP, "app", login.secret, HERE)
        await rig.credentials.revoke(account.id, login.credential.id)
        assert rig.auth.peek(principal) is None
        assert (await refusal(rig.auth.renew(principal))).reason == "revoked"


# --- two processes on one database ---------------------------------------------------------------------


async def test_a_key_made_by_another_process_works_at_once(tmp_path: Path) -> None:
    async with services(tmp_path) as daemon, services(tmp_path) as command:
        account = await command.account()
        key = await command.credentials.create(account.id, CredentialKind.API)
        assert (await daemon.auth.api_key(key.secret, HERE)).account_id == account.id


async def test_a_key_revoked_by_another_process_stops(tmp_path: Path) -> None:
    async with services(tmp_path) as daemon, services(tmp_path) as command:
        watch = polling(daemon.caches)
        await watch.start()
        account = await command.account()
        key = await command.credentials.create(account.id, CredentialKind.API)
        await daemon.auth.api_key(key.secret, HERE)
        await command.credentials.revoke(account.id, key.credential.id)
        async with asyncio.timeout(1.0):
            refused = await until_refused(daemon, key.secret)
        assert refused.reason == "credentials"
        await watch.stop()


async def test_without_the_watch_a_change_elsewhere_is_seen_by_fresh(tmp_path: Path) -> None:
    async with services(tmp_path) as daemon, services(tmp_path) as command:
        account = await command.account()
        key = await command.credentials.create(account.id, CredentialKind.API)
        principal = await daemon.auth.api_key(key.secret, HERE)
        await daemon.caches.fresh()
        await daemon.auth.api_key(key.secret, HERE)
        assert await daemon.caches.fresh() is False
        assert daemon.auth.peek(principal) is not None
        await command.credentials.revoke(account.id, key.credential.id)
        assert await daemon.caches.fresh() is True
        assert daemon.auth.peek(principal) is None


# --- guessing ------------------------------------------------------------------------------------------


async def test_guessing_is_slowed_and_then_answered_without_a_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path, limits=STRICT) as rig:
        account = await rig.account()
        login = await rig.credentials.create(account.id, CredentialKind.SMPP, username="demo")
        for _ in range(3):
            attempt = rig.auth.password(CredentialKind.SMPP, "demo", "guess", HERE)
            assert (await refusal(attempt)).reason == "credentials"
        with monkeypatch.context() as patch:
            patch.setattr(auth_module, "matches", lambda *_: pytest.fail("it was hashed"))
            slowed = await refusal(rig.auth.password(CredentialKind.SMPP, "demo", login.secret, HERE))
        assert (slowed.reason, slowed.retry_after_s) == ("slow_down", 1.0)
        rig.clock.advance(1.0)
        assert await rig.auth.password(CredentialKind.SMPP, "demo", login.secret, HERE)


async def test_parallel_guesses_do_not_pass_the_delay(tmp_path: Path) -> None:
    async with services(tmp_path, limits=STRICT) as rig:
        account = await rig.account()
        await rig.credentials.create(account.id, CredentialKind.SMPP, username="demo")
        guesses = [rig.auth.password(CredentialKind.SMPP, "demo", f"guess{n}", HERE) for n in range(30)]
        answers = await asyncio.gather(*guesses, return_exceptions=True)
        reasons = [answer.reason for answer in answers if isinstance(answer, AuthRefused)]
        assert len(reasons) == 30
        assert reasons.count("credentials") <= 4  # two free, and two at once when the first delay begins
        assert reasons.count("slow_down") >= 26


async def test_too_many_logins_at_once_are_told_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_module, "_SCRYPT_WAITING", 3)
    async with services(tmp_path) as rig:
        account = await rig.account()
        login = await rig.credentials.create(account.id, CredentialKind.SMPP, username="demo")
        logins = [rig.auth.password(CredentialKind.SMPP, "demo", login.secret, HERE) for _ in range(8)]
        answers = await asyncio.gather(*logins, return_exceptions=True)
        busy = [answer for answer in answers if isinstance(answer, AuthRefused)]
        assert {answer.reason for answer in busy} == {"busy"}
        assert len(busy) == 5
        assert sum(isinstance(answer, Principal) for answer in answers) == 3


@pytest.mark.parametrize("kind", [CredentialKind.API, CredentialKind.SMTP])
async def test_a_good_long_secret_is_never_kept_waiting_by_others_failures(
    tmp_path: Path, kind: CredentialKind
) -> None:
    """Not even where it was never shown before, as right after a restart."""
    async with services(tmp_path, limits=STRICT) as rig:
        account = await rig.account()
        good = await rig.credentials.create(account.id, kind)
        username = good.credential.username
        wrong = good.secret[:-1] + ("0" if good.secret[-1] != "0" else "1")

        async def guess(name: str) -> str:
            return (await refusal(rig.auth.password(kind, name, wrong, HERE))).reason

        assert [await guess(username) for _ in range(5)] == ["credentials"] * 3 + ["slow_down"] * 2
        for number in range(200):
            await guess(f"{number:012}")
        assert (await rig.auth.password(kind, username, good.secret, HERE)).account_id == account.id
        await rig.caches.write(lambda tx: None)  # the caches are empty
        assert (await rig.auth.password(kind, username, good.secret, HERE)).account_id == account.id


async def test_failures_at_one_door_do_not_slow_another(tmp_path: Path) -> None:
    async with services(tmp_path, limits=STRICT) as rig:
        account = await rig.account()
        login = await rig.credentials.create(account.id, CredentialKind.SMPP, username="demo")
        for kind in (CredentialKind.SMTP, CredentialKind.API):
            for _ in range(10):
                await refusal(rig.auth.password(kind, "demo", "guess", HERE))
        assert await rig.auth.password(CredentialKind.SMPP, "demo", login.secret, HERE)
