"""`[server]`: the daemon."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from config.kinds import Between, Host, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`[server]`: the daemon as a whole."""

    name: Host = "localhost"
    data_dir: Path = Path("var")
    drain_s: Seconds = 30.0
    workers: Annotated[int, Between(1, 256)] = 1
    worker_silent_s: Annotated[float, Between(0)] = 10.0
