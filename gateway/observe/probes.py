"""The gateway's own eye: every minute it tries each of its doors as a client would (R56).

What it finds becomes `gateway_probe_success{service}`, with the time of the last result beside it: a process
that is down, or whose loop stands still, reports nothing, and nothing counts as down (R57). A round never
overlaps the one before, blocks nothing and ends with `stop`. Whether the doors can be reached from elsewhere
only a probe from elsewhere can tell.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from config.schema import Settings
from gateway.accounts.probe_key import ProbeKey
from gateway.clock import Clock
from gateway.listeners import Ports
from gateway.observe import dialogues
from gateway.observe.dialogues import ProbeFailed
from gateway.observe.metrics import Metrics
from gateway.observe.probed import Probed

log = structlog.get_logger(__name__)

Probe = Callable[[], Awaitable[None]]


class Probes:
    """The timer and the rounds. `key` lets the SMS probe bind; `told` hears every result, as metrics do."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        *,
        key: ProbeKey | None = None,
        told: Callable[[Probed], None] = lambda _result: None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._key = key
        self._told = told
        self._failing: set[str] = set()
        self._timer: LoopingCall | None = None
        self._round: asyncio.Task[dict[str, Probed]] | None = None

    def start(self, ports: Ports) -> None:
        """Begins with a round at once, then one every `probe.interval_s`. Needs the running reactor."""
        probes = self.probes(ports)
        if not self._settings.probe.enabled or not probes:
            return

        def begin() -> "Deferred[Any]":
            self._round = asyncio.ensure_future(self.round(probes))
            return Deferred.fromFuture(self._round)

        self._timer = LoopingCall(begin)
        self._timer.start(self._settings.probe.interval_s, now=True).addErrback(_expected)

    async def stop(self) -> None:
        """Ends the timer and the round under way."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.running:
            timer.stop()
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)
            self._round = None

    def probes(self, ports: Ports) -> dict[str, Probe]:
        """A probe for every door that is open."""
        settings, timeout_s = self._settings, self._settings.probe.timeout_s
        reachable = dialogues.reachable
        found: dict[str, Probe] = {}
        if ports["smtp"]:
            found["smtp"] = lambda: dialogues.smtp(reachable(settings.smtp.host), ports["smtp"])
        if ports["http"]:
            http = settings.http
            found["api"] = lambda: dialogues.api(reachable(http.host), ports["http"], tls=http.tls)
        if ports["smpp"]:
            host = reachable(settings.smpp.host)
            found["sms"] = lambda: dialogues.sms(host, ports["smpp"], self._key, timeout_s)
        return found

    async def round(self, probes: Mapping[str, Probe]) -> dict[str, Probed]:
        """Tries all services side by side; their results by name. Never raises."""
        results = await asyncio.gather(*(self._try(service, probe) for service, probe in probes.items()))
        return {result.service: result for result in results}

    async def _try(self, service: str, probe: Probe) -> Probed:
        started_s = self._clock.monotonic_s()
        reason = ""
        try:
            async with asyncio.timeout(self._settings.probe.timeout_s):
                await probe()
        except TimeoutError:
            reason = "no answer in time"
        except ProbeFailed as failed:
            reason = str(failed)
        except Exception as error:  # noqa: BLE001 - A7: whatever goes wrong, the service was not there
            reason = f"{type(error).__name__}: {error}"
        result = Probed(
            service=service,
            success=not reason,
            seconds=self._clock.monotonic_s() - started_s,
            at_ms=self._clock.now_ms(),
            reason=reason,
        )
        self._report(result)
        return result

    def _report(self, result: Probed) -> None:
        self._metrics.probed(result)
        if not result.success:
            log.warning("probe_failed", service=result.service, reason=result.reason, seconds=result.seconds)
            self._failing.add(result.service)
        elif result.service in self._failing:
            log.info("probe_recovered", service=result.service)
            self._failing.discard(result.service)
        self._told(result)


def _expected(failure: Failure) -> None:
    """The timer ends when `stop` cancels its round."""
    if not isinstance(failure.value, asyncio.CancelledError):
        log.error("probes_ended", exc_info=failure.value)
