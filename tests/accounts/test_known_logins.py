"""Where an SMPP credential has logged in before, its right password is recognised, and only that one."""

import stat
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config.schema import Settings
from config.sections.limits import Limits
from gateway.accounts import auth as auth_module
from gateway.accounts import known
from gateway.accounts.auth import AuthRefused
from gateway.accounts.credentials import Issued
from gateway.accounts.guessing import Pair
from gateway.accounts.known import ACCOUNT_ROWS_MAX, ROWS_MAX, Remember
from gateway.accounts.secrets import CredentialKind
from gateway.ingress import smpp as ingress_smpp
from gateway.jobs.retention import purge_all
from gateway.store.tx import Row
from gateway.verticals import purges
from policy.retention import DAY_MS
from tests.ingress.smpp_rig import door
from tests.support.fakes import FakeClock
from tests.support.services import CountingStore, Services, eventually, services

HERE, THERE = "192.0.2.1", "198.51.100.7"
KEY = bytes(range(32))
STRICT = Limits(auth_free_failures=2, auth_delay_first_s=1.0, auth_delay_max_s=8.0)
_INSERT = """
INSERT INTO known_login (account_id, credential_id, prefix, digest, last_ms) VALUES (?, ?, ?, '', ?)
"""


async def client(rig: Services, username: str = "demo") -> Issued:
    """An SMPP credential of a new account."""
    account = await rig.account()
    return await rig.credentials.create(account.id, CredentialKind.SMPP, username=username)


async def attempt(rig: Services, username: str, password: str, peer: str = HERE) -> str:
    """What a login is answered: "in", or the reason of the refusal."""
    try:
        await rig.auth.password(CredentialKind.SMPP, username, password, peer)
    except AuthRefused as refused:
        return refused.reason
    return "in"


async def rows(rig: Services) -> list[Row]:
    """Every row of `known_login`, the least recent first."""
    sql = (
        "SELECT account_id, credential_id, prefix, digest, last_ms FROM known_login ORDER BY last_ms, prefix"
    )
    return await rig.store.read(lambda tx: tx.rows(sql))


async def until_rows(rig: Services, count: int) -> list[Row]:
    """The rows, once there are so many: nobody waits for their writing."""

    async def there() -> bool:
        return len(await rows(rig)) == count

    await eventually(there)
    return await rows(rig)


def no_hash(patch: pytest.MonkeyPatch) -> None:
    """From now on no password may be hashed."""
    patch.setattr(auth_module, "matches", lambda *_: pytest.fail("it was hashed"))


@pytest.mark.usefixtures("engine")
async def test_after_a_restart_a_known_login_needs_no_hash_whatever_fails_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path, limits=STRICT, login_key=KEY) as before:
        secret = (await client(before)).secret
        assert await attempt(before, "demo", secret) == "in"
        await until_rows(before, 1)
    async with services(tmp_path, limits=STRICT, login_key=KEY) as rig:
        reasons = [await attempt(rig, "demo", f"wrong{number:03}") for number in range(20)]
        assert reasons == ["credentials"] * 3 + ["slow_down"] * 17
        no_hash(monkeypatch)
        assert await attempt(rig, "demo", secret) == "in"
        assert await attempt(rig, "demo", secret, THERE) == "slow_down"  # not known there: the user waits
        assert await attempt(rig, "demo", secret) == "in"


async def test_a_process_with_another_key_hashes_once(tmp_path: Path) -> None:
    async with services(tmp_path, login_key=KEY) as here, services(tmp_path, login_key=b"x" * 32) as there:
        secret = (await client(here)).secret
        for rig, count in ((here, 1), (there, 2)):
            assert await attempt(rig, "demo", secret) == "in"
            await until_rows(rig, count)


async def test_what_one_worker_knows_the_others_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with services(tmp_path, login_key=KEY) as one, services(tmp_path, login_key=KEY) as other:
        secret = (await client(one)).secret
        assert await attempt(other, "demo", "wrong") == "credentials"  # looked up before it was known
        assert await attempt(one, "demo", secret) == "in"
        await until_rows(one, 1)
        no_hash(monkeypatch)
        assert await attempt(other, "demo", secret) == "in"


async def test_a_known_login_is_held_without_a_read(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        secret = (await client(rig)).secret
        await attempt(rig, "demo", secret)
        spy = CountingStore(rig.store)
        assert await attempt(rig, "demo", secret) == "in"
        assert spy.reads == 0


async def test_10000_failures_evict_no_known_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with services(tmp_path, limits=Limits(auth_free_failures=0, auth_remembered=100)) as rig:
        secret = (await client(rig)).secret
        assert await attempt(rig, "demo", secret) == "in"
        no_hash(monkeypatch)
        for number in range(10_000):
            await attempt(rig, "no such user", "x" * 300, f"10.1.{number // 256}.{number % 256}")
        for _ in range(100):
            await attempt(rig, "demo", "x" * 300)
        assert await attempt(rig, "demo", secret) == "in"


async def test_a_wrong_secret_of_a_known_login_is_answered_as_any_other(tmp_path: Path) -> None:
    async with services(tmp_path, limits=STRICT) as rig:
        secret = (await client(rig)).secret
        await attempt(rig, "demo", secret)
        told = {}
        for username in ("demo", "nobody"):
            told[username] = [await attempt(rig, username, "wrong") for _ in range(6)]
            rig.clock.advance(STRICT.auth_forget_s + 1)
        assert told["demo"] == told["nobody"]


async def test_without_looks_a_known_login_waits_like_any_other(tmp_path: Path) -> None:
    async with services(tmp_path, limits=STRICT) as rig:
        secret = (await client(rig)).secret
        await attempt(rig, "demo", secret)
        for _ in range(5):
            await attempt(rig, "demo", "wrong")
        guessing = rig.auth._guessing
        pair = Pair("smpp", HERE, "demo")
        guessing._looks_full_s.keep(
            pair, rig.clock.monotonic_s() + 86_400
        )  # as an hour of 500 a second leaves it
        with capture_logs() as logged:
            for _ in range(3):
                assert await attempt(rig, "demo", secret) == "slow_down"
        assert [line["event"] for line in logged] == ["known_login_flooded"]  # once a minute
        rig.clock.advance(0.06)
        assert await attempt(rig, "demo", secret) == "in"  # a look has come back


async def test_a_renewed_secret_ends_the_old_one_everywhere(tmp_path: Path) -> None:
    async with services(tmp_path, login_key=KEY) as rig, services(tmp_path, login_key=KEY) as other:
        old = await client(rig)
        for one in (rig, other):
            assert await attempt(one, "demo", old.secret) == "in"
        [row] = await until_rows(rig, 1)
        new = await rig.credentials.renew(old.credential.account_id, old.credential.id)
        assert await rows(rig) == []
        await other.caches.fresh()
        for one in (rig, other):
            assert await attempt(one, "demo", old.secret) == "credentials"
            assert await attempt(one, "demo", new.secret) == "in"
        await until_rows(rig, 1)
        # What a login under way at the renewal writes afterwards opens nothing.
        await rig.store.write(lambda tx: tx.run("UPDATE known_login SET digest = ?", (row[3],)))
        await rig.caches.write(lambda tx: None)
        assert await attempt(rig, "demo", old.secret) == "credentials"
        assert await attempt(rig, "demo", new.secret) == "in"


async def test_rows_go_with_their_credential_and_their_account(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        issued = [await client(rig, username) for username in ("one", "two", "three")]
        for one in issued:
            assert await attempt(rig, one.credential.username, one.secret) == "in"
        await until_rows(rig, 3)
        await rig.credentials.revoke(issued[0].credential.account_id, issued[0].credential.id)
        await rig.accounts.close(issued[1].credential.account_id)
        await rig.accounts.suspend(issued[2].credential.account_id)
        assert [row[1] for row in await rows(rig)] == [issued[2].credential.id]
        assert await attempt(rig, "one", issued[0].secret) == "credentials"
        assert await attempt(rig, "two", issued[1].secret) == "closed"
        assert await attempt(rig, "three", issued[2].secret) == "suspended"


@pytest.mark.usefixtures("engine")
async def test_a_revoked_credential_is_not_remembered_by_a_login_under_way(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        issued = await client(rig)
        who = issued.credential
        await rig.credentials.revoke(who.account_id, who.id)
        await rig.store.submit(Remember(who.account_id, who.id, "p", "d", rig.clock.now_ms()))
        assert await rows(rig) == []


@pytest.mark.usefixtures("engine")
async def test_a_login_is_written_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with services(tmp_path, login_key=KEY) as rig:
        secret = (await client(rig)).secret
        written: list[Remember] = []
        post = rig.store.post

        def spy(one: Remember) -> None:
            written.append(one)
            post(one)

        monkeypatch.setattr(rig.store, "post", spy)
        for hour in range(49):
            assert await attempt(rig, "demo", secret) == "in"
            await rig.caches.write(lambda tx: None)  # as any change of an account does
            assert len(written) == 1 + hour // 24
            rig.clock.advance(3600)
        # Two processes at once: the second changes nothing.
        [row] = await until_rows(rig, 1)
        for after_ms, kept_ms in ((DAY_MS - 1, row[4]), (DAY_MS, row[4] + DAY_MS)):
            await rig.store.submit(Remember(row[0], row[1], row[2], row[3], row[4] + after_ms))
            assert [one[4] for one in await rows(rig)] == [kept_ms]


@pytest.mark.usefixtures("engine")
async def test_a_bind_that_stays_is_written_once_a_day(tmp_path: Path) -> None:
    async with services(tmp_path, login_key=KEY) as rig:
        secret = (await client(rig)).secret
        assert await attempt(rig, "demo", secret) == "in"
        [(account_id, credential_id, prefix, _, last_ms)] = await until_rows(rig, 1)
        for after_ms, kept_ms in ((DAY_MS - 1, last_ms), (DAY_MS, last_ms + DAY_MS)):
            touch = partial(
                known.touch,
                account_id=account_id,
                credential_id=credential_id,
                prefix=prefix,
                now_ms=last_ms + after_ms,
            )
            await rig.store.write(touch)
            assert [one[4] for one in await rows(rig)] == [kept_ms]


@pytest.mark.usefixtures("engine")
async def test_a_login_is_forgotten_after_its_days(tmp_path: Path) -> None:
    settings = Settings(limits=Limits(auth_trusted_days=2))
    async with services(tmp_path, limits=settings.limits, login_key=KEY) as rig:
        secret = (await client(rig)).secret
        await attempt(rig, "demo", secret)
        await until_rows(rig, 1)
        run = partial(purge_all, purges(settings), rig.store, rig.clock)
        rig.clock.advance(2 * 86_400 - 1)
        await run()
        assert len(await rows(rig)) == 1
        assert await rig.auth._find_pair(Pair("smpp", HERE, "demo"), "x") is not None
        rig.clock.advance(1)
        found = await rig.auth._find_pair(Pair("smpp", HERE, "demo"), "x")
        assert found is not None
        assert found.digest is None  # even before it has been deleted
        await run()
        assert await rows(rig) == []


@pytest.mark.usefixtures("engine")
async def test_one_account_has_so_many_rows_and_loses_its_own_least_recent(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        who, other = (await client(rig)).credential, (await client(rig, "other")).credential
        full = [(who.account_id, who.id, f"{number:04}", 1000 + number) for number in range(ACCOUNT_ROWS_MAX)]
        theirs = (other.account_id, other.id, "old", 1)
        await rig.store.write(lambda tx: tx.run_many(_INSERT, [*full, theirs]))
        await rig.store.submit(Remember(who.account_id, who.id, "new", "d", 1_000_000))
        prefixes = [row[2] for row in await rows(rig)]
        assert len(prefixes) == ACCOUNT_ROWS_MAX + 1
        assert prefixes[:2] == ["old", "0001"]
        assert prefixes[-1] == "new"


@pytest.mark.usefixtures("engine")
async def test_there_are_never_more_rows_than_the_limit(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        who = (await client(rig)).credential
        full = [(f"{n // 500:026}", "c", f"{n:06}", n) for n in range(ROWS_MAX)]
        for start in range(0, ROWS_MAX, 10_000):
            await rig.store.write(lambda tx, start=start: tx.run_many(_INSERT, full[start : start + 10_000]))  # type: ignore[misc]  # bound now
        least = "SELECT count(*), min(prefix), max(prefix) FROM known_login"
        for prefix, expected in (
            ("new", (ROWS_MAX - 100, "000101", "new")),
            ("new2", (ROWS_MAX - 99, "000101", "new2")),
        ):
            await rig.store.submit(Remember(who.account_id, who.id, prefix, "d", ROWS_MAX))
            assert await rig.store.read(lambda tx: tx.one(least)) == expected


async def test_the_database_has_neither_addresses_nor_anything_of_the_secret(tmp_path: Path) -> None:
    async with services(tmp_path, login_key=KEY) as rig:
        secret = (await client(rig)).secret
        await attempt(rig, "demo", secret)
        [row] = await until_rows(rig, 1)
        assert HERE not in str(row)
        assert secret not in str(row)
        pair = Pair("smpp", HERE, "demo")
        [(secret_hash,)] = await rig.store.read(lambda tx: tx.rows("SELECT secret_hash FROM credential"))
        for key, same in ((KEY, True), (b"y" * 32, False)):
            logins = known.KnownLogins(key)
            assert (logins.prefix(pair) == row[2]) is same
            assert (logins.digest(pair, secret, secret_hash) == row[3]) is same


def test_the_key_is_a_file_of_its_own_that_others_cannot_read(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    key = known.read_key(folder)
    assert len(key) == 32
    assert known.read_key(folder) == key
    assert [path.name for path in folder.iterdir()] == [known.KEY_FILE]
    assert stat.S_IMODE((folder / known.KEY_FILE).stat().st_mode) == 0o600


def test_workers_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(known.read_key, [tmp_path] * 8))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == [known.KEY_FILE]


def test_without_a_usable_key_a_process_has_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / known.KEY_FILE).write_bytes(b"short")
    first, second = known.read_key(tmp_path), known.read_key(tmp_path)
    assert len(first) == len(second) == 32
    assert first != second
    assert (tmp_path / known.KEY_FILE).read_bytes() == b"short"
    (tmp_path / "file").write_bytes(b"")
    assert len(known.read_key(tmp_path / "file" / "folder")) == 32


async def test_a_closed_account_is_not_remembered(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        issued = await client(rig)
        await rig.accounts.close(issued.credential.account_id)
        assert await attempt(rig, "demo", issued.secret) == "closed"
        who = issued.credential
        await rig.store.submit(Remember(who.account_id, who.id, "p", "d", rig.clock.now_ms()))
        assert await rows(rig) == []


async def test_a_bind_that_stays_for_months_is_known_when_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingress_smpp, "_CHECK_S", 0.01)
    async with door(tmp_path) as one, one.client():
        store, clock = one.rig.store, one.rig.clock
        assert isinstance(clock, FakeClock)

        async def noted_ms() -> int:
            found = await store.read(lambda tx: tx.one("SELECT last_ms FROM known_login"))
            return 0 if found is None else int(found[0])

        first_ms = clock.now_ms()
        await eventually(lambda: _is(noted_ms(), first_ms))
        for _ in range(3):
            clock.advance(86_400)
            await eventually(lambda: _is(noted_ms(), clock.now_ms()))


async def _is(coroutine: Awaitable[int], value: int) -> bool:
    return await coroutine == value
