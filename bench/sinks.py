"""Where the messages arrive: Postfix's smtp-sink, sinks of our own, or nowhere. All count."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from bench.certificate import certificate
from bench.ports import free_port, wait_for_port
from bench.tree import ROOT, SUPERVISED

_START_S = 10.0
_SETTLE_S = 5.0


class Sink(Protocol):
    """Where the messages arrive: `count` so far, the last at `last_s` (monotonic)."""

    port: int
    count: int
    last_s: float

    def wait_until_quiet(self, least: int) -> None:
        """Returns when at least so many have come and no more do. Raises TimeoutError."""
        ...

    def stop(self) -> None:
        """Take no more."""
        ...


class NoSink:
    """A destination that is down: what was accepted stays queued, and counts as it is."""

    def __init__(self) -> None:
        self.port = free_port()
        self.count = 0
        self.last_s = time.monotonic()

    def wait_until_quiet(self, least: int) -> None:
        """A while, in which attempts and memory settle."""
        if least > self.count:
            self.count, self.last_s = least, time.monotonic()
        time.sleep(_SETTLE_S)

    def stop(self) -> None:
        """Nothing runs."""


class ProcessSink:
    """A counting sink in a process of its own: `count` messages so far, the last at `last_s` (monotonic)."""

    def __init__(self, command: list[str], port: int, pattern: bytes) -> None:
        self.port = port
        self.count = 0
        self.last_s = time.monotonic()
        self._pattern = re.compile(pattern)
        self._process = subprocess.Popen([*SUPERVISED, *command], stdout=subprocess.PIPE, cwd=ROOT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for_port(port, within_s=_START_S)

    def _read(self) -> None:
        """The newest of the running figures in what the process prints."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        rest = b""
        while block := os.read(self._process.stdout.fileno(), 1 << 16):
            rest += block
            figures = self._pattern.findall(rest)
            if figures and int(figures[-1]) > self.count:
                self.count = int(figures[-1])
                self.last_s = time.monotonic()
            rest = rest[-100:]

    def wait_until_quiet(self, least: int, *, quiet_s: float = 1.0, within_s: float = 300.0) -> None:
        """Returns when `least` messages have come and then none for `quiet_s`. Raises TimeoutError."""
        end = time.monotonic() + within_s
        while self.count < least or time.monotonic() - self.last_s < quiet_s:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.count} of {least} messages reached the sink")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


def mail_sink(_folder: Path) -> Sink:
    """smtp-sink, with its running counters."""
    port = free_port()
    user = ["-u", "postfix"] if os.getuid() == 0 else []
    return ProcessSink(["smtp-sink", "-c", *user, f"127.0.0.1:{port}", "1024"], port, rb"mesg=(\d+)\r")


def tls_mail_sink(folder: Path) -> Sink:
    """Our own, with STARTTLS."""
    port, made = free_port(), certificate(folder / "sink-tls")
    command = [sys.executable, str(ROOT / "bench" / "smtp_sink.py"), "--port", str(port)]
    command += ["--certificate", str(made.chain), "--key", str(made.key)]
    return ProcessSink(command, port, rb"count=(\d+)\n")


def sms_sink(_folder: Path) -> Sink:
    """Our own SMSC, without receipts."""
    return _smsc()


def receipts_sink(_folder: Path) -> Sink:
    """Our own SMSC, a receipt for each."""
    return _smsc("--receipts")


def no_sink(_folder: Path) -> Sink:
    """Nobody listens."""
    return NoSink()


def _smsc(*more: str) -> Sink:
    port = free_port()
    command = [sys.executable, str(ROOT / "bench" / "smsc.py"), "--port", str(port), *more]
    return ProcessSink(command, port, rb"count=(\d+)\n")


def fsyncs_ms(folder: Path, *, times: int = 50) -> list[float]:
    """How long writing 4 KB and fsync takes there, in milliseconds."""
    spent = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            spent.append((time.perf_counter() - started) * 1000)
    (folder / "fsync").unlink()
    return spent
