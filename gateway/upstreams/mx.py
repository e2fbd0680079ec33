"""Delivery to the recipients' own mail exchangers (RFC 5321 section 5.1).

Each domain is a destination of its own: its queue, its connections, its rests. TLS is opportunistic and never
bounces for a certificate (RFC 7435).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from config.sections.upstreams import MxUpstream
from gateway.messages.model import Deferred, Failed, Outcome, Work
from gateway.messages.ports import Links
from gateway.upstreams.mail_outcomes import envelope_of, outcomes_of
from gateway.upstreams.rate import Rate
from gateway.upstreams.signing import Signing
from smtp.client import Tls
from smtp.codes import Permanent, Temporary
from smtp.options import MaySend, Options, Peer, Timeouts, always
from smtp.pool import ConnectionPool, Destination, Limits
from smtp.resolver import Resolver
from smtp.tls import TlsPolicy

_REST_S = 60.0  # a domain that cannot be reached; longer with every time in a row
_RATES_REMEMBERED = 10_000


class Mx:
    """An upstream on `smtp.resolver` and `smtp.pool`."""

    recipients_per_work = 100  # RFC 5321 section 4.5.3.1.8

    def __init__(
        self,
        name: str,
        settings: MxUpstream,
        *,
        helo: str,
        resolver: Resolver,
        signing: Signing,
        may_send: MaySend = always,
    ) -> None:
        self.name = name
        self.concurrency = settings.connections_per_destination
        self._settings = settings
        self._resolver = resolver
        self._signing = signing
        self._rates: OrderedDict[str, Rate] = OrderedDict()
        self._pool = ConnectionPool(
            Limits(
                per_destination=settings.connections_per_destination,
                total=settings.max_connections,
                messages_per_connection=settings.messages_per_connection,
                idle_s=settings.idle_s,
            )
        )
        self._options = Options(
            helo=settings.helo or helo,
            may_send=may_send,
            tls=TlsPolicy(mode=Tls.OPPORTUNISTIC if settings.tls == "opportunistic" else Tls.OFF),
            timeouts=Timeouts(
                connect_s=settings.connect_timeout_s,
                greeting_s=settings.command_timeout_s,
                command_s=settings.command_timeout_s,
                final_s=settings.data_timeout_s,
            ),
        )

    @property
    def serving(self) -> bool:
        """Every process has its own."""
        return True

    def destination(self, address: str) -> str:
        """A queue per domain."""
        return f"{self.name}/{address.rpartition('@')[2].lower()}"

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

    async def deliver(self, work: Work) -> Sequence[Outcome]:
        """One transaction with the best exchanger of the domain that answers."""
        domain = work.destination.partition("/")[2]
        count = len(work.deliveries)
        try:
            hosts = await self._resolver.resolve(domain)
        except Permanent as error:
            return [Failed(reply=error.reply.line())] * count
        except Temporary as error:
            return [Deferred(reply=error.reply.line(), rest_s=_REST_S)] * count
        peers = [
            Peer(host.name, address, self._settings.port) for host in hosts for address in host.addresses
        ]
        await self._rate(domain).turn()
        content = await self._signing.outgoing(work.message)
        destination = Destination(name=domain, peers=peers, options=self._options)
        results = await self._pool.deliver(destination, envelope_of(work), content)
        return outcomes_of(results, rest_s=_REST_S)

    def _rate(self, domain: str) -> Rate:
        rate = self._rates.get(domain)
        if rate is None:
            rate = self._rates[domain] = Rate(self._settings.rate_per_destination_per_s)
            if len(self._rates) > _RATES_REMEMBERED:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(domain)
        return rate
