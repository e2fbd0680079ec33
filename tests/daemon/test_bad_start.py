"""`gateway run` where something is wrong, and how a running daemon takes its signals.

Each start that cannot be ends with exit code 1 and one line that says what to do; nothing is left behind and
nothing that was there is touched.
"""

import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import pytest

from gateway.cli.demo import certificate
from tests.support.cli import gateway, make_newer
from tests.support.daemon_process import STARTED, Daemon, configure

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path) -> Path:
    """A folder where `gateway run` would start: configuration, database, certificate."""
    configure(tmp_path)
    var = tmp_path / "var"
    (var / "tls").mkdir(parents=True)
    shutil.copy(empty_database, var / "gateway.db")
    _certify(tmp_path, NOW)
    return tmp_path


def _certify(folder: Path, made_at: datetime) -> None:
    key, chain = certificate.make(made_at)
    (folder / "var/tls/localhost.key").write_bytes(key)
    (folder / "var/tls/localhost.pem").write_bytes(chain)


def _append(folder: Path, text: str) -> None:
    path = folder / "gateway.toml"
    path.write_text(path.read_text() + text)


# --- what keeps it from starting ---------------------------------------------------------------------------


def test_broken_toml(folder: Path) -> None:
    _append(folder, "[server\n")
    assert "gateway.toml:14:8: " in gateway("run", cwd=folder).refusal()


def test_unknown_keys_are_told_all_at_once(folder: Path) -> None:
    _append(folder, "[limits]\nauth_remembere = 5\n[retention]\nmessage_day = 5\n")
    done = gateway("run", cwd=folder)
    assert (done.code, done.out) == (1, "")
    first, *faults = done.err.splitlines()
    assert first == "gateway: gateway.toml: 2 faults"
    assert sorted(faults) == [
        "  limits.auth_remembere: unknown key, did you mean auth_remembered?",
        "  retention.message_day: unknown key, did you mean message_days?",
    ]


@pytest.mark.parametrize("door", ["smtp", "http", "smpp", "metrics"])
def test_a_port_that_is_taken(folder: Path, door: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = folder / "gateway.toml"
        path.write_text(path.read_text().replace(f"[{door}]\nport = 0", f"[{door}]\nport = {port}"))
        line = gateway("run", cwd=folder).refusal_to_start()
    assert f"{door}.port" in line
    assert str(port) in line


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    (folder / "wall").write_text("")
    _append(folder, '[store]\nurl = "sqlite:wall/gateway.db"\n')
    assert "cannot create this folder" in gateway("run", cwd=folder).refusal_to_start()


def test_a_corrupt_database(folder: Path) -> None:
    database = folder / "var/gateway.db"
    damage = b"not a database at all" * 500
    database.write_bytes(damage)
    line = gateway("run", cwd=folder).refusal_to_start()
    assert "not a usable SQLite database" in line
    assert "Restore it from a backup" in line
    assert database.read_bytes() == damage


def test_a_newer_database(folder: Path) -> None:
    make_newer(folder / "var/gateway.db")
    line = gateway("run", cwd=folder).refusal_to_start()
    assert "at version 9999, newer than this program knows" in line
    assert "Install the newer gateway" in line


def test_a_database_that_is_not_there_is_not_made(folder: Path) -> None:
    (folder / "var/gateway.db").unlink()
    assert "gateway db upgrade" in gateway("run", cwd=folder).refusal_to_start()


def test_an_expired_certificate(folder: Path) -> None:
    _certify(folder, NOW - timedelta(days=400))
    line = gateway("run", cwd=folder).refusal_to_start()
    assert "tls.certificate: " in line
    assert "expired on" in line


def test_a_missing_certificate_is_not_made_for_production(folder: Path) -> None:
    (folder / "var/tls/localhost.pem").unlink()
    assert "Set tls.certificate and tls.key" in gateway("run", cwd=folder).refusal_to_start()
    assert not (folder / "var/tls/localhost.pem").exists()


def test_a_countries_file_that_is_none(folder: Path) -> None:
    (folder / "countries.toml").write_text("nonsense")
    _append(folder, '[sender_name]\ncountries_file = "countries.toml"\n')
    assert "countries_file" in gateway("run", cwd=folder).refusal_to_start()


# --- running -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_signal_ends_it_with_exit_code_0(folder: Path, number: Signals) -> None:
    with Daemon(folder) as daemon:
        daemon.until(STARTED)
        assert daemon.stop(number) == 0
        assert "Traceback" not in daemon.seen
    # Production makes no account and no secret of its own.
    assert gateway("account", "list", "--json", cwd=folder).json == []
    assert not (folder / "var/demo.env").exists()


def test_sighup_takes_what_can_be_taken_and_says_what_cannot(folder: Path) -> None:
    with Daemon(folder) as daemon:
        daemon.until(STARTED)
        _append(folder, '[log]\nlevel = "debug"\n[credits]\nfree_mail_credits = 7\n')
        daemon.send(SIGHUP)
        assert "certificate_reloaded" in daemon.until("configuration_reloaded")
        assert "credits.free_mail_credits" in daemon.until("configuration_needs_restart")
        _append(folder, "[broken\n")
        daemon.send(SIGHUP)
        assert "gateway.toml" in daemon.until("configuration_not_reloaded")
        _certify(folder, NOW - timedelta(days=400))
        daemon.send(SIGHUP)
        assert "expired on" in daemon.until("certificate_not_reloaded")
        assert daemon.stop() == 0
