"""A process of its own for the tests of what is observed: a road under Twisted's reactor that tells all.

    python -m tests.observe.observed FOLDER

Logs to standard error; tells {"port": …} on standard output and, when its standard input ends and it with it,
how the probes went.
"""

import asyncio
import contextlib
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry
from twisted.internet import asyncioreactor
from twisted.logger import Logger

from config.schema import Settings
from config.sections.observe import Log, Probe
from gateway.accounts.probe_key import ProbeKey
from gateway.clock import SystemClock
from gateway.listeners import Ports
from gateway.logs import log as logs
from gateway.messages.model import Deferred, Delivered, Failed, Outcome, Submitted, Unknown, Work
from gateway.observe.metrics import Metrics
from gateway.observe.observer import MetricsObserver
from gateway.observe.probes import Probes
from gateway.observe.readings import Readings
from gateway.observe.server import MetricsServer
from gateway.upstreams.smpp_operator import LinkState
from smpp.constants import CommandStatus
from smpp.smsc import BindRequest, Bound
from smtp.server import ServerConfig, SmtpServer
from tests.doors.support import make_door
from tests.smpp import servers as smpp_servers
from tests.smtp.submission_support import FakeApplication
from tests.support.fakes import FakeUpstream
from tests.world import rig

PERSON = "bob.miller"
NUMBER = "+41791234567"
WORDS = "the-words-of-the-message"
SECRET = "hunter2-hunter2"
PROBE_INTERVAL_S = 0.03
log = structlog.get_logger("tests.observed")


class Operator(FakeUpstream):
    """An SMS upstream with binds."""

    link_state = LinkState(binds=2, bound=1, outstanding=7, waiting=3, throttled=5, pace_per_s=45.0)


class KeyedApplication(smpp_servers.FakeApplication):
    """Lets the probe in."""

    def __init__(self, key: ProbeKey) -> None:
        super().__init__()
        self.key = key

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        good = self.key.matches(request.system_id, request.password)
        return request.accept() if good else CommandStatus.ESME_RINVPASWD


def mail_outcome(work: Work, _attempt: int) -> list[Outcome]:
    """By the recipient's domain."""
    address = work.deliveries[0].address
    domain = address.rpartition("@")[2]
    if domain == "broken.example":
        raise RuntimeError(f"no idea what to do with <{address}> and {NUMBER}, password={SECRET}")
    reply = f"<{address}> said no"
    outcomes: dict[str, Outcome] = {
        "later.example": Deferred(reply=reply),
        "down.example": Deferred(reply=reply, counts=False),
        "no.example": Failed(reply=reply),
        "unknown.example": Unknown(reply=reply),
    }
    return [outcomes.get(domain, Delivered(reply=reply))] * len(work.deliveries)


def sms_outcome(work: Work, attempt: int) -> list[Outcome]:
    """Taken by the operator; the receipt will come."""
    return [Submitted(upstream="operator", upstream_ids=(f"id-{attempt}",))]


class SlowApi:
    """Answers as /readyz does, after three probe intervals; knows how many asked at once."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most_at_once = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(3 * PROBE_INTERVAL_S)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        self.under_way -= 1


async def observe(folder: Path) -> None:
    """Sends a little of everything, serves the metrics, and stops when told."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    observer = MetricsObserver(metrics)
    mail = FakeUpstream("mx", answer=mail_outcome, per_domain=True)
    sms = Operator("operator", answer=sms_outcome)
    clock = SystemClock()
    key = ProbeKey.make()
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            rig(folder, [mail, sms], clock=clock, observer=observer, sms_credits=1)
        )
        one.store.writer._observe = metrics.commit
        metrics.watch(one.store, one.road)
        smtp = SmtpServer(ServerConfig(hostname="gateway.example"), FakeApplication(), make_door())
        metrics.watch_connections("smtp", lambda: smtp.connection_count)
        stack.push_async_callback(smtp.stop, 0.0)
        api = SlowApi()
        http = await asyncio.start_server(api.answer, "127.0.0.1", 0)
        stack.callback(http.close)
        smpp = await stack.enter_async_context(smpp_servers.serving(KeyedApplication(key)))
        ports = Ports(
            smtp=await smtp.start("127.0.0.1", 0), http=http.sockets[0].getsockname()[1], smpp=smpp.port
        )

        rounds = asyncio.Event()
        settings = replace(Settings(), probe=Probe(interval_s=PROBE_INTERVAL_S, timeout_s=5.0))
        seen: list[str] = []

        def told(result: Any) -> None:
            seen.append(result.service)
            if len(seen) >= 9:
                rounds.set()

        probes = Probes(settings, metrics, clock, key=key, told=told)
        probes.start(ports)
        await traffic(one, observer, metrics)
        readings = Readings(metrics, one.store, clock)
        await readings.read_once()
        await readings.start()
        await rounds.wait()

        server = MetricsServer(registry, "127.0.0.1", 0)
        server.startService()
        say_things()
        try:
            MetricsServer(registry, "127.0.0.1", server.port).startService()
        except OSError as error:
            tell(port=server.port, second_start=error.errno or 0)
        await asyncio.to_thread(sys.stdin.read)
        await probes.stop()
        await readings.stop()
        await server.stopService().asFuture(asyncio.get_running_loop())
        tell(most_probes_at_once=api.most_at_once, probe_rounds=seen.count("api"))


def tell(**facts: int) -> None:
    """A line for the test that started this process."""
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    sys.stdout.flush()


async def traffic(one: Any, observer: MetricsObserver, metrics: Metrics) -> None:
    """A mail for every outcome, an SMS that is paid for and one that is not."""
    content = f"Subject: {WORDS}\r\nFrom: a@example.org\r\n\r\n{WORDS}\r\n".encode()
    for domain in (
        "good.example",
        "no.example",
        "later.example",
        "down.example",
        "unknown.example",
        "broken.example",
    ):
        await one.send_mail(f"{PERSON}@{domain}", content=content)
    await one.send_mail(f"{PERSON}@good.example", mail_from=f"{PERSON}@not-ours.example", content=content)
    await one.send_sms(NUMBER, text=WORDS)
    await one.send_sms(NUMBER, text=WORDS)
    await one.road.upstreams["mx"].wait_for(6)
    await one.road.upstreams["operator"].wait_for(1)
    observer.receipted("operator", "delivered", 1.5)
    observer.auth_failed("smtp", "credentials")
    observer.refused("mail", "smtp", f"no {PERSON}@good.example here")
    metrics.webhook("delivered")
    metrics.refunded("sms", 1)
    async with asyncio.timeout(5):
        while one.road.dispatcher.lanes.deliveries:
            await asyncio.sleep(0.005)


def say_things() -> None:
    """Logs what should never have been logged, in every way there is."""
    log.info("message_accepted", to=f"{PERSON}@good.example", password=SECRET, content=WORDS.encode())
    structlog.get_logger("gateway.x").warning("thing_failed", operations=3, error=f"{PERSON}@a.example")
    logging.getLogger("foreign").error("mail to %s and %s", f"{PERSON}@a.example", NUMBER)
    Logger(namespace="foreign").warn("twisted tells of {number}", number=NUMBER)
    error = ValueError(f"[SQL: INSERT] [parameters: ('{WORDS}',)]")
    log.error("settlement_not_written", exc_info=error)


def main() -> None:
    """Runs the reactor until standard input ends."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]  # Twisted is typed in parts
    from twisted.internet import reactor

    logs.configure(Log(format="json", level="debug"))
    running: Any = reactor
    failed: list[BaseException] = []

    async def run() -> None:
        try:
            await observe(Path(sys.argv[1]))
        except BaseException as error:
            failed.append(error)
            log.exception("observation_broke")
        finally:
            running.stop()

    running.callWhenRunning(lambda: asyncio.ensure_future(run()))
    running.run()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
