"""Far ends that are not our own code: Postfix's smtp-sink for mail, and an SMSC on node-smpp.

smtp-sink takes everything and keeps each mail in a file; the SMSC (`smsc_server.js`) does what numbers say.
node-smpp comes from npm, pinned, into a cache of the user's. Raises MissingError where a program is missing.
"""

import asyncio
import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.ports import free_port
from tests.crash.far_ends import FarEnds
from tests.crash.seen import Copy, Seen, Senders

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gateway-crash" / "smpp-0.5.1"
_PACKAGES = {"smpp": "0.5.1", "iconv-lite": "0.7.3", "safer-buffer": "2.1.2"}
_SERVER = Path(__file__).with_name("smsc_server.js")
_USER = "postfix"  # smtp-sink refuses to run as root
_RCPT = re.compile(rb"^X-Rcpt-Args: <([^>]*)>", re.MULTILINE)
_START_S = 20.0


class MissingError(Exception):
    """A program is not installed; the text says which, and where it is had."""


def require() -> None:
    """Raises MissingError unless everything is there; fetches node-smpp the first time."""
    search = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    for program, package in (("smtp-sink", "postfix"), ("node", "nodejs"), ("npm", "npm")):
        if shutil.which(program, path=search) is None:
            raise MissingError(f"{program} is not installed (on Debian: apt-get install {package})")
    if (CACHE / "node_modules" / "smpp" / "package.json").exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = {"private": True, "dependencies": _PACKAGES}
    (CACHE / "package.json").write_text(json.dumps(wanted))
    command = ["npm", "install", "--no-fund", "--no-audit", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"node-smpp could not be installed: {done.stderr}")


def foreign_far_ends(seen: Seen, senders: Senders, _setting: object, _folder: Path) -> FarEnds:
    """Both. Call `require` before."""
    return FarEnds(SmtpSink(seen), NodeSmsc(seen, senders))


class SmtpSink:
    """smtp-sink as a process; what it took is read from its files when it has ended."""

    def __init__(self, seen: Seen) -> None:
        self.port = free_port()
        self._seen = seen
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-smtp-sink-"))
        self._user = ["-u", _USER] if os.getuid() == 0 else []
        if self._user:
            entry = pwd.getpwnam(_USER)
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Listens."""
        path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
        program = shutil.which("smtp-sink", path=path) or "smtp-sink"
        self._process = await asyncio.create_subprocess_exec(
            program, *self._user, "-d", f"{self._folder}/%H%M%S.", f"127.0.0.1:{self.port}", "1024"
        )  # fmt: skip
        async with asyncio.timeout(_START_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def die(self) -> None:
        """Ends at once; reads what it has taken."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None
        await asyncio.to_thread(self._collect)

    def _collect(self) -> None:
        """A file that does not end with an empty line is of a mail that never ended."""
        ahead_s = time.time() - time.monotonic()
        files = sorted((one.stat().st_mtime, one) for one in self._folder.iterdir())
        for changed_s, file in files:
            content = file.read_bytes()
            if content.endswith(b"\n\n"):
                for address in _RCPT.findall(content):
                    self._seen.copies[address.decode(), 0].append(Copy(changed_s - ahead_s, 0))
            file.unlink()

    async def close(self) -> None:
        """Ends the process and removes its files."""
        await self.die()
        shutil.rmtree(self._folder, ignore_errors=True)


class NodeSmsc:
    """The SMSC as a process of node's. Its memory outlives `die`: it only drops its connections."""

    def __init__(self, seen: Seen, senders: Senders) -> None:
        self.port = free_port()
        self._seen = seen
        self._senders = senders
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self._pids: dict[int, int] = {}

    async def start(self) -> None:
        """Listens."""
        if self._process is None:
            environment = {**os.environ, "NODE_PATH": str(CACHE / "node_modules")}
            self._process = await asyncio.create_subprocess_exec(
                "node", str(_SERVER), str(self.port), env=environment,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            self._reader = asyncio.create_task(self._read())
        self._tell("listen")
        async with asyncio.timeout(_START_S):
            await self._listening.wait()

    async def die(self) -> None:
        """Drops every connection and listens no more."""
        self._listening.clear()
        self._tell("die")

    async def close(self) -> None:
        """Ends the process."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            await self._process.wait()
            await self._reader

    def _tell(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._note(json.loads(line))

    def _note(self, told: dict[str, Any]) -> None:
        if "listening" in told:
            self._listening.set()
        elif "bind" in told:
            self._pids[told["bind"]] = self._senders.pid(told["bind"], self.port)
        elif told["state"]:
            self._seen.took(told["number"], told["part"], self._pids.get(told["port"], 0))
            self._seen.receipts[told["number"]].add(told["state"])
        else:
            self._seen.refusals[told["number"]] += 1
