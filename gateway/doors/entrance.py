"""From accept to a protocol: the PROXY header where one is due, the TLS handshake where there is one.

A connection in clear is its protocol's at once. Where something comes before it, an *opening* holds its place
at the door, and gives it to the protocol when that begins; nothing of the client's is read too early, since
the socket is handed to the loop only then (`create_server` would read at once).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from gateway.doors import proxy_header
from gateway.doors.proxy_header import ProxyHeaderError
from gateway.peers import Networks

if TYPE_CHECKING:
    from gateway.doors.door import Door

log = structlog.get_logger(__name__)

Peer = tuple[str, int]
"""IP address and port."""
Factory = Callable[[Peer | None], asyncio.Protocol]
"""Makes the protocol of one connection; with None its peer is whom the transport names."""

PROXY_HEADER = "proxy_header"
_BACKLOG = 2048
_PROXY_HEADER_S = 5.0  # a proxy sends its header with its first segment
_TLS_CLOSE_S = 5.0  # for the client's close_notify; who sends none is cut off
_RETRY_S = 1.0  # after an accept that failed: the process is out of descriptors


class Listening:
    """The listeners of one address."""

    def __init__(self) -> None:
        self.port = 0
        self.servers: list[asyncio.Server] = []
        self.accepting: list[tuple[asyncio.Task[None], socket.socket]] = []
        self.openings: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Takes no more connections, and gives up those that have not begun."""
        for server in self.servers:
            server.close()
        for task, listening in self.accepting:
            task.cancel()
            listening.close()
        for task in tuple(self.openings):
            task.cancel()


class Entrance:
    """Opens listeners. Connections from `proxies` begin with a PROXY header."""

    def __init__(self, door: "Door", proxies: Networks) -> None:
        self._door = door
        self._proxies = proxies

    async def listen(
        self, factory: Factory, host: str, port: int, *, tls: ssl.SSLContext | None, reuse_port: bool
    ) -> Listening:
        """Listens on every address of `host`, on one port. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listening = Listening()
        listening.port = port
        try:
            for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
                bound = _bind(family, (address[0], listening.port, *address[2:]), reuse_port=reuse_port)
                listening.port = bound.getsockname()[1]
                if tls is None and not self._proxies:
                    plain = partial(factory, None)
                    listening.servers.append(await loop.create_server(plain, sock=bound, backlog=_BACKLOG))
                else:
                    accepting = loop.create_task(self._accept(listening, bound, factory, tls))
                    listening.accepting.append((accepting, bound))
        except OSError:
            listening.close()
            raise
        return listening

    async def _accept(
        self, listening: Listening, bound: socket.socket, factory: Factory, tls: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(bound)
            except OSError as error:  # others are still served
                log.warning("accept_failed", ingress=self._door.ingress, reason=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opening = _Opening(self._door, accepted, address[:2], factory, tls)
            if not opening.enter():
                accepted.close()  # before the handshake nothing can be said
                continue
            task = loop.create_task(opening.run(announced=address[0] in self._proxies))
            opening.task = task
            listening.openings.add(task)
            task.add_done_callback(listening.openings.discard)


class _Opening(asyncio.Protocol):
    """One connection until its own protocol begins: a guest of the door like any other."""

    task: asyncio.Task[None]
    begun = False

    def __init__(
        self, door: "Door", accepted: socket.socket, peer: Peer, factory: Factory, tls: ssl.SSLContext | None
    ) -> None:
        self._door = door
        self._socket = accepted
        self._peer = peer
        self._factory = factory
        self._tls = tls

    def enter(self) -> bool:
        """Takes a place at the door."""
        return self._door.enter(self, self._peer[0])

    def dismiss(self) -> None:
        """Gives the place to another."""
        self.task.cancel()

    async def run(self, *, announced: bool) -> None:
        """Whatever comes first, and then the protocol."""
        try:
            if announced:
                async with asyncio.timeout(_PROXY_HEADER_S):
                    await self._read_proxy_header()
            await self._begin()
        except ProxyHeaderError as error:
            self._door.refused(PROXY_HEADER)
            self._door.not_opened(str(error))
        except OSError as error:  # of ssl and of time too: all are the client's
            self._door.not_opened(type(error).__name__)
        finally:
            self._leave()
            if not self.begun:
                self._socket.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Its protocol's turn."""
        self._leave()
        if self.task.cancelling():  # its place was given away just now
            cast("asyncio.Transport", transport).abort()
            return
        self.begun = True
        protocol = self._factory(self._peer)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _leave(self) -> None:
        self._door.handshaken(self)
        self._door.leave(self)

    async def _read_proxy_header(self) -> None:
        start = await self._read(proxy_header.START_OCTETS)
        rest = await self._read(proxy_header.rest_octets(start))
        peer = proxy_header.peer_of(start, rest)
        if peer is None:
            return
        self._door.leave(self)
        self._peer = peer
        if not self.enter():
            raise ConnectionAbortedError

    async def _read(self, octets: int) -> bytes:
        """So many and not one more: what follows is the protocol's."""
        loop, read = asyncio.get_running_loop(), b""
        while len(read) < octets:
            more = await loop.sock_recv(self._socket, octets - len(read))
            if not more:
                raise ConnectionResetError
            read += more
        return read

    async def _begin(self) -> None:
        loop, door = asyncio.get_running_loop(), self._door
        if self._tls is None:
            await loop.connect_accepted_socket(lambda: self, self._socket)
            return
        door.handshaking(self, self._peer[0])
        await loop.connect_accepted_socket(
            lambda: self,
            self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=door.handshake_s,
            ssl_shutdown_timeout=_TLS_CLOSE_S,
        )


def _bind(family: int, address: tuple[str | int | bytes, ...], *, reuse_port: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the IPv4 one is its own
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
