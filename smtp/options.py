"""How the delivery client is to talk, and to whom: time limits, TLS, credentials, the address of a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from smtp.client import Credentials, State
from smtp.tls import TlsPolicy

NEVER_LATE = float("inf")

MaySend = Callable[[], bool]
"""Whether the message may still go: asked right before the final dot, after which nothing calls it back."""


def always() -> bool:
    """For whom nobody else can send the same message."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait, after RFC 5321 section 4.5.3.2."""

    connect_s: float = 30
    handshake_s: float = 60
    greeting_s: float = 300  # 4.5.3.2.1
    command_s: float = 300  # 4.5.3.2.2 and .3: MAIL and RCPT, and EHLO alike
    block_s: float = 180  # 4.5.3.2.5: progress of the content
    final_s: float = 600  # 4.5.3.2.6
    quit_s: float = 5

    def of(self, state: State) -> float:
        """How long to wait in this state; `NEVER_LATE` where there is nothing to wait for."""
        if state is State.FINAL:
            return self.final_s
        if state is State.READY or state is State.CLOSED or state is State.TLS_HANDSHAKE:
            return NEVER_LATE
        if state is State.CONTENT:
            return self.block_s
        if state is State.GREETING:
            return self.greeting_s
        return self.quit_s if state is State.QUIT else self.command_s


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to connect to. `host` is the name for TLS and logs, `address` the IP address."""

    host: str
    address: str
    port: int = 25

    def __str__(self) -> str:
        """As logs show it."""
        return f"{self.host}[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to talk. `source_address` is the egress IP (R26)."""

    helo: str
    source_address: str = ""
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    credentials: Credentials | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    may_send: MaySend = always
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: kept connections are found by their options, for each message."""
        words = (self.helo, self.source_address, self.tls, self.credentials, self.timeouts)
        object.__setattr__(self, "_hash", hash(words))

    def __hash__(self) -> int:
        """Of all fields."""
        return self._hash
