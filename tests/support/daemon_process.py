"""The daemon in a process of its own, on free ports and a folder of its own."""

import subprocess
import sys
from pathlib import Path
from signal import SIGTERM, Signals
from threading import Timer
from types import TracebackType

from bench.ports import free_port
from tests.support.cli import environment

STARTED = "gateway_started"
_PATIENCE_S = 40.0
FREE_PORTS = """
[smtp]
port = 0
tls_port = {smtps}
plain_auth_on_loopback = true
[http]
port = 0
[metrics]
port = 0
[smpp]
port = 0
[probe]
enabled = false
"""


def configure(folder: Path, more: str = "") -> Path:
    """Writes gateway.toml with free ports; its path."""
    path = folder / "gateway.toml"
    path.write_text(FREE_PORTS.format(smtps=free_port()) + more)
    return path


class Daemon:
    """`gateway COMMAND` in `folder`; ended when the block is left, or after `patience_s` seconds."""

    def __init__(self, folder: Path, command: str = "run", *, patience_s: float = _PATIENCE_S) -> None:
        self.seen = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", command],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._end = Timer(patience_s, self._process.kill)
        self._end.start()

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.cancel()
        self._process.kill()
        self._process.communicate()

    def until(self, text: str) -> str:
        """Everything printed up to and with the line that has `text` in it; fails if that never comes."""
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            self.seen += line
            if text in line:
                return "".join(lines)
        raise AssertionError(f"{text!r} never came:\n{self.seen}")

    def send(self, number: Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def stop(self, number: Signals = SIGTERM) -> int:
        """Sends the signal and waits for the end; the exit code."""
        self._process.send_signal(number)
        rest, _ = self._process.communicate(timeout=_PATIENCE_S)
        self.seen += rest
        return self._process.returncode
