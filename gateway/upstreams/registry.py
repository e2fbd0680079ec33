"""The upstreams by the `type` of their configuration: a new kind is a module and a line here."""

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config.schema import Settings
from config.sections.upstreams import (
    MxUpstream,
    RelayUpstream,
    SandboxMailUpstream,
    SandboxSmsUpstream,
    SmppUpstream,
)
from gateway.clock import Clock
from gateway.messages.ports import Upstream, Upstreams
from gateway.store.store import Store
from gateway.upstreams.binds import Leases
from gateway.upstreams.mx import Mx
from gateway.upstreams.rate import Rate
from gateway.upstreams.relay import Relay
from gateway.upstreams.sandbox.mail import SandboxMail
from gateway.upstreams.sandbox.sms import SandboxSms
from gateway.upstreams.signing import Signing
from gateway.upstreams.smpp_operator import OnLate, OnReceipts, SmppOperator
from smtp.dns_client import DnsPython
from smtp.resolver import Resolver, is_public


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What upstreams are made with."""

    settings: Settings
    store: Store
    clock: Clock
    signing: Signing
    on_receipts: OnReceipts
    on_late: OnLate
    may_send: Callable[[], bool]
    """Whether this process's lease on what it holds is good: asked before anything leaves for good."""
    leases: Leases | None = None


def build(tools: Tools) -> Upstreams:
    """Every configured upstream, by name, not yet started."""
    return Upstreams({name: _build_one(name, one, tools) for name, one in tools.settings.upstream.items()})


def _build_one(name: str, settings: Any, tools: Tools) -> Upstream:
    return BUILDERS[settings.type](name, settings, tools)


def _sandbox_mail(name: str, settings: SandboxMailUpstream, tools: Tools) -> Upstream:
    return SandboxMail(name, settings, store=tools.store, signing=tools.signing, clock=tools.clock)


def _relay(name: str, settings: RelayUpstream, tools: Tools) -> Upstream:
    helo = tools.settings.server.name
    return Relay(
        name,
        settings,
        helo=helo,
        signing=tools.signing,
        rate=Rate(settings.rate_per_s),
        may_send=tools.may_send,
    )


def _mx(name: str, settings: MxUpstream, tools: Tools) -> Upstream:
    dns = DnsPython(settings.nameservers, port=settings.nameserver_port, timeout_s=settings.dns_timeout_s)
    resolver = Resolver(
        dns,
        rng=random.Random(),  # noqa: S311 - spreads load over equal exchangers, guards no secret
        clock=tools.clock.monotonic_s,
        own_names=(tools.settings.server.name,),
        is_allowed=_any_address if settings.allow_private_targets else is_public,
    )
    helo = tools.settings.server.name
    return Mx(name, settings, helo=helo, resolver=resolver, signing=tools.signing, may_send=tools.may_send)


def _sandbox_sms(name: str, settings: SandboxSmsUpstream, tools: Tools) -> Upstream:
    return SandboxSms(
        name,
        settings,
        clock=tools.clock,
        on_receipts=tools.on_receipts,
        on_late=tools.on_late,
        may_send=tools.may_send,
    )


def _smpp(name: str, settings: SmppUpstream, tools: Tools) -> Upstream:
    tls = None
    if settings.tls:
        tls = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
    return SmppOperator(
        name,
        settings,
        clock=tools.clock,
        on_receipts=tools.on_receipts,
        on_late=tools.on_late,
        leases=tools.leases,
        may_send=tools.may_send,
        tls=tls,
    )


def _any_address(_address: str) -> bool:
    return True


BUILDERS: dict[str, Callable[[str, Any, Tools], Upstream]] = {
    "sandbox-mail": _sandbox_mail,
    "relay": _relay,
    "mx": _mx,
    "sandbox-sms": _sandbox_sms,
    "smpp": _smpp,
}
