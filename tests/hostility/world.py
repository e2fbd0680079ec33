"""A daemon in a process of its own with an account, its memory and log watched, and raw connections to it.

Everything is on loopback. `World.make` prepares the folder once; `running` starts and ends the daemon.
"""

import asyncio
import contextlib
import io
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.ports import free_port
from config import load
from gateway.cli import demo
from gateway.cli.demo.account import Furnished
from gateway.cli.opening import opened
from gateway.credits.service import Credits
from tests.support.cli import environment

_START_S = 60.0
_CREDITS = 1_000_000_000
_CONFIG: dict[str, dict[str, Any]] = {
    "smtp": {"plain_auth_on_loopback": True, "max_connections_per_peer": 1000},
    "http": {"rate_per_s": 0},
    "smpp": {},
    "metrics": {"enabled": False},
    "probe": {"enabled": False},
    "log": {"level": "warning"},
    "store": {},
    "limits": {},
    "mail": {},
}


def raise_descriptor_limit() -> int:
    """Lets this process, and what it starts, open as many files as the system allows; the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class World:
    """One folder with its configuration, database, account, and the daemon that runs on them."""

    def __init__(self, folder: Path, more: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = folder
        self.smtp, self.smtps, self.http, self.smpp = (free_port() for _ in range(4))
        self.log = folder / "daemon.log"
        self.account: Furnished
        self._process: asyncio.subprocess.Process | None = None
        sections = {name: {**keys, **more.get(name, {})} for name, keys in _CONFIG.items()}
        sections.update({name: dict(keys) for name, keys in more.items() if name not in sections})
        sections["smtp"] |= {"port": self.smtp, "tls_port": self.smtps}
        sections["http"] |= {"port": self.http}
        sections["smpp"] |= {"port": self.smpp}
        (folder / "gateway.toml").write_text(_toml(sections))

    @classmethod
    async def make(cls, folder: Path, **more: Mapping[str, Any]) -> "World":
        """Folder, certificate, database and an account with more credits than any test needs.

        `more` are sections of the configuration; a dot in a name is written as two underscores.
        """
        world = cls(folder, {name.replace("__", "."): keys for name, keys in more.items()})
        settings = load(folder / "gateway.toml")
        with contextlib.redirect_stderr(io.StringIO()):  # it warns of upstreams that are no sandbox
            world.account = await demo.prepare(settings)
        async with opened(settings) as ground:
            for product in ("mail", "sms"):
                await ground[Credits].grant(world.account.account.id, product, _CREDITS)
        return world

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "var" / "gateway.db"

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """Starts the daemon; the seconds until it is ready."""
        started = time.monotonic()
        raise_descriptor_limit()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "run"),
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(_START_S):
            while not await self._ready():
                assert self._process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def _ready(self) -> bool:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.http)
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer.startswith(b"HTTP/1.1 200")
        return False

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the daemon; its exit code."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(60):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise

    # --- what is watched -------------------------------------------------------------------------------

    def rss_octets(self) -> int:
        """The daemon's resident memory now."""
        return self._status("VmRSS")

    def peak_octets(self) -> int:
        """The most it was since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> int:
        """Begins to watch the peak anew; what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.rss_octets()

    def descriptors(self) -> int:
        """How many files and sockets the daemon has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_s(self) -> float:
        """The processor time that the daemon has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{name}: not told by this kernel")

    def check_log(self) -> None:
        """Fails if the daemon met anything it did not expect (A7)."""
        text = self.log.read_text()
        for word in ("Traceback", '"level": "error"', '"level":"error"', "never retrieved", "Exception in"):
            assert word not in text, text[-4000:]


@asynccontextmanager
async def running(folder: Path, **more: Mapping[str, Any]) -> AsyncIterator[World]:
    """A world whose daemon runs; at the end it stops cleanly and has logged nothing unexpected."""
    world = await World.make(folder, **more)
    await world.start()
    try:
        yield world
    except BaseException:
        await world.stop(signal.SIGKILL)
        raise
    assert await world.stop() == 0
    world.check_log()


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, keys in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_value(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


# --- raw connections ----------------------------------------------------------------------------------------


def connect(port: int, *, source: str = "127.0.0.1", receive_octets: int | None = None) -> socket.socket:
    """A connection from an address of loopback; with a small receive buffer for those who never read."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_octets is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
    if source != "127.0.0.1":
        one.bind((source, 0))
    one.settimeout(30)
    one.connect(("127.0.0.1", port))
    return one


def read_to_end(one: socket.socket, *, within_s: float = 30.0) -> bytes:
    """What still comes until the other side closes, however it does."""
    one.settimeout(within_s)
    parts = []
    with contextlib.suppress(ConnectionError):
        while data := one.recv(65_536):
            parts.append(data)
    return b"".join(parts)


def is_closed(one: socket.socket) -> bool:
    """Whether the other side has closed, whatever it said before."""
    one.setblocking(False)
    try:
        while one.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


async def until(condition: Any, *, within_s: float = 30.0, what: str = "") -> None:
    """Returns once `condition()` holds; what another process does can only be polled."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None
