"""Where an SMSC's connections come from, and who of them may stay: a port, and the simplest door there is."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol

Peer = tuple[str, int]
"""IP address and port."""
Factory = Callable[[Peer | None], asyncio.Protocol]
"""Makes the protocol of one connection; with None its peer is whom the transport names."""


class Guest(Protocol):
    """A connection, as far as the door knows it."""

    def dismiss(self) -> None:
        """Close at once: another has its place, and nobody has to be told of the end."""


class Listening(Protocol):
    """A listener that is open."""

    @property
    def port(self) -> int:
        """The port that is listened on."""

    def close(self) -> None:
        """Take no more connections."""


class Door(Protocol):
    """With `tls` a connection begins with the handshake, and its protocol after that. The door may `dismiss`
    a guest at any time between `enter` and `leave`, and will not where it has been recognised.
    """

    async def listen(
        self, factory: Factory, host: str, port: int, *, tls: ssl.SSLContext | None, reuse_port: bool
    ) -> Listening:
        """Listen; port 0 lets the system choose. Raises OSError where the address is taken."""

    def enter(self, guest: Guest, peer: str) -> bool:
        """Whether a connection from this IP address may come in."""

    def recognise(self, guest: Guest, account: str) -> None:
        """It has bound."""

    def leave(self, guest: Guest) -> None:
        """It has gone; may be said again."""


class PlainDoor:
    """Takes whoever comes, `most` at once: for a simulator, which nobody but its own machine reaches."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._guests: set[Guest] = set()

    async def listen(
        self, factory: Factory, host: str, port: int, *, tls: ssl.SSLContext | None, reuse_port: bool
    ) -> Listening:
        """Listen. Raises OSError where the address is taken."""
        server = await asyncio.get_running_loop().create_server(
            partial(factory, None), host, port, ssl=tls, backlog=1024, reuse_port=reuse_port or None
        )
        return _Listening(server)

    def enter(self, guest: Guest, peer: str) -> bool:  # noqa: ARG002 - they are all alike
        """Whether there is room."""
        if len(self._guests) >= self._most:
            return False
        self._guests.add(guest)
        return True

    def recognise(self, guest: Guest, account: str) -> None:
        """Nobody has to make room here."""

    def leave(self, guest: Guest) -> None:
        """One less."""
        self._guests.discard(guest)


class _Listening:
    def __init__(self, server: asyncio.Server) -> None:
        self.port = int(server.sockets[0].getsockname()[1])
        self.close = server.close
