"""Metrics over HTTP on a port of their own: `/metrics` for Prometheus, `/` for people.

A scrape runs in a thread of the reactor's pool, so that it holds up no message. Connections are limited, and
end with the service. `startService` raises OSError when the port is taken.
Importing this module does not install a reactor.
"""

import html
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

_CONNECTIONS_MAX = 50
_IDLE_S = 120.0  # longer than the usual scrape interval, so that Prometheus can keep its connection
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1>
<p><a href="/metrics">/metrics</a>: for Prometheus. What each metric means is told in docs/metrics.md.</p>
</html>
"""


class MetricsServer(Service):
    """The listener. With `port` 0 the system chooses; the property `port` tells the real one."""

    def __init__(
        self, registry: CollectorRegistry, host: str, port: int, *, title: str = "Gateway metrics"
    ) -> None:
        self.setName("metrics")
        self._registry = registry
        self._host = host
        self._wanted_port = port
        self._title = title
        self._listening: Any = None  # IListeningPort; zope's interfaces confuse the type checker
        self._factory: _Limited | None = None

    @property
    def port(self) -> int:
        """The port that is listened on. Only while the service runs."""
        if self._listening is None:
            raise RuntimeError("the metrics server does not run")
        return int(self._listening.getHost().port)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Listens. Raises OSError."""
        # Both import the reactor, which must be the one the daemon has installed.
        from prometheus_client.twisted import MetricsResource  # noqa: PLC0415 - it imports the reactor
        from twisted.internet import reactor  # noqa: PLC0415 - importing it chooses the reactor

        root: Any = Resource()
        root.putChild(b"", _Index(self._title))
        root.putChild(b"metrics", MetricsResource(registry=self._registry))
        self._factory = _Limited(Site(root, timeout=_IDLE_S))
        tcp: Any = reactor
        try:
            self._listening = tcp.listenTCP(self._wanted_port, self._factory, interface=self._host)
        except CannotListenError as error:
            raise error.socketError from error
        super().startService()

    def stopService(self) -> "Deferred[Any]":  # noqa: N802 - Twisted's name
        """Listens no more and ends the connections."""
        super().stopService()
        listening, self._listening = self._listening, None
        if self._factory is not None:
            self._factory.end()
        return succeed(None) if listening is None else maybeDeferred(listening.stopListening)


class _Index(Resource):
    """The page at `/`."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._page = _PAGE.format(title=html.escape(title)).encode()

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """The page."""
        request.setHeader("content-type", "text/html; charset=utf-8")
        request.setHeader("x-content-type-options", "nosniff")
        return self._page


class _Limited(WrappingFactory):
    """Knows its connections and takes no more than so many."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802 - Twisted's name
        """A wrapped protocol, or None: Twisted then closes the connection."""
        return None if len(self.protocols) >= _CONNECTIONS_MAX else super().buildProtocol(addr)

    def end(self) -> None:
        """Hangs up on everybody."""
        for connection in list(self.protocols):
            connection.loseConnection()
