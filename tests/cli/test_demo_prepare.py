"""What the demo prepares: complete after a crash at any moment, kept at every later start, never twice."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config import Settings, from_mapping
from gateway import tls
from gateway.accounts.auth import Authenticator
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.cli.demo import ENV_FILE, certificate, envfile, prepare
from gateway.cli.demo.account import DOMAIN, SENDER_NAME, Furnished
from gateway.cli.opening import opened
from gateway.credits.service import Credits
from gateway.domains import keys
from gateway.domains.service import Domains
from gateway.ground import Ground
from gateway.listeners import Ports
from gateway.sendernames.service import SenderNames
from gateway.store.errors import StoreError
from gateway.store.writer import Writer

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
FIRST_WRITES = 7  # account, name, domain and its approval, three credentials


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return from_mapping({"store": {"url": "sqlite:var/gateway.db"}}, folder=tmp_path, env={})


@pytest.fixture(autouse=True)
def same_keys(monkeypatch: pytest.MonkeyPatch, pems: list[tuple[str, str]]) -> None:
    """Spares the making of RSA keys, which is tested elsewhere."""
    monkeypatch.setattr(keys, "make_pems", lambda **_: pems)


@pytest.fixture(scope="module")
def pems() -> list[tuple[str, str]]:
    return keys.make_pems(ed25519=True)


async def look(settings: Settings, work: Callable[[Ground], Awaitable[Any]]) -> Any:
    async with opened(settings) as ground:
        return await work(ground)


def remember(settings: Settings, demo: Furnished) -> None:
    """Writes demo.env as a start does when it is ready."""
    values = envfile.values(settings, Ports(smtp=1, http=2), demo)
    envfile.write(settings.server.data_dir / ENV_FILE, values)


async def assert_complete(settings: Settings, demo: Furnished) -> None:
    """One account with its first credits, one name, one domain, and one credential of each kind, all good."""

    async def work(ground: Ground) -> None:
        (account,) = await ground[Accounts].list()
        assert account == demo.account
        balances = await ground[Credits].balances(account.id)
        assert (balances["mail"], balances["sms"]) == (500, 100)  # R11
        assert await ground[Credits].unbalanced() == []
        assert await ground[SenderNames].approved(account.id) == {SENDER_NAME}
        (domain,) = await ground[Domains].list(account.id)
        assert (domain.name, domain.status.value) == (DOMAIN, "verified")
        good = await ground[Credentials].list(account.id)
        assert sorted(one.kind.value for one in good) == ["api", "smpp", "smtp"]
        secrets = demo.secrets
        check = ground[Authenticator]
        assert (await check.api_key(secrets.api_key, "::1")).account_id == account.id
        await check.password(CredentialKind.SMTP, secrets.smtp_user, secrets.smtp_password, "::1")
        await check.password(CredentialKind.SMPP, secrets.smpp_system_id, secrets.smpp_password, "::1")

    await look(settings, work)


async def test_the_first_start_prepares_everything(settings: Settings) -> None:
    demo = await prepare(settings)
    await assert_complete(settings, demo)
    now = datetime.now(UTC)  # NOW was when the tests were collected, perhaps before the certificate
    assert tls.check(settings.tls, now=now) > now + 300 * DAY
    assert settings.tls.key.stat().st_mode & 0o777 == 0o600
    assert settings.server.data_dir.stat().st_mode & 0o777 == 0o700


async def test_a_later_start_keeps_every_secret(settings: Settings) -> None:
    first = await prepare(settings)
    remember(settings, first)
    second = await prepare(settings)
    assert second == first
    await assert_complete(settings, second)


async def test_without_demo_env_new_secrets_take_the_place_of_the_old(settings: Settings) -> None:
    first = await prepare(settings)
    remember(settings, first)
    (settings.server.data_dir / ENV_FILE).unlink()
    second = await prepare(settings)
    assert second.secrets.api_key != first.secrets.api_key
    assert second.secrets.smtp_password != first.secrets.smtp_password
    await assert_complete(settings, second)  # one of each kind: the old ones are gone


@pytest.mark.parametrize(
    "damage", ["", "GATEWAY_API_KEY=gw_x\n", "\0\xff=\n", "SMTP_USER=demo\nSMTP_PASSWORD=guess\n"]
)
async def test_a_damaged_demo_env_is_mended(settings: Settings, damage: str) -> None:
    remember(settings, await prepare(settings))
    (settings.server.data_dir / ENV_FILE).write_bytes(damage.encode("latin-1"))
    await assert_complete(settings, await prepare(settings))


@pytest.mark.parametrize("writes", range(FIRST_WRITES))
async def test_a_crash_between_any_two_writes_is_completed_by_the_next_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    with monkeypatch.context() as patched:
        _die_after(patched, writes)
        with pytest.raises(Died):
            await prepare(settings)
    await assert_complete(settings, await prepare(settings))


async def test_the_first_start_has_no_more_writes_than_were_broken_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _die_after(monkeypatch, FIRST_WRITES)
    await prepare(settings)


class Died(Exception):
    """The process ends here."""


def _die_after(patched: pytest.MonkeyPatch, writes: int) -> None:
    submit = Writer.submit
    left = iter(range(writes))

    def dying(self: Writer, operation: Any, *, urgent: bool = False) -> Any:
        if next(left, None) is None:
            raise Died
        return submit(self, operation, urgent=urgent)

    patched.setattr(Writer, "submit", dying)


async def test_a_login_whose_name_is_somebody_elses_gets_another(settings: Settings) -> None:
    await prepare(settings)

    async def work(ground: Ground) -> None:
        (account,) = await ground[Accounts].list()
        await ground[Accounts].close(account.id)

    await look(settings, work)
    again = await prepare(settings)  # a new account; the closed one still has the username
    assert again.secrets.smtp_user.startswith("smtp-")
    assert again.secrets.smpp_system_id.startswith("smpp-")


async def test_a_suspended_demo_is_active_again(settings: Settings) -> None:
    first = await prepare(settings)
    await look(settings, lambda ground: ground[Accounts].suspend(first.account.id, "tried it out"))
    assert (await prepare(settings)).account.status.value == "active"


# --- the certificate ---------------------------------------------------------------------------------------


def test_an_expired_certificate_of_our_own_is_made_again(settings: Settings) -> None:
    assert certificate.ensure(settings, now=NOW - 400 * DAY)
    with pytest.raises(tls.CertificateError):
        tls.check(settings.tls, now=NOW)
    assert certificate.ensure(settings, now=NOW)
    assert tls.check(settings.tls, now=NOW) > NOW
    assert not certificate.ensure(settings, now=NOW)


def test_a_crash_between_key_and_certificate_is_mended(settings: Settings) -> None:
    certificate.ensure(settings, now=NOW)
    settings.tls.key.write_bytes(certificate.make(NOW)[0])  # the new key is there, the new certificate is not
    with pytest.raises(tls.CertificateError):
        tls.server_context(settings.tls, now=NOW)
    assert certificate.ensure(settings, now=NOW)
    tls.server_context(settings.tls, now=NOW)
    settings.tls.certificate.unlink()
    assert certificate.ensure(settings, now=NOW)
    tls.server_context(settings.tls, now=NOW)


def test_a_certificate_of_the_operators_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    certificate.ensure(settings, now=NOW)
    foreign = b"-----BEGIN CERTIFICATE-----\nnot ours\n-----END CERTIFICATE-----\n"
    settings.tls.certificate.write_bytes(foreign)
    assert not certificate.ensure(settings, now=NOW)
    assert settings.tls.certificate.read_bytes() == foreign
    outside = replace(
        settings, tls=replace(settings.tls, certificate=tmp_path / "own.pem", key=tmp_path / "own.key")
    )
    assert not certificate.ensure(outside, now=NOW)
    assert not (tmp_path / "own.pem").exists()


# --- surroundings ------------------------------------------------------------------------------------------


async def test_a_file_in_place_of_the_folder_is_told_so(settings: Settings) -> None:
    settings.server.data_dir.write_text("in the way")
    with pytest.raises(StoreError, match=r"server\.data_dir: .* cannot be made"):
        await prepare(settings)


async def test_an_upstream_that_is_no_sandbox_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {
        "store": {"url": "sqlite:var/gateway.db"},
        "upstream": {"world": {"type": "relay", "host": "smtp.example.org"}},
    }
    await prepare(from_mapping(data, folder=tmp_path, env={}))
    assert "warning: upstream.world is no sandbox" in capsys.readouterr().err


def test_demo_env_is_whole_or_not_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settings.server.data_dir / ENV_FILE
    envfile.write(path, {"KEY": "old"})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            envfile.write(path, {"KEY": "new"})
    assert path.read_text() == "KEY=old\n"
    envfile.write(path, {"KEY": "new"})
    assert path.read_text() == "KEY=new\n"
    assert [one.name for one in path.parent.iterdir()] == [ENV_FILE]


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "127.0.0.1"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("mx.example", "mx.example")],
)
def test_addresses_are_ones_that_can_be_connected_to(host: str, url: str) -> None:
    assert envfile.in_url(envfile.reachable(host)) == url
