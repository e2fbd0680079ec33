"""The command line as a whole: how commands end, what they print, and what they do with the database."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.accounts.service import Accounts
from gateway.ground import Ground
from gateway.terminal import faults
from gateway.terminal.output import clean, when
from tests.support.cli import Cli, environment, gateway, make_newer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["frob"], "No such command 'frob'"),
        (["acount", "list"], "account"),
        (["account"], "Missing command"),
        (["account", "create"], "Missing argument 'name'"),
        (["account", "list", "--jsn"], "--json"),
        (["credit", "grant", "Shop", "mail", "ten"], "'credits': Input should be a valid integer"),
        (["queue", "list", "--limit", "0"], "'--limit': Input should be greater than or equal to 1"),
        (["queue", "list", "--status", "lost"], "'lost' is not one of"),
        (["credential", "create", "Shop", "ftp"], "'ftp' is not one of"),
        (["sendername", "reject", "Shop", "Acme"], "Missing option '--note'"),
    ],
)
def test_a_command_written_wrongly_exits_2_with_one_line(cli: Cli, arguments: list[str], said: str) -> None:
    line = cli(*arguments).refusal(2)
    assert said in line
    assert line.endswith("--help")


@pytest.mark.parametrize(
    "noun",
    ["account", "key", "credential", "credit", "domain", "sendername", "queue", "webhook", "db"],
)
def test_every_noun_has_help(cli: Cli, noun: str) -> None:
    done = cli(noun, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage: gateway " + noun in done.out


def test_the_module_is_the_program(tmp_path: Path) -> None:
    done = gateway("version", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("gateway ")
    assert gateway("frob", cwd=tmp_path).refusal(2)


def test_the_configuration_may_be_named_in_the_environment(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.account("Shop")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "gateway.toml: cannot be read" in cli("account", "list").refusal()
    monkeypatch.setenv("GATEWAY_CONFIG", str(cli.config))
    assert "Shop" in cli.ok("account", "list")
    monkeypatch.setenv("GATEWAY_CONFIG", "/nonexistent.toml")
    assert "Shop" in cli.ok("account", "list", "--config", str(cli.config))


def test_no_command_makes_the_database(cli: Cli) -> None:
    (cli.folder / "gateway.db").unlink()
    for command in (["account", "list"], ["credit", "verify"], ["queue", "list"], ["db", "version"]):
        assert cli(*command).refusal().endswith("there is no database yet. Run: gateway db upgrade")
    assert not (cli.folder / "gateway.db").exists()


def test_db_upgrade_makes_the_database_and_may_be_repeated(cli: Cli) -> None:
    (cli.folder / "gateway.db").unlink()
    assert "was empty, is at version" in cli.ok("db", "upgrade")
    assert "already" in cli.ok("db", "upgrade")
    assert (cli.folder / "gateway.db").stat().st_mode & 0o777 == 0o600
    version = cli("db", "version", "--json").json
    assert version["database"] == version["program"]
    assert "There is no account yet" in cli.ok("account", "list")


EVERY_WAY_IN = [["db", "upgrade"], ["db", "version"], ["account", "list"]]


@pytest.mark.parametrize("command", EVERY_WAY_IN, ids=" ".join)
@pytest.mark.parametrize("damage", [b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_corrupt_database_is_refused_and_left_as_it_is(cli: Cli, command: list[str], damage: bytes) -> None:
    (cli.folder / "gateway.db").write_bytes(damage)
    assert "Restore it from a backup" in cli(*command).refusal()
    assert (cli.folder / "gateway.db").read_bytes() == damage


def test_a_newer_database_is_refused(cli: Cli) -> None:
    make_newer(cli.folder / "gateway.db")
    for command in (["db", "upgrade"], ["account", "list"]):
        line = cli(*command).refusal()
        assert "at version 9999, newer than this program knows" in line
        assert "Install the newer gateway" in line
    assert cli("db", "version", "--json").json["database"] == "9999"


def test_a_file_in_place_of_the_folder_is_told_so(cli: Cli) -> None:
    (cli.folder / "wall").write_text("")
    cli.config.write_text('[store]\nurl = "sqlite:wall/gateway.db"\n')
    assert "cannot create this folder" in cli("db", "upgrade").refusal()
    assert "gateway db upgrade" in cli("account", "list").refusal()


def test_a_page_that_went_bad_is_one_line(cli: Cli) -> None:
    async def fill(ground: Ground) -> None:
        await asyncio.gather(*(ground[Accounts].create(f"Shop {number}") for number in range(200)))

    cli.ground(fill)
    database = cli.folder / "gateway.db"
    good = database.read_bytes()
    database.write_bytes(good[:8192] + b"\xa5" * (len(good) - 8192))
    line = cli("account", "list").refusal()
    assert "Restore it from a backup" in line


def test_a_lock_that_is_not_given_back_is_waited_for_within_a_bound(cli: Cli) -> None:
    cli.config.write_text('[store]\nurl = "sqlite:gateway.db"\nbusy_timeout_s = 0.2\n')
    other = sqlite3.connect(cli.folder / "gateway.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        assert "locked by another program" in cli("account", "create", "Shop").refusal()
    finally:
        other.close()
    assert cli.account("Shop")


def test_a_fault_nobody_foresaw_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("gateway.cli.account.run_on_ground", broken)
    done = cli("account", "list")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "ZeroDivisionError: one two" in done.err
    monkeypatch.setenv(faults.TRACEBACK_VARIABLE, "1")
    assert "Traceback" in cli("account", "list").err


def test_interrupting_a_command_exits_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.account.run_on_ground", interrupted)
    done = cli("account", "list")
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err


def test_a_reader_that_leaves_early_ends_the_command_quietly(cli: Cli, tmp_path: Path) -> None:
    for number in range(3):
        cli.account(f"Shop {number}")
    writer = subprocess.Popen(
        [sys.executable, "-m", "gateway", "account", "list"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(30) == 1


def test_text_from_outside_cannot_play_with_the_terminal(cli: Cli) -> None:
    assert clean("a\x1b[31mb\nc") == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c"
    cli.account("[red]Shop[/red]")
    assert "[red]Shop[/red]" in cli.ok("account", "list")


def test_nothing_is_cut_where_no_terminal_shows_it(cli: Cli) -> None:
    name = "S" * 200
    cli.account(name)
    assert name in cli.ok("account", "list")


def test_times_are_utc() -> None:
    assert when(1_790_000_000_000) == "2026-09-21T14:13:20Z"
    assert when(None) is None
