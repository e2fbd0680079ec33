"""HTTP at full speed: wrk, bounded in count by its script."""

import json
import signal
import subprocess
import time
from dataclasses import dataclass

from bench.loads import Accepted, Work
from bench.servers import SENDER_NAME, Target
from bench.tree import SUPERVISED

_CONNECTIONS = 50
_BATCH_CONNECTIONS = 10
_WITHIN_S = 900

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
    """wrk with one thread. `batch` messages in one request; 0 is /v1/sms, or what a peer has."""

    batch: int = 0

    def __call__(self, target: Target, work: Work) -> Accepted:
        """Sends the messages in requests."""
        connections = _BATCH_CONNECTIONS if self.batch else _CONNECTIONS
        requests = max(work.messages // (self.batch or 1), 4 * connections)
        script = work.folder / f"load-{time.monotonic_ns()}.lua"
        script.write_text(_LUA.format(format=self._format(target), count=requests))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{_WITHIN_S}"]
        url = f"{'https' if target.tls else 'http'}://127.0.0.1:{target.http_port}/"
        command += ["--timeout", "30s", "-s", str(script), url]
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
        if target.sms_path:
            return f'"GET", "{target.sms_path}" .. string.format("%07d", 1000000 + i)'
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
