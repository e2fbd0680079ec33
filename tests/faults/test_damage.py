"""A damaged SQLite database is not served: found at the start, by a look at all of it, or when it is met."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.store import integrity
from gateway.store.errors import StoreError
from gateway.store.store import Store
from tests.faults.clients import sending
from tests.faults.installation import Installation, Logins, installation

_PAGE = 4096
_PADDING = 20_000


def database(folder: Path) -> Path:
    return folder / "var/gateway.db"


def root_pages(path: Path, table: str) -> list[int]:
    """The first pages of a table and of its indexes."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name = ?", (table,))
        return [page for (page,) in rows]


def overwrite(path: Path, page: int) -> None:
    """Nonsense in place of one page, as a broken disk leaves it."""
    with path.open("r+b") as file:
        file.seek((page - 1) * _PAGE)
        file.write(b"\xa5nonsense" * (_PAGE // 9))


async def lived(one: Installation) -> Logins:
    """The installation has sent some, and its daemon was killed: it did not stop cleanly."""
    logins = await one.furnish()
    await one.start()
    async with sending(one, logins, padding=_PADDING) as tally:
        await tally.more(60, "mail ok", "smtp ok", "keyed ok")
    assert one.process is not None
    one.process.send_signal(signal.SIGKILL)
    await one.process.wait()
    settle_log(database(one.folder))
    return logins


def settle_log(path: Path) -> None:
    """Everything is in the database file, so that the damage is not undone from the log."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "db", "check", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


# --- in constant time, at the start ------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with something in it, closed."""
    path = tmp_path / "gateway.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("CREATE TABLE t (data BLOB)")
        connection.executemany("INSERT INTO t VALUES (?)", [(bytes(3000),)] * 500)
        connection.commit()
    return path


def test_a_whole_database_passes(path: Path) -> None:
    integrity.check_file(path)
    integrity.check_file(path.with_name("none.db"))


def test_a_database_that_was_cut_off_is_refused_with_how_much_is_missing(path: Path) -> None:
    octets = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(octets // 2)
    with pytest.raises(StoreError, match=f"cut off, {octets // _PAGE - octets // 2 // _PAGE} of its pages"):
        integrity.check_file(path)


def test_pages_that_a_checkpoint_left_in_the_log_are_not_missing(path: Path) -> None:
    octets = path.stat().st_size
    Path(f"{path}-wal").write_bytes(bytes(32 + (24 + _PAGE) * 200))
    with path.open("r+b") as file:
        file.truncate(octets - 200 * _PAGE)
    integrity.check_file(path)
    with path.open("r+b") as file:
        file.truncate(octets - 201 * _PAGE)
    with pytest.raises(StoreError, match="cut off"):
        integrity.check_file(path)


@pytest.mark.parametrize("gone", [True, False])
def test_a_log_without_its_database_is_refused(path: Path, gone: bool) -> None:
    Path(f"{path}-wal").write_bytes(bytes(100_000))
    path.unlink() if gone else path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"is empty or gone, but its log .* holds 100000 octets"):
        Store.open(f"sqlite:{path}")


async def test_a_database_without_one_of_its_tables_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'gateway.db'}"
    await Store.open(url, upgrade=True).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.execute("DROP TABLE lease")
    with pytest.raises(StoreError, match="lacks lease"):
        Store.open(url)


def test_a_look_at_all_of_it_finds_a_page_of_nonsense_and_tells_how_far_it_is(path: Path) -> None:
    looked: list[tuple[str, int, int]] = []
    assert integrity.quick_check(path, progress=lambda *one: looked.append(one)) == ""
    assert looked == [("t", 0, 1)]
    overwrite(path, 100)
    assert integrity.quick_check(path, progress=lambda *_: None) != ""


# --- while it serves ---------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_damage_that_a_killed_daemon_left_is_found_and_nothing_is_accepted(tmp_path: Path) -> None:
    async with installation(tmp_path) as one:
        logins = await lived(one)
        overwrite(
            database(tmp_path), root_pages(database(tmp_path), "parked_receipt")[0]
        )  # nobody reads it now
        await one.start_without_waiting()
        await one.until_ready(40, ready=False)
        async with sending(one, logins) as tally:
            await tally.more(5, "mail 503")
            await tally.more(5, "smtp 4")
        refusals = {answer for answer in tally.answers if not answer.endswith("ok")}
        assert refusals <= {"mail 503 store_failed", "keyed 503 store_failed", "sms 503 store_failed",
                            "smtp 451 4.3.0", "smpp ESME_RSYSERR"}, tally.answers  # fmt: skip
        assert one.log.count("database_damaged") == 1, "once a minute"
        assert "gateway db check --full" in one.log
        assert await one.stop() == 0
        found = check(tmp_path, "--full")
        assert (found.returncode, "parked_receipt" in found.stderr) == (1, True)
        await one.start_without_waiting()
        await one.until_ready(40, ready=False)  # a clean stop does not make it whole


@pytest.mark.timeout(180)
async def test_damage_that_is_met_while_serving_ends_acceptance_at_once(tmp_path: Path) -> None:
    async with installation(tmp_path) as one:
        logins = await one.furnish()
        await one.start()
        async with sending(one, logins) as tally:
            await tally.more(5, "mail ok")
            settle_log(database(tmp_path))
            for page in root_pages(database(tmp_path), "credit_order"):  # nobody has read it before
                overwrite(database(tmp_path), page)
            url = f"http://127.0.0.1:{one.http_port}/v1/credits/orders"
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(url, headers={"Authorization": f"Bearer {logins.key}"})
            assert (answer.status_code, answer.json()["type"].rpartition("#")[2]) == (503, "store_failed")
            await one.until_ready(30, ready=False)
            await tally.more(5, "mail 503")
        assert "database_damaged" in one.log
        assert len(one.log.splitlines()) < 60, "a line a minute, not one for every refusal"


@pytest.mark.timeout(120)
async def test_after_a_kill_the_database_is_looked_at_while_mail_is_taken_and_a_sound_one_is_said_to_be(
    tmp_path: Path,
) -> None:
    async with installation(tmp_path) as one:
        one.config.write_text(one.config.read_text().replace('level = "warning"', 'level = "info"'))
        logins = await lived(one)
        await one.start()
        async with sending(one, logins) as tally:
            await tally.more(5, "mail ok")
            async with asyncio.timeout(30):
                while "database_check_done" not in one.log:
                    await asyncio.sleep(0.1)
        assert await one.stop() == 0
        assert "database_check_started" in one.log
        assert check(tmp_path).returncode == 0
        before = len(one.log)
        await one.start()
        assert "database_check_started" not in one.log[before:], "it was stopped cleanly"
