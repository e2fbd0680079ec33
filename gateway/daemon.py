"""The daemon: the composition root. One file wires everything, in the order in which it starts.

Starting opens the store, then the upstreams, then the doors; stopping closes the doors first, lets what is
under way end within `server.drain_s`, settles it, and closes the store last. Nothing that was acknowledged
depends on a clean stop.
"""

import asyncio
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from config import ConfigError, differences, load
from config.schema import Settings
from gateway import tls, verticals
from gateway.accounts import known
from gateway.accounts.auth import Authenticator
from gateway.accounts.probe_key import ProbeKey
from gateway.clock import Clock, SystemClock
from gateway.credits.service import Credits
from gateway.doors.door import Doors
from gateway.ground import Ground
from gateway.health import Readiness
from gateway.http.wire.server import HttpServer
from gateway.ingress.smpp import SmppIngress
from gateway.ingress.smtp import SmtpIngress, server_config
from gateway.ingress.trusted import Trusted
from gateway.jobs.chores import Chores
from gateway.jobs.loop import Job, Loop
from gateway.listeners import Ports, that_need_tls
from gateway.logs import log as logs
from gateway.observe.metrics import Metrics
from gateway.observe.observer import MetricsObserver
from gateway.observe.probes import Probes
from gateway.observe.readings import Readings
from gateway.observe.server import MetricsServer
from gateway.road import Road
from gateway.road import build as build_road
from gateway.starting import StartError, naming, open_store
from gateway.store.errors import StoreError
from gateway.tree import Tree
from gateway.webhooks.post import Poster
from gateway.webhooks.sender import WebhookSender
from gateway.worker import Birth
from policy.countries import CountryTable, CountryTableError
from policy.countries import parse as parse_countries
from policy.data import shipped_countries
from smtp.server import SmtpServer

log = structlog.get_logger(__name__)

_RELOADABLE = ("log.",)  # besides the certificate; SIGHUP says what else would need a restart


class Gateway:
    """One process of the gateway."""

    def __init__(
        self,
        settings: Settings,
        *,
        config_path: Path | None = None,
        clock: Clock | None = None,
        birth: Birth | None = None,
    ) -> None:
        """With `birth` it is one of several workers, which share ports and database."""
        self._birth = birth
        self.settings = settings if birth is None else birth.settings(settings)
        self.metrics = Metrics()
        self.ports = Ports()
        self.holder = ""
        self.tree = Tree()
        self._config_path = config_path
        self._clock = clock or SystemClock()
        self._context: ssl.SSLContext | None = None
        self._probe_key = ProbeKey.make() if birth is None else birth.probe_key

    async def start(self) -> Ports:
        """Starts every part. Raises StartError; then nothing runs any more."""
        settings, clock = self.settings, self._clock
        context = self._context = self._tls_context()
        countries = _countries(settings)
        metrics = self.metrics
        store = open_store(settings, metrics, exclusive=self._birth is None)
        login_key = known.read_key(settings.server.data_dir)
        ground = verticals.make(settings, store, clock, login_key=login_key)
        observer = MetricsObserver(metrics)
        road = build_road(ground, countries, observer, metrics)
        road.offer(ground)
        readiness = Readiness(store)
        tree = self.tree
        tree.add("store", stop=store.close)
        if (check := store.background_check()) is not None:
            tree.add("database check", check.start, check.stop)
        self._add_caches(ground)
        tree.add("credits", stop=ground[Credits].stop)
        tree.add("road", road.start, lambda: road.stop(settings.server.drain_s))
        self._add_webhooks(ground, metrics)
        self._add_jobs(ground, road, metrics)
        parts = _Parts(ground, road, observer, metrics, readiness, context, Doors(settings, observer, clock))
        self._add_smtp(parts)
        self._add_smpp(parts)
        self._add_http(parts)
        self._add_metrics(ground, road, metrics)
        self._add_probes(metrics, readiness)
        try:
            await tree.start()
        except StoreError as error:
            raise StartError(str(error)) from error
        self.holder = road.tenure.process
        log.info("gateway_started", sandbox=settings.sandbox, holder=self.holder)
        return self.ports

    async def stop(self) -> None:
        """Drains and stops every part."""
        log.info("gateway_stopping", drain_s=self.settings.server.drain_s)
        await self.tree.stop()
        log.info("gateway_stopped")

    # --- the parts -------------------------------------------------------------------------------------

    def _add_caches(self, ground: Ground) -> None:
        caches = ground.caches
        poll = Job(name="caches", work=caches.poll, every_s=caches.poll_s, failed="cache_poll_failed")
        loop = Loop(poll, self.metrics)

        async def stop() -> None:
            await loop.stop()
            await caches.close()

        self.tree.add("caches", loop.start, stop)

    def _add_webhooks(self, ground: Ground, metrics: Metrics) -> None:
        settings = self.settings.webhooks
        poster = Poster(
            ground.dns.addresses, timeout_s=settings.timeout_s, allow_private=settings.allow_private_targets
        )
        sender = WebhookSender(
            ground.caches, self._clock, settings, poster, observe=metrics.webhook, watch=metrics
        )

        self.tree.add("webhooks", sender.start, lambda: sender.stop(min(5.0, self.settings.server.drain_s)))

    def _add_jobs(self, ground: Ground, road: Road, metrics: Metrics) -> None:
        jobs = Chores(
            verticals.jobs(ground), ground.store, self._clock, holder=road.tenure.process, watch=metrics
        )
        self.tree.add("jobs", jobs.start, jobs.stop)

    def _add_smtp(self, parts: "_Parts") -> None:
        settings = self.settings.smtp
        if not settings.enabled:
            return
        trusted = Trusted(parts.ground.caches, settings.trusted)
        ingress = SmtpIngress(
            authenticator=parts.ground[Authenticator],
            acceptor=parts.road.acceptor,
            shaper=parts.road.mail,
            router=parts.road.router,
            credits=parts.ground[Credits],
            trusted=trusted,
            clock=self._clock,
            observer=parts.observer,
            idempotency_ms=self.settings.retention.idempotency_h * 3_600_000,
        )
        server = SmtpServer(
            server_config(self.settings, parts.context),
            ingress,
            parts.doors.smtp(trusted.account),
        )
        parts.metrics.watch_connections("smtp", lambda: server.connection_count)
        shared = self._birth is not None

        async def start() -> None:
            with naming("smtp.port", settings.host, settings.port):
                self._port(smtp=await server.start(settings.host, settings.port, reuse_port=shared))
            if settings.tls_port and parts.context is not None:
                with naming("smtp.tls_port", settings.host, settings.tls_port):
                    port = await server.start(
                        settings.host, settings.tls_port, implicit_tls=True, reuse_port=shared
                    )
                    self._port(smtps=port)
            parts.readiness.doors["smtp"] = True

        async def stop() -> None:
            parts.readiness.doors["smtp"] = False
            await server.stop(self.settings.server.drain_s)

        self.tree.add("smtp", start, stop)

    def _add_smpp(self, parts: "_Parts") -> None:
        settings = self.settings.smpp
        if not settings.enabled:
            return
        ingress = SmppIngress(
            parts.ground,
            parts.road,
            observer=parts.observer,
            door=parts.doors.smpp(),
            tls_context=parts.context,
            probe_key=self._probe_key,
            reuse_port=self._birth is not None,
            watch=self.metrics,
        )
        parts.metrics.watch_connections("smpp", lambda: ingress.binds)

        async def start() -> None:
            with naming("smpp.port", settings.host, settings.port):
                await ingress.start()
            self._port(smpp=ingress.port, smpps=ingress.tls_port)
            parts.readiness.doors["smpp"] = True

        async def stop() -> None:
            parts.readiness.doors["smpp"] = False
            await ingress.stop(self.settings.server.drain_s)

        self.tree.add("smpp", start, stop)

    def _add_http(self, parts: "_Parts") -> None:
        settings = self.settings.http
        if not settings.enabled:
            return
        server = HttpServer(
            verticals.api(parts.ground, parts.readiness),
            settings,
            parts.doors.http(),
            tls_context=parts.context if settings.tls else None,
            reuse_port=self._birth is not None,
        )
        parts.metrics.watch_connections("http", lambda: server.connection_count)

        async def start() -> None:
            with naming("http.port", settings.host, settings.port):
                await server.start()
            self._port(http=server.port)
            parts.readiness.doors["http"] = True

        async def stop() -> None:
            parts.readiness.doors["http"] = False
            await server.stop(self.settings.server.drain_s)

        self.tree.add("http", start, stop)

    def _add_metrics(self, ground: Ground, road: Road, metrics: Metrics) -> None:
        settings = self.settings.metrics
        if not settings.enabled:
            return
        metrics.watch(ground.store, road)
        readings = Readings(metrics, ground.store, self._clock)
        self.tree.add("readings", readings.start, readings.stop)
        server = MetricsServer(metrics.registry, settings.host, settings.port)

        async def start() -> None:
            with naming("metrics.port", settings.host, settings.port):
                server.startService()
            self._port(metrics=server.port)

        async def stop() -> None:
            await server.stopService().asFuture(asyncio.get_running_loop())

        self.tree.add("metrics", start, stop)

    def _add_probes(self, metrics: Metrics, readiness: Readiness) -> None:
        """The last to start and the first to stop: it looks at the doors from outside."""

        async def start() -> None:
            probes.start(self.ports)

        async def stop() -> None:
            readiness.stopping = True
            await probes.stop()

        probes = Probes(self.settings, metrics, self._clock, key=self._probe_key)
        self.tree.add("probes", start, stop)

    def _port(self, **ports: int) -> None:
        self.ports.update(ports)

    # --- the certificate and SIGHUP ----------------------------------------------------------------------

    def _tls_context(self) -> ssl.SSLContext | None:
        """The doors' context; None where no door needs one and no certificate is there."""
        settings = self.settings
        if not any(that_need_tls(settings)) and not settings.tls.certificate.exists():
            return None
        try:
            return tls.server_context(settings.tls, now=datetime.now(UTC))
        except tls.CertificateError as error:
            raise StartError(str(error)) from error

    def reload(self) -> None:
        """SIGHUP: reads configuration and certificate again; says what cannot change without a restart."""
        if self._context is not None:
            try:
                tls.load(self._context, self.settings.tls, now=datetime.now(UTC))
                log.info("certificate_reloaded", certificate=str(self.settings.tls.certificate))
            except tls.CertificateError as error:
                log.warning("certificate_not_reloaded", reason=str(error))
        if self._config_path is None:
            return
        try:
            new = load(self._config_path)
        except ConfigError as error:
            log.warning("configuration_not_reloaded", faults=str(error))
            return
        changed = differences(self.settings, new)
        taken = [key for key in changed if key.startswith(_RELOADABLE)]
        left = [key for key in changed if not key.startswith(_RELOADABLE)]
        if taken:
            logs.configure(new.log)
            self.settings = replace(self.settings, log=new.log)
        log.info("configuration_reloaded", taken=taken)
        if left:
            log.warning("configuration_needs_restart", keys=left)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every door is made with."""

    ground: Ground
    road: Road
    observer: MetricsObserver
    metrics: Metrics
    readiness: Readiness
    context: ssl.SSLContext | None
    doors: Doors


def _countries(settings: Settings) -> CountryTable:
    """The shipped table, the operator's laid over it (R25)."""
    path = settings.sender_name.countries_file
    if path is None:
        return shipped_countries()
    try:
        return parse_countries(path.read_text(encoding="utf-8")).over(shipped_countries())
    except (OSError, UnicodeDecodeError, CountryTableError) as error:
        raise StartError(f"sender_name.countries_file: {path}: {error}") from error
