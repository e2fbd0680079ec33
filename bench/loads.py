"""The loads: smtp-source with a probe beside it, and clients of our own; wrk is in `bench.wrk`."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.servers import MAIL_FROM, SENDER_NAME, Target
from bench.tree import ROOT, SUPERVISED

SESSIONS = 50
MAIL_OCTETS = 4096
_WITHIN_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How many messages to send, how many a second (0: as fast as it goes), and where scripts may lie."""

    messages: int
    folder: Path
    rate_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the clients saw: `messages` accepted in `seconds`, and how long one took."""

    messages: int
    seconds: float
    p50_ms: float
    p99_ms: float


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MailLoad:
    """smtp-source with `sessions` sessions, and one session of our own that measures."""

    reuse: bool
    size_octets: int = MAIL_OCTETS
    sessions: int = SESSIONS

    def __call__(self, target: Target, work: Work) -> Accepted:
        """Sends the messages and what the probe manages meanwhile."""
        address = f"127.0.0.1:{target.smtp_port}"
        source = ["smtp-source", "-s", str(self.sessions), "-l", str(self.size_octets)]
        source += ["-m", str(work.messages), "-f", MAIL_FROM, "-t", "b@example.net"]
        source += [*(["-d"] if self.reuse else []), address]
        probe_command = [sys.executable, "-IS", str(ROOT / "bench" / "smtp_probe.py")]
        probe_command += ["--port", str(target.smtp_port), "--size", str(self.size_octets)]
        probe_command += [] if self.reuse else ["--reconnect"]
        probe = subprocess.Popen(
            [*SUPERVISED, *probe_command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started = time.monotonic()
        try:
            subprocess.run(source, check=True, timeout=_WITHIN_S)
        finally:
            seconds = time.monotonic() - started
            output, _ = probe.communicate(timeout=60)  # closes its input, which ends it
        if probe.returncode:
            raise RuntimeError("the probe was refused")
        spent: list[float] = json.loads(output)
        return Accepted(
            messages=work.messages + len(spent),
            seconds=seconds,
            p50_ms=percentile(spent, 0.5),
            p99_ms=percentile(spent, 0.99),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMailLoad:
    """Our own SMTP client: STARTTLS where the target has it, and a rate where one is given."""

    reuse: bool = True

    def __call__(self, target: Target, work: Work) -> Accepted:
        """Sends the messages."""
        options = ["--port", str(target.smtp_port), "--messages", str(work.messages)]
        options += ["--rate", str(work.rate_per_s), "--sessions", str(SESSIONS), "--size", str(MAIL_OCTETS)]
        options += [] if self.reuse else ["--reconnect"]
        return run_client("smtp_load.py", [*options, *(["--starttls"] if target.tls else [])])


@dataclass(frozen=True, slots=True)
class PacedSmsLoad:
    """POST /v1/sms at a rate."""

    def __call__(self, target: Target, work: Work) -> Accepted:
        """Sends the messages."""
        options = ["--port", str(target.http_port), "--messages", str(work.messages)]
        options += ["--rate", str(work.rate_per_s), "--api-key", target.api_key, "--sender", SENDER_NAME]
        return run_client("http_load.py", options)


@dataclass(frozen=True, slots=True)
class SmppLoad:
    """Our ESME, with receipts. It returns when every receipt has come."""

    def __call__(self, target: Target, work: Work) -> Accepted:
        """Sends the messages as submit_sm."""
        options = ["--port", str(target.smpp_port), "--messages", str(work.messages)]
        options += ["--system-id", target.system_id, "--password", target.password, "--sender", SENDER_NAME]
        return run_client("esme.py", options)


def run_client(name: str, options: list[str]) -> Accepted:
    """The figures of a client of ours. Raises RuntimeError when it was refused."""
    command = [*SUPERVISED, sys.executable, str(ROOT / "bench" / name), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_WITHIN_S)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return Accepted(**json.loads(done.stdout))
