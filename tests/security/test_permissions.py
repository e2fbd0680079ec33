"""What lies on the disk belongs to the gateway's user alone, whatever the umask was when it started."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.kinds import Secret
from gateway.store import sqlite
from tests.support.cli import gateway
from tests.support.daemon_process import Daemon, configure

PUBLIC = {"localhost.pem"}  # a certificate is for everybody; its key is not


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """The umask of what is started within."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Every file and folder that group or others have any right to."""
    found = [folder, *folder.rglob("*")]
    return sorted(
        f"{path.relative_to(folder.parent)} {stat.filemode(path.lstat().st_mode)}"
        for path in found
        if path.name not in PUBLIC and path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


def test_the_demo_leaves_nothing_open_to_others(tmp_path: Path) -> None:
    configure(tmp_path)
    with umask(0), Daemon(tmp_path, "demo") as daemon:
        daemon.until("is ready")
        var = tmp_path / "var"
        names = {path.name for path in var.rglob("*")}
        # All of what holds messages or secrets is there while it is looked at.
        assert {
            "demo.env",
            "gateway.db",
            "gateway.db-wal",
            "gateway.db-shm",
            "localhost.key",
            "login.key",
        } <= names
        assert open_to_others(var) == []
        assert daemon.stop() == 0
    assert open_to_others(var) == []


def test_the_command_line_leaves_nothing_open_to_others(tmp_path: Path) -> None:
    configure(tmp_path)
    with umask(0):
        for words in (["db", "upgrade"], ["account", "create", "a"], ["domain", "add", "a", "a.example"]):
            assert gateway(*words, cwd=tmp_path).code == 0
    assert open_to_others(tmp_path / "var") == []


def test_a_database_is_never_open_to_others_not_even_for_a_moment(tmp_path: Path) -> None:
    seen: list[str] = []
    path = tmp_path / "data" / "gateway.db"
    with umask(0):
        engines = sqlite.open_engines(path, busy_timeout_s=1)
        with engines[0].connect() as connection:
            connection.exec_driver_sql("CREATE TABLE one (two)")
            seen += open_to_others(path.parent)
        for engine in engines:
            engine.dispose()
    assert seen == []


def test_a_database_that_was_open_is_closed_to_others_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with umask(0):
        for engine in sqlite.open_engines(path, busy_timeout_s=1):
            engine.dispose()
    tmp_path.chmod(0o700)
    path.chmod(0o666)
    engines = sqlite.open_engines(path, busy_timeout_s=1)
    with engines[0].connect() as connection:
        connection.exec_driver_sql("CREATE TABLE one (two)")
        assert (tmp_path / "gateway.db-wal").exists()
        assert open_to_others(tmp_path) == []
    for engine in engines:
        engine.dispose()


def test_the_unit_lets_no_core_be_written() -> None:
    unit = Path(__file__).parents[2] / "deploy" / "gateway.service"
    assert "LimitCORE=0" in unit.read_text().splitlines()


def test_a_secret_shows_nowhere_but_where_it_is_asked_for() -> None:
    secret = Secret("hunter2-of-the-operator")
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}", f"{secret!s:>5}"):
        assert "hunter2" not in shown
