"""The daemon: the composition root. One file wires everything, in the order in which it starts.

Starting opens the store, then the upstreams, then the doors; stopping closes the doors first, lets what is
under way end within `server.drain_s`, settles it, and closes the store last. Nothing that was acknowledged
depends on a clean stop.
"""

from pathlib import Path

import structlog

from config.schema import Settings
from gateway import serving, starting, verticals
from gateway.accounts import known
from gateway.accounts.probe_key import ProbeKey
from gateway.clock import Clock, SystemClock
from gateway.credits.service import Credits
from gateway.doors.door import Doors
from gateway.ground import Ground
from gateway.health import Readiness
from gateway.jobs.chores import Chores
from gateway.jobs.loop import Job, Loop
from gateway.listeners import Ports
from gateway.observe.metrics import Metrics
from gateway.observe.observer import MetricsObserver
from gateway.observe.probes import Probes
from gateway.observe.readings import Readings
from gateway.reload import Reload
from gateway.road import Road
from gateway.road import build as build_road
from gateway.serving import Serving
from gateway.starting import StartError
from gateway.store.errors import StoreError
from gateway.tree import Tree
from gateway.webhooks.post import Poster
from gateway.webhooks.sender import WebhookSender
from gateway.worker import Birth

log = structlog.get_logger(__name__)

_WEBHOOKS_DRAIN_S = 5.0


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
        self._clock = clock or SystemClock()
        self._probe_key = ProbeKey.make() if birth is None else birth.probe_key
        self.reload = Reload(self.settings, config_path)
        """What SIGHUP calls."""

    async def start(self) -> Ports:
        """Starts every part. Raises StartError; then nothing runs any more."""
        settings, metrics, tree = self.settings, self.metrics, self.tree
        context = self.reload.context = starting.tls_context(settings)
        countries = starting.country_table(settings)
        store = starting.open_store(settings, metrics, exclusive=self._birth is None)
        login_key = known.read_key(settings.server.data_dir)
        ground = verticals.make(settings, store, self._clock, login_key=login_key)
        observer = MetricsObserver(metrics)
        road = build_road(ground, countries, observer, metrics)
        road.offer(ground)
        doors = Serving(
            ground=ground,
            road=road,
            observer=observer,
            metrics=metrics,
            readiness=Readiness(store),
            ports=self.ports,
            tls_context=context,
            doors=Doors(settings, observer, self._clock),
            probe_key=self._probe_key,
            shared=self._birth is not None,
        )

        tree.add("store", stop=store.close)
        if (check := store.background_check()) is not None:
            tree.add("database check", check.start, check.stop)
        self._add_caches(ground)
        tree.add("credits", stop=ground[Credits].stop)
        tree.add("road", road.start, lambda: road.stop(settings.server.drain_s))
        self._add_webhooks(ground)
        self._add_jobs(ground, road)
        serving.smtp(tree, doors)
        serving.smpp(tree, doors)
        serving.http(tree, doors)
        self._add_readings(ground, road)
        serving.metrics(tree, doors)
        self._add_probes(doors.readiness)
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

    def _add_caches(self, ground: Ground) -> None:
        caches = ground.caches
        poll = Job(name="caches", work=caches.poll, every_s=caches.poll_s, failed="cache_poll_failed")
        loop = Loop(poll, self.metrics)

        async def stop() -> None:
            await loop.stop()
            await caches.close()

        self.tree.add("caches", loop.start, stop)

    def _add_webhooks(self, ground: Ground) -> None:
        settings, metrics = self.settings.webhooks, self.metrics
        poster = Poster(
            ground.dns.addresses, timeout_s=settings.timeout_s, allow_private=settings.allow_private_targets
        )
        sender = WebhookSender(
            ground.caches, self._clock, settings, poster, observe=metrics.webhook, watch=metrics
        )
        drain_s = min(_WEBHOOKS_DRAIN_S, self.settings.server.drain_s)
        self.tree.add("webhooks", sender.start, lambda: sender.stop(drain_s))

    def _add_jobs(self, ground: Ground, road: Road) -> None:
        jobs = Chores(
            verticals.jobs(ground), ground.store, self._clock, holder=road.tenure.process, watch=self.metrics
        )
        self.tree.add("jobs", jobs.start, jobs.stop)

    def _add_readings(self, ground: Ground, road: Road) -> None:
        if not self.settings.metrics.enabled:
            return
        self.metrics.watch(ground.store, road)
        readings = Readings(self.metrics, ground.store, self._clock)
        self.tree.add("readings", readings.start, readings.stop)

    def _add_probes(self, readiness: Readiness) -> None:
        """The last to start and the first to stop: it looks at the doors from outside."""
        probes = Probes(self.settings, self.metrics, self._clock, key=self._probe_key)

        async def start() -> None:
            probes.start(self.ports)

        async def stop() -> None:
            readiness.stopping = True
            await probes.stop()

        self.tree.add("probes", start, stop)
