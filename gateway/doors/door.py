"""A door: who comes in over all listeners of one ingress, and what is counted and told of those who do not.

SMTP, SMPP and HTTP know nothing of each other; each asks the door it is given (`smtp.server_api.Door`,
`smpp.application.Door`). A connection counts from accept on, its TLS handshake in a room of its own that all
doors share.
"""

import ssl
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from config.schema import Settings
from config.sections.listeners import Http, Smpp, Smtp
from gateway.clock import Clock
from gateway.doors.admission import DOOR_LIMIT, Room
from gateway.doors.entrance import Entrance, Factory, Listening
from gateway.peers import Networks

log = structlog.get_logger(__name__)

TLS_HANDSHAKES = "tls_handshakes"
_HANDSHAKE_S = 30.0
_TELL_EVERY_S = 60.0


class Observer(Protocol):
    """Who counts what is turned away."""

    def connection_refused(self, ingress: str, reason: str) -> None:
        """A connection was turned away, or closed for another; `reason` is from a bounded set."""
        ...


class Guest(Protocol):
    """A connection, as far as a door knows it."""

    def dismiss(self) -> None:
        """Another one has its place: closes at once, and raises nothing."""
        ...


class Door:
    """See the module. One per ingress and process.

    `known` names the account of a peer that needs no login. `handshake_s` seconds a TLS handshake may take.
    """

    def __init__(
        self,
        ingress: str,
        *,
        most: int,
        per_peer: int,
        handshakes: "Room[tuple[Door, Guest]]",
        observer: Observer,
        clock: Clock,
        proxies: Networks,
        proxy_protocol: bool = False,
        handshake_s: float = _HANDSHAKE_S,
        known: Callable[[str], str | None] = lambda _peer: None,
    ) -> None:
        self.ingress = ingress
        self.handshake_s = handshake_s
        self._room: Room[Guest] = Room(most, per_peer, self._turn_out, proxies)
        self._handshakes = handshakes
        self._observer = observer
        self._known = known
        self._entrance = Entrance(self, proxies if proxy_protocol else Networks())
        self._refusals = _Seldom(clock)
        self._failures = _Seldom(clock)

    async def listen(
        self,
        factory: Factory,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> Listening:
        """Connections to this address get a protocol of `factory`. Raises OSError where it is taken."""
        return await self._entrance.listen(factory, host, port, tls=tls, reuse_port=reuse_port)

    def enter(self, guest: Guest, peer: str) -> bool:
        """Whether `guest`, from the IP address `peer`, may come in; it leaves with `leave`."""
        if not self._room.enter(guest, peer):
            self.refused(DOOR_LIMIT)
            return False
        account = self._known(peer)
        if account is not None:
            self._room.recognise(guest, account)
        return True

    def recognise(self, guest: Guest, account: str) -> None:
        """It has shown that it speaks for `account`."""
        self._room.recognise(guest, account)

    def leave(self, guest: Guest) -> None:
        """It has gone. May be said again."""
        self._room.leave(guest)

    def handshaking(self, guest: Guest, peer: str) -> None:
        """Its TLS handshake begins; it ends with `handshaken`."""
        self._handshakes.enter((self, guest), peer)

    def handshaken(self, guest: Guest) -> None:
        """The handshake has ended, well or not. May be said again."""
        self._handshakes.leave((self, guest))

    def refused(self, reason: str) -> None:
        """Counts one that was turned away or turned out."""
        self._observer.connection_refused(self.ingress, reason)
        if count := self._refusals.due():
            log.warning("connections_refused", ingress=self.ingress, reason=reason, count=count)

    def not_opened(self, reason: str) -> None:
        """One has gone, or was closed, before its protocol began: a handshake or a header that failed."""
        if count := self._failures.due():
            log.info("connections_not_opened", ingress=self.ingress, reason=reason, count=count)

    def _turn_out(self, guest: Guest, reason: str) -> None:
        self.refused(reason)
        guest.dismiss()


class _Seldom:
    """When a line in the log is due about what may happen very often: once a minute at most."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic_s = clock.monotonic_s
        self._untold = 0
        self._told_s = float("-inf")

    def due(self) -> int:
        """It has happened once more; of how many times a line is to tell now, 0 for no line."""
        self._untold += 1
        now_s = self._monotonic_s()
        if now_s - self._told_s < _TELL_EVERY_S:
            return 0
        self._told_s = now_s
        count, self._untold = self._untold, 0
        return count


class Doors:
    """Makes the doors of one process, which share the room for TLS handshakes."""

    def __init__(self, settings: Settings, observer: Observer, clock: Clock) -> None:
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._proxies = Networks(settings.http.trusted_proxies)
        self._handshakes = handshake_room(settings.limits.tls_handshakes)

    def smtp(self, known: Callable[[str], str | None]) -> Door:
        """Submission; `known` names the account of a trusted network."""
        smtp = self._settings.smtp
        return self._door("smtp", smtp, smtp.idle_timeout_s, proxy_protocol=smtp.proxy_protocol, known=known)

    def http(self) -> Door:
        """The API; who is behind a proxy is told with each request, not with the connection."""
        http = self._settings.http
        return self._door("http", http, http.request_timeout_s)

    def smpp(self) -> Door:
        """Binds."""
        smpp = self._settings.smpp
        return self._door("smpp", smpp, smpp.bind_timeout_s, proxy_protocol=smpp.proxy_protocol)

    def _door(self, ingress: str, settings: Smtp | Http | Smpp, wait_s: float, **options: Any) -> Door:
        return Door(
            ingress,
            most=settings.max_connections,
            per_peer=settings.max_connections_per_peer,
            handshakes=self._handshakes,
            observer=self._observer,
            clock=self._clock,
            proxies=self._proxies,
            handshake_s=min(_HANDSHAKE_S, wait_s),
            **options,
        )


def handshake_room(most: int) -> Room[tuple[Door, Guest]]:
    """For so many handshakes at once; then the oldest one of the peer that has most of them is cut off."""

    def cut_off(handshake: tuple[Door, Guest], _reason: str) -> None:
        door, guest = handshake
        door.refused(TLS_HANDSHAKES)
        guest.dismiss()

    return Room(most, most, cut_off)
