"""The smarthost: every mail goes to one configured host, over kept connections."""

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from config.sections.upstreams import RelayUpstream
from gateway.messages.model import Deferred, Outcome, Work
from gateway.messages.ports import Links
from gateway.upstreams.mail_outcomes import begin, envelope_of, outcomes_of
from gateway.upstreams.rate import Rate
from gateway.upstreams.signing import Signing
from smtp.client import Credentials, Tls
from smtp.options import MaySend, Options, Peer, Timeouts, always
from smtp.pool import ConnectionPool, Destination, Limits
from smtp.tls import TlsPolicy, verifying

_REST_S = 15.0  # a smarthost that does not answer is asked again after this
_RESOLVE_EVERY_S = 60.0


class Relay:
    """An upstream on `smtp.pool`."""

    recipients_per_work = 100  # RFC 5321 section 4.5.3.1.8: every server takes so many

    def __init__(
        self,
        name: str,
        settings: RelayUpstream,
        *,
        helo: str,
        signing: Signing,
        rate: Rate,
        may_send: MaySend = always,
    ) -> None:
        self.name = name
        self.concurrency = settings.max_connections
        self._settings = settings
        self._signing = signing
        self._rate = rate
        self._pool = ConnectionPool(
            Limits(
                per_destination=settings.max_connections,
                total=settings.max_connections,
                messages_per_connection=settings.messages_per_connection,
                idle_s=settings.idle_s,
            )
        )
        credentials = None
        if settings.username and settings.password is not None:
            credentials = Credentials(user=settings.username, password=settings.password.reveal())
        self._destination = Destination(
            name=name,
            peers=(),
            options=Options(
                helo=helo,
                may_send=may_send,
                tls=_tls(settings),
                credentials=credentials,
                timeouts=Timeouts(
                    connect_s=settings.connect_timeout_s,
                    greeting_s=settings.command_timeout_s,
                    command_s=settings.command_timeout_s,
                    final_s=settings.data_timeout_s,
                ),
            ),
        )
        self._resolve_at_s = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def serving(self) -> bool:
        """Every process has its own."""
        return True

    def destination(self, address: str) -> str:
        """Everything waits in one queue."""
        del address
        return self.name

    async def start(self, links: Links) -> None:
        """Connections open when there is something to send."""
        del links

    def withdraw(self) -> None:
        """Whoever has not been greeted yet."""
        self._pool.withdraw()

    async def stop(self, drain_s: float) -> None:
        """Closes the kept connections."""
        async with asyncio.timeout(max(1.0, drain_s)):
            await self._pool.close()

    def deliver(self, work: Work) -> Awaitable[Sequence[Outcome]]:
        """One transaction for all recipients of the work."""
        loop = self._loop
        if loop is not None and loop.time() < self._resolve_at_s and self._rate.is_unlimited:
            content = self._signing.outgoing_now(work.message)
            if content is not None:
                attempt: asyncio.Future[Sequence[Outcome]] = loop.create_future()
                if begin(attempt, self._pool, self._destination, work, content, rest_s=_REST_S):
                    return attempt
        return self._deliver(work)

    async def _deliver(self, work: Work) -> Sequence[Outcome]:
        """The same, where something has to be waited for."""
        try:
            await self._resolve()
        except OSError as error:
            reply = f"{self._settings.host} does not resolve: {error.strerror}"
            return [Deferred(reply=reply, rest_s=_REST_S)] * len(work.deliveries)
        await self._rate.turn()
        content = await self._signing.outgoing(work.message)
        results = await self._pool.deliver(self._destination, envelope_of(work), content)
        return outcomes_of(results, rest_s=_REST_S)

    async def _resolve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        if loop.time() < self._resolve_at_s:
            return
        host, port = self._settings.host, self._settings.port
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        peers = tuple(Peer(host, str(address[0]), port) for *_, address in found)
        self._destination = replace(self._destination, peers=peers)
        self._resolve_at_s = loop.time() + _RESOLVE_EVERY_S


def _tls(settings: RelayUpstream) -> TlsPolicy:
    """ "required" and "implicit" verify the certificate; "opportunistic" takes any."""
    if settings.tls == "none":
        return TlsPolicy(mode=Tls.OFF)
    if settings.tls == "opportunistic":
        return TlsPolicy(mode=Tls.OPPORTUNISTIC)
    context = verifying(settings.ca_file)
    return TlsPolicy(mode=Tls.REQUIRED, implicit=settings.tls == "implicit", context=context)
