"""Accounts and credentials: what is made, kept, listed, and who may do what with it."""

import re
from pathlib import Path

import pytest

from gateway.accounts import credentials as credentials_module
from gateway.accounts.auth import AuthRefused
from gateway.accounts.secrets import CredentialKind, hash_secret, key_prefix, make_secret, matches
from gateway.accounts.service import AccountStatus
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.store import revision
from gateway.store.tx import Tx
from tests.support.services import Services, services

HERE = "192.0.2.1"


async def bearer(rig: Services, secret: str, peer: str = HERE) -> str:
    """The account that a key speaks for."""
    return (await rig.auth.api_key(f"Bearer {secret}", peer)).account_id


def kept_octets(folder: Path) -> bytes:
    """Everything that the database's files hold."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


# --- accounts ------------------------------------------------------------------------------------------


async def test_an_account_is_made_with_its_grants_in_one_transaction(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:

        def grant(tx: Tx, account_id: str) -> None:
            tx.run("UPDATE account SET note = 'granted' WHERE id = ?", (account_id,))

        account = await rig.accounts.create("  Ada & Co  ", "Ada@Example.ORG", grants=grant)
        kept = await rig.accounts.get(account.id)
        assert (kept.name, kept.email, kept.note) == ("Ada & Co", "Ada@example.org", "granted")
        assert kept.status is AccountStatus.ACTIVE

        def fail(tx: Tx, account_id: str) -> None:
            raise ConflictError("no credits today")

        with pytest.raises(ConflictError):
            await rig.accounts.create("Bob", grants=fail)
        assert [one.id for one in await rig.accounts.list()] == [account.id]


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "a\r\nb", "x" * 201])
async def test_an_account_name_is_one_plain_line(tmp_path: Path, name: str) -> None:
    async with services(tmp_path) as rig:
        with pytest.raises(InvalidError, match="name"):
            await rig.accounts.create(name)


async def test_a_bad_mail_address_of_an_account_is_refused(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        with pytest.raises(InvalidError, match="email"):
            await rig.accounts.create("Ada", "no address")


async def test_accounts_are_listed_in_pages(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        made = [(await rig.account(f"Ada {number}")).id for number in range(5)]
        first = await rig.accounts.list(limit=2)
        rest = await rig.accounts.list(after=first[-1].id, limit=10)
        assert [one.id for one in [*first, *rest]] == made


async def test_a_closed_account_stays_closed_and_takes_nothing_new(tmp_path: Path) -> None:  # R36
    async with services(tmp_path) as rig:
        account = await rig.account()
        rig.clock.advance(60)
        closed = await rig.accounts.close(account.id)
        assert (closed.status, closed.status_ms) == (AccountStatus.CLOSED, rig.clock.now_ms())
        with pytest.raises(ConflictError):
            await rig.accounts.activate(account.id)
        with pytest.raises(ConflictError):
            await rig.credentials.create(account.id, CredentialKind.API)


async def test_an_unknown_account_is_not_found(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        with pytest.raises(NotFoundError):
            await rig.accounts.get("0" * 26)
        with pytest.raises(NotFoundError):
            await rig.credentials.create("0" * 26, CredentialKind.API)


async def test_an_account_may_have_a_rate_of_its_own(tmp_path: Path) -> None:  # R29
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        await rig.accounts.set_rate(account.id, 7)
        principal = await rig.auth.api_key(f"Bearer {key.secret}", HERE)
        assert principal.account.rate_per_s == 7
        with pytest.raises(InvalidError):
            await rig.accounts.set_rate(account.id, 0)


# --- credentials ---------------------------------------------------------------------------------------


async def test_an_api_key_has_its_form_and_is_kept_only_as_a_hash(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        issued = await rig.credentials.create(account.id, CredentialKind.API, label="shop")
        assert re.fullmatch(r"gw_[0-9a-z]{12}_[0-9a-z]{32}", issued.secret)  # 32 × 5 = 160 random bits
        assert issued.secret not in repr(issued)
        random_part = issued.secret.rpartition("_")[2]
        kept = kept_octets(tmp_path)
        assert issued.credential.username.encode() in kept
        assert random_part.encode() not in kept
        listed = await rig.credentials.list(account.id)
        assert [(one.username, one.label) for one in listed] == [(issued.secret.split("_")[1], "shop")]


async def test_two_keys_never_look_alike(tmp_path: Path) -> None:
    secrets = {make_secret(CredentialKind.API, "p" * 12) for _ in range(50)}
    assert len(secrets) == 50


async def test_scopes_are_a_bounded_set(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        with pytest.raises(InvalidError, match="mail:read is unknown"):
            await rig.credentials.create(account.id, CredentialKind.API, scopes=["mail:read"])
        with pytest.raises(InvalidError, match="at least one"):
            await rig.credentials.create(account.id, CredentialKind.API, scopes=[])
        key = await rig.credentials.create(account.id, CredentialKind.API, scopes=["sms:send"])
        principal = await rig.auth.api_key(f"Bearer {key.secret}", HERE)
        assert principal.allows("sms:send")
        assert not principal.allows("mail:send")
        everything = await rig.credentials.create(account.id, CredentialKind.API)
        assert (await rig.auth.api_key(everything.secret, HERE)).allows("mail:send")


@pytest.mark.parametrize(
    ("kind", "username"),
    [
        (CredentialKind.SMPP, "sixteencharacter"),
        (CredentialKind.SMPP, "with blank"),
        (CredentialKind.SMPP, ""),
        (CredentialKind.SMTP, "x" * 65),
        (CredentialKind.SMTP, "nul\x00"),
        (CredentialKind.SMTP, "zürich"),
        (CredentialKind.API, "mine"),
    ],
)
async def test_usernames_have_a_form(tmp_path: Path, kind: CredentialKind, username: str) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        with pytest.raises(InvalidError, match="username"):
            await rig.credentials.create(account.id, kind, username=username)


async def test_made_up_smpp_logins_fit_a_bind(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        issued = await rig.credentials.create(account.id, CredentialKind.SMPP)
        assert len(issued.credential.username) <= 15  # SMPP 3.4 section 5.2.1
        assert len(issued.secret) <= 8  # section 5.2.2
        named = await rig.credentials.create(account.id, CredentialKind.SMPP, username="demo")
        assert named.credential.username == "demo"


async def test_a_username_is_taken_once_by_any_account(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        first, second = await rig.account(), await rig.account()
        await rig.credentials.create(first.id, CredentialKind.SMTP, username="demo")
        with pytest.raises(ConflictError, match="taken"):
            await rig.credentials.create(second.id, CredentialKind.SMTP, username="demo")
        await rig.credentials.create(second.id, CredentialKind.SMPP, username="demo")  # another door


async def test_another_accounts_credential_is_not_found(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        ada, bob = await rig.account("Ada"), await rig.account("Bob")
        key = await rig.credentials.create(ada.id, CredentialKind.API)
        for attempt in (rig.credentials.get, rig.credentials.revoke, rig.credentials.renew):
            with pytest.raises(NotFoundError):
                await attempt(bob.id, key.credential.id)
        assert await bearer(rig, key.secret) == ada.id


async def test_an_account_has_a_bounded_number_of_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials_module, "CREDENTIALS_MAX", 2)
    async with services(tmp_path) as rig:
        account = await rig.account()
        first = await rig.credentials.create(account.id, CredentialKind.API)
        await rig.credentials.create(account.id, CredentialKind.API)
        with pytest.raises(LimitError):
            await rig.credentials.create(account.id, CredentialKind.API)
        await rig.credentials.revoke(account.id, first.credential.id)
        await rig.credentials.create(account.id, CredentialKind.API)


async def test_revoking_ends_a_key_and_is_listed_only_when_asked_for(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        assert await bearer(rig, key.secret) == account.id
        revoked = await rig.credentials.revoke(account.id, key.credential.id)
        again = await rig.credentials.revoke(account.id, key.credential.id)
        assert revoked.revoked_ms == again.revoked_ms == rig.clock.now_ms()
        with pytest.raises(AuthRefused, match="credentials"):
            await bearer(rig, key.secret)
        assert await rig.credentials.list(account.id) == []
        assert len(await rig.credentials.list(account.id, revoked=True)) == 1
        with pytest.raises(ConflictError):
            await rig.credentials.renew(account.id, key.credential.id)


async def test_renewing_changes_the_secret_and_keeps_the_username(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        old = await rig.credentials.create(account.id, CredentialKind.SMTP, username="app")
        new = await rig.credentials.renew(account.id, old.credential.id)
        with pytest.raises(AuthRefused):
            await rig.auth.password(CredentialKind.SMTP, "app", old.secret, HERE)
        principal = await rig.auth.password(CredentialKind.SMTP, "app", new.secret, HERE)
        assert principal.credential_id == old.credential.id


def test_hashes_match_their_secret_and_no_other() -> None:
    for kind in CredentialKind:
        secret = make_secret(kind, "p" * 12)
        stored = hash_secret(kind, secret)
        assert matches(stored, secret)
        assert not matches(stored, secret[:-1] + "~")
        assert not matches(stored, "")
        assert not matches(stored, "\udcff")
        assert hash_secret(CredentialKind.SMPP, secret) != hash_secret(CredentialKind.SMPP, secret)  # salted


@pytest.mark.parametrize(
    "key",
    ["", "gw", "gw__", f"gw_{'a' * 12}_{'b' * 31}", f"xx_{'a' * 12}_{'b' * 32}", f"gw_{'é' * 12}_{'b' * 32}"],
)
def test_what_is_no_api_key_has_no_prefix(key: str) -> None:
    assert key_prefix(key) is None


async def test_every_change_of_accounts_and_credentials_counts_the_revision(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        seen = [await rig.store.read(revision.read)]

        async def counted() -> bool:
            seen.append(await rig.store.read(revision.read))
            return seen[-1] == seen[-2] + 1

        account = await rig.account()
        assert await counted()
        key = await rig.credentials.create(account.id, CredentialKind.API)
        assert await counted()
        await rig.credentials.revoke(account.id, key.credential.id)
        assert await counted()
        await rig.accounts.suspend(account.id)
        assert await counted()
