"""systemd's notifications, received as systemd does: by a datagram socket in the file system."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.notify import ALIVE, READY, STOPPING, Notifier
from tests.crash.daemons import Daemon


@contextmanager
def manager(path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.setblocking(False)
        yield end


def read(end: socket.socket) -> list[str]:
    """Everything that has come."""
    told = []
    with contextlib.suppress(BlockingIOError):
        while True:
            told.append(end.recv(256).decode())
    return told


def test_without_a_manager_nothing_is_told() -> None:
    Notifier({}).tell(READY)


def test_a_manager_that_reads_nothing_does_not_hold_us_up(tmp_path: Path) -> None:
    with manager(tmp_path / "notify"):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(10_000):
            notifier.tell(ALIVE)


def test_a_manager_that_has_gone_does_no_harm(tmp_path: Path) -> None:
    with manager(tmp_path / "notify"):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    (tmp_path / "notify").unlink()
    notifier.tell(ALIVE)


@pytest.mark.timeout(90)
async def test_a_daemon_says_that_it_is_ready_that_it_lives_and_that_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with manager(tmp_path / "notify") as end:
        daemon = Daemon(tmp_path / "gateway", 9, 9)
        await daemon.cli("db", "upgrade")
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        await daemon.start()
        told: list[str] = []
        async with asyncio.timeout(20):
            while READY not in told or told.count(ALIVE) < 4:
                told += read(end)
                await asyncio.sleep(0.05)
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGSTOP)
        await asyncio.sleep(0.2)
        read(end)
        await asyncio.sleep(2.5)
        assert read(end) == [], "a process that stands still is silent: the manager ends it"
        os.kill(daemon.process.pid, signal.SIGCONT)
        assert await daemon.end(signal.SIGTERM) == 0
        assert STOPPING in read(end)
