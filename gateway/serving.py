"""The network's doors of a daemon: SMTP, SMPP and HTTP for clients, and the page of metrics.

Each function adds one to the tree: how it is made from what the daemon stands on, where it listens (a port
that cannot be had is a StartError that names its key), and how long it may take to stop.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from config.schema import Settings
from gateway import verticals
from gateway.accounts.auth import Authenticator
from gateway.accounts.probe_key import ProbeKey
from gateway.credits.service import Credits
from gateway.doors.door import Doors
from gateway.ground import Ground
from gateway.health import Readiness
from gateway.http.wire.server import HttpServer
from gateway.ingress.smpp import SmppIngress
from gateway.ingress.smtp import SmtpIngress, server_config
from gateway.ingress.trusted import Trusted
from gateway.listeners import Ports
from gateway.observe.metrics import Metrics
from gateway.observe.observer import MetricsObserver
from gateway.observe.server import MetricsServer
from gateway.road import Road
from gateway.starting import naming
from gateway.tree import Tree
from smtp.server import SmtpServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What every door is made with, and where it says that it is open."""

    ground: Ground
    road: Road
    observer: MetricsObserver
    metrics: Metrics
    readiness: Readiness
    ports: Ports
    tls_context: ssl.SSLContext | None
    doors: Doors
    probe_key: ProbeKey
    shared: bool
    """Whether other workers listen on the same ports."""

    @property
    def settings(self) -> Settings:
        """The process's."""
        return self.ground.settings


def smtp(tree: Tree, serving: Serving) -> None:
    """SMTP, with STARTTLS and, on a port of its own, with TLS from the start."""
    settings, ground = serving.settings.smtp, serving.ground
    if not settings.enabled:
        return
    trusted = Trusted(ground.caches, settings.trusted)
    ingress = SmtpIngress(
        authenticator=ground[Authenticator],
        acceptor=serving.road.acceptor,
        shaper=serving.road.mail,
        router=serving.road.router,
        credits=ground[Credits],
        trusted=trusted,
        clock=ground.clock,
        observer=serving.observer,
        idempotency_ms=serving.settings.retention.idempotency_h * 3_600_000,
    )
    server = SmtpServer(
        server_config(serving.settings, serving.tls_context), ingress, serving.doors.smtp(trusted.account)
    )
    serving.metrics.watch_connections("smtp", lambda: server.connection_count)

    async def listen(name: str, key: str, port: int, *, implicit_tls: bool = False) -> None:
        with naming(key, settings.host, port):
            serving.ports[name] = await server.start(
                settings.host, port, implicit_tls=implicit_tls, reuse_port=serving.shared
            )

    async def start() -> None:
        await listen("smtp", "smtp.port", settings.port)
        if settings.tls_port and serving.tls_context is not None:
            await listen("smtps", "smtp.tls_port", settings.tls_port, implicit_tls=True)

    _add_door(tree, serving, "smtp", start, server.stop)


def smpp(tree: Tree, serving: Serving) -> None:
    """SMPP, in clear and with TLS."""
    settings = serving.settings.smpp
    if not settings.enabled:
        return
    ingress = SmppIngress(
        serving.ground,
        serving.road,
        observer=serving.observer,
        door=serving.doors.smpp(),
        tls_context=serving.tls_context,
        probe_key=serving.probe_key,
        reuse_port=serving.shared,
        watch=serving.metrics,
    )
    serving.metrics.watch_connections("smpp", lambda: ingress.binds)

    async def start() -> None:
        with naming("smpp.port", settings.host, settings.port):
            await ingress.start()
        serving.ports.update(smpp=ingress.port, smpps=ingress.tls_port)

    _add_door(tree, serving, "smpp", start, ingress.stop)


def http(tree: Tree, serving: Serving) -> None:
    """HTTP: the API of all verticals, their documentation, /healthz and /readyz."""
    settings = serving.settings.http
    if not settings.enabled:
        return
    server = HttpServer(
        verticals.api(serving.ground, serving.readiness),
        settings,
        serving.doors.http(),
        tls_context=serving.tls_context if settings.tls else None,
        reuse_port=serving.shared,
    )
    serving.metrics.watch_connections("http", lambda: server.connection_count)

    async def start() -> None:
        with naming("http.port", settings.host, settings.port):
            await server.start()
        serving.ports["http"] = server.port

    _add_door(tree, serving, "http", start, server.stop)


def metrics(tree: Tree, serving: Serving) -> None:
    """Prometheus' page, for the operator alone."""
    settings = serving.settings.metrics
    if not settings.enabled:
        return
    server = MetricsServer(serving.metrics.registry, settings.host, settings.port)

    async def start() -> None:
        with naming("metrics.port", settings.host, settings.port):
            server.startService()
        serving.ports["metrics"] = server.port

    async def stop() -> None:
        await server.stopService().asFuture(asyncio.get_running_loop())

    tree.add("metrics", start, stop)


def _add_door(
    tree: Tree,
    serving: Serving,
    name: str,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[float], Awaitable[None]],
) -> None:
    """A door that /readyz knows once it is open, and that has `server.drain_s` to stop in."""

    async def opened() -> None:
        await start()
        serving.readiness.doors[name] = True

    tree.add(name, opened, lambda: stop(serving.settings.server.drain_s))
