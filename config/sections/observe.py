"""`[log]`, `[metrics]` and `[probe]`: how the gateway is watched."""

from dataclasses import dataclass
from typing import Literal

from config.kinds import Host, Port, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """`[probe]`: the gateway's own eye on itself."""

    enabled: bool = True
    interval_s: Seconds = 60.0  # R56
    timeout_s: Seconds = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """`[log]`: structured logs on standard error."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """`[metrics]`: Prometheus, at `/metrics`."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 9464
