"""Doors for the tests of servers: the gateway's own, without a daemon around them."""

from typing import Any

from gateway.clock import SystemClock
from gateway.doors.door import Door, handshake_room
from gateway.messages.observer import Observer
from gateway.peers import Networks


class Refusals(Observer):
    """Keeps what was told of connections."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def connection_refused(self, ingress: str, reason: str) -> None:
        self.seen.append((ingress, reason))

    @property
    def reasons(self) -> list[str]:
        """Why, in order."""
        return [reason for _, reason in self.seen]


def make_door(ingress: str = "smtp", **changes: Any) -> Door:
    """A door with room for a thousand of each kind, unless told otherwise."""
    settings: dict[str, Any] = {
        "most": 1000,
        "per_peer": 1000,
        "handshakes": handshake_room(500),
        "observer": Refusals(),
        "clock": SystemClock(),
        "proxies": Networks(),
    }
    return Door(ingress, **(settings | changes))
