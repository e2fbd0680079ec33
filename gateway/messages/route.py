"""Routing: which upstream takes a recipient, in which queue it waits, and what it costs (R12)."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import cast

import msgspec

from config.sections.messages import MailRoute, SmsRoute
from gateway.messages.model import Channel
from gateway.messages.ports import SmsUpstream, Upstream

_REMEMBERED = 20_000


class Route(msgspec.Struct, frozen=True):
    """Where one recipient goes. `price_credits` is per mail recipient or per SMS segment."""

    upstream: str
    destination: str
    price_credits: int


class Router:
    """The configured routes over the upstreams that run."""

    def __init__(
        self,
        *,
        mail: Sequence[MailRoute],
        mail_price_credits: int,
        sms: Sequence[SmsRoute],
        upstreams: Mapping[str, Upstream],
    ) -> None:
        self._mail = tuple((route.match.lower(), route.upstream) for route in mail)
        self._mail_price_credits = mail_price_credits
        # The longest prefix that fits wins, whatever the order in the file.
        self._sms = tuple(
            sorted(((route.match.rstrip("*"), route) for route in sms), key=lambda pair: -len(pair[0]))
        )
        self._upstreams = upstreams
        self._mail_upstream = lru_cache(_REMEMBERED)(self._match_mail)

    def mail(self, address: str) -> Route | None:
        """The route of a mail address `local@domain`; None when no route fits its domain."""
        name = self._mail_upstream(address.rpartition("@")[2].lower())
        if name is None:
            return None
        return Route(name, self._upstreams[name].destination(address), self._mail_price_credits)

    def sms(self, number: str) -> Route | None:
        """The route of a number in E.164 with its plus; None when no route fits."""
        for prefix, route in self._sms:
            if number.startswith(prefix):
                destination = self._upstreams[route.upstream].destination(number)
                return Route(route.upstream, destination, route.price_credits)
        return None

    def route(self, channel: Channel, address: str) -> Route | None:
        """The route of an address of either channel."""
        return self.mail(address) if channel is Channel.MAIL else self.sms(address)

    def sms_upstream(self, name: str) -> SmsUpstream:
        """The SMS upstream of this name (the configuration saw to it that SMS routes lead to no other)."""
        return cast(SmsUpstream, self._upstreams[name])

    def upstream_of(self, destination: str) -> Upstream | None:
        """The upstream that serves a queue, None when it is configured no more."""
        return self._upstreams.get(destination.partition("/")[0])

    def _match_mail(self, domain: str) -> str | None:
        for pattern, name in self._mail:
            if fnmatchcase(domain, pattern):
                return name
        return None
