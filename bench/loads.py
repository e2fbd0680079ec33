"""The loads: smtp-source with a probe beside it, wrk, and our own ESME. Each is bounded in count."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.servers import MAIL_FROM, SENDER_NAME, Target
from bench.tree import ROOT, SUPERVISED

SESSIONS = 10
HTTP_CONNECTIONS = 50
MAIL_OCTETS = 4096
_WITHIN_S = 900


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


@dataclass(frozen=True, slots=True)
class MailLoad:
    """smtp-source with ten sessions, and one session of our own that measures."""

    reuse: bool

    def __call__(self, target: Target, messages: int, _folder: Path) -> Accepted:
        """Sends `messages` and what the probe manages meanwhile."""
        address = f"127.0.0.1:{target.smtp_port}"
        source = ["smtp-source", "-s", str(SESSIONS), "-l", str(MAIL_OCTETS), "-m", str(messages)]
        source += ["-f", MAIL_FROM, "-t", "b@example.net", *(["-d"] if self.reuse else []), address]
        probe_command = [sys.executable, "-IS", str(ROOT / "bench" / "smtp_probe.py")]
        probe_command += ["--port", str(target.smtp_port), *([] if self.reuse else ["--reconnect"])]
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
            messages=messages + len(spent),
            seconds=seconds,
            p50_ms=percentile(spent, 0.5),
            p99_ms=percentile(spent, 0.99),
        )


# 1,000 numbers in turn. The count is kept where requests are made; wrk drops what is under way at the end,
# and its main thread sleeps on until SIGINT, which the word "stopped" asks for.
_LUA = """
local requests, made = {{}}, -1 -- wrk makes one before it starts, to look at it
init = function(_)
  for i = 0, 999 do requests[i] = wrk.format({format}) end
end
request = function()
  made = made + 1
  if made == {count} then
    wrk.thread:stop()
    io.write("stopped\\n")
    io.flush()
  end
  return requests[made % 1000]
end
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"refused":%d}}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.timeout + e.connect))
end
"""


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """wrk with one thread. `batch` messages in one request; 0 is /v1/sms, or Kannel's sendsms."""

    batch: int = 0

    def __call__(self, target: Target, messages: int, folder: Path) -> Accepted:
        """Sends `messages` in requests."""
        connections = SESSIONS if self.batch else HTTP_CONNECTIONS
        requests = max(messages // (self.batch or 1), 4 * connections)
        script = folder / f"load-{time.monotonic_ns()}.lua"
        script.write_text(_LUA.format(format=self._format(target), count=requests))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{_WITHIN_S}"]
        command += ["--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{target.http_port}/"]
        output = _run_wrk(command)
        figures = json.loads(output.strip().splitlines()[-1])
        if figures["refused"]:
            raise RuntimeError(f"{figures['refused']} requests were refused:\n{output}")
        return Accepted(
            messages=figures["requests"] * (self.batch or 1),
            seconds=figures["seconds"],
            p50_ms=figures["p50_ms"],
            p99_ms=figures["p99_ms"],
        )

    def _format(self, target: Target) -> str:
        """The arguments of wrk.format, with `i` for the number."""
        if not target.api_key:
            query = {
                "username": "bench",
                "password": "bench",
                "from": SENDER_NAME,
                "text": "Your code is 123456.",
            }
            path = f"/cgi-bin/sendsms?{urlencode(query)}&to=%2B4179"
            return f'"GET", "{path}" .. string.format("%07d", 1000000 + i)'
        item = {"from": SENDER_NAME, "to": "+4179@@", "text": "Your code is 123456."}
        if self.batch:
            body = json.dumps({"items": [{"type": "sms", **item}] * self.batch})
        else:
            body = json.dumps(item)
        headers = f'{{["Authorization"]="Bearer {target.api_key}", ["Content-Type"]="application/json"}}'
        path = "/v1/batch" if self.batch else "/v1/sms"
        return f"\"POST\", \"{path}\", {headers}, (string.gsub('{body}', '@@', 1000000 + i))"


def _run_wrk(command: list[str]) -> str:
    """What it prints."""
    wrk = subprocess.Popen([*SUPERVISED, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert wrk.stdout is not None  # noqa: S101 - it was asked for
        for line in wrk.stdout:
            if line == "stopped\n":
                break
        wrk.send_signal(signal.SIGINT)
        return wrk.communicate(timeout=60)[0]
    finally:
        wrk.terminate()
        wrk.wait()


@dataclass(frozen=True, slots=True)
class SmppLoad:
    """Our ESME, with receipts. It returns when every receipt has come."""

    def __call__(self, target: Target, messages: int, _folder: Path) -> Accepted:
        """Sends `messages` as submit_sm."""
        command = [sys.executable, str(ROOT / "bench" / "esme.py"), "--port", str(target.smpp_port)]
        command += ["--system-id", target.system_id, "--password", target.password]
        command += ["--sender", SENDER_NAME, "--messages", str(messages)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=_WITHIN_S)
        return Accepted(**json.loads(done.stdout))
