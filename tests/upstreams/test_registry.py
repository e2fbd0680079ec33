"""A kind of upstream is whole: configured, with a channel, built, and keeping what the port promises."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from bench.ports import free_port
from config.kinds import Secret
from config.sections.upstreams import (
    CHANNEL_OF,
    MxUpstream,
    RelayUpstream,
    SandboxMailUpstream,
    SandboxSmsUpstream,
    SmppUpstream,
    Upstream,
)
from gateway.domains.signers import Signers
from gateway.messages.model import Deferred, Delivered, Failed, Message, Submitted, Unknown, Work
from gateway.store.cache import Caches
from gateway.upstreams.registry import BUILDERS, Tools, build
from gateway.upstreams.signing import Signing
from tests.support.fakes import FakeUpstream
from tests.world import Rig, rig

KINDS = {one.__dataclass_fields__["type"].default: one for one in get_args(Upstream)}
LOCAL = "127.0.0.1"
NOBODY_THERE: dict[str, Callable[[int], Any]] = {
    "sandbox-mail": lambda _port: SandboxMailUpstream(),
    "relay": lambda port: RelayUpstream(host=LOCAL, port=port, tls="none"),
    "mx": lambda port: MxUpstream(nameservers=(LOCAL,), nameserver_port=port, dns_timeout_s=0.1),
    "sandbox-sms": lambda _port: SandboxSmsUpstream(),
    "smpp": lambda port: SmppUpstream(host=LOCAL, port=port, system_id="one", password=Secret("secret")),
}
"""Settings of each kind, for a port of this machine where nobody listens."""


@pytest.mark.parametrize("kind", sorted({*KINDS, *BUILDERS}))
def test_a_kind_of_upstream_is_whole(kind: str) -> None:
    assert kind in KINDS, f"config.sections.upstreams.Upstream lacks the settings of {kind}"
    assert kind in BUILDERS, f"gateway.upstreams.registry.BUILDERS lacks {kind}"
    assert CHANNEL_OF[kind] in ("mail", "sms"), f"the settings of {kind} lack their channel"
    assert kind in NOBODY_THERE, f"{kind} has no settings for the cases below"


class Listening:
    """What the road would be told."""

    def ready(self, destination: str) -> None:
        """Nothing waits."""

    def more(self, destination: str) -> None:
        """Nothing waits."""


def ignored(receipts: Sequence[object]) -> "asyncio.Future[list[str | None]]":
    """Takes receipts, of which there are none."""
    answered = asyncio.get_running_loop().create_future()
    answered.set_result([None] * len(receipts))
    return answered


def tools(one: Rig, kind: str) -> Tools:
    """What the registry builds with: one upstream of this kind."""
    return Tools(
        settings=replace(one.settings, upstream={"one": NOBODY_THERE[kind](free_port())}),
        store=one.store,
        clock=one.clock,
        signing=Signing(Signers(Caches(one.store)), one.clock),
        on_receipts=ignored,
        on_late=lambda *_: None,
        may_send=lambda: True,
    )


@pytest.mark.parametrize("kind", sorted(BUILDERS))
async def test_every_kind_keeps_what_the_port_promises(tmp_path: Path, kind: str) -> None:
    async with rig(tmp_path, [FakeUpstream("mail"), FakeUpstream("sms")]) as one:
        upstream = build(tools(one, kind))["one"]
        shape = one.mail if CHANNEL_OF[kind] == "mail" else one.sms
        recipients = ("a@b.example", "c@b.example") if upstream.recipients_per_work > 1 else ()
        message = await shape(*recipients)
        assert isinstance(message, Message)
        destination = upstream.destination(message.deliveries[0].address)
        work = Work(message=message, destination=destination, deliveries=message.deliveries)
        addresses = [delivery.address for delivery in work.deliveries]
        assert upstream.name == "one"
        assert upstream.concurrency >= 1
        assert {upstream.destination(address) for address in addresses} == {destination}
        async with asyncio.timeout(20):  # every wait of an upstream has an end
            await upstream.start(Listening())
            outcomes = await upstream.deliver(work)
            upstream.withdraw()
            await upstream.stop(1.0)
        assert len(outcomes) == len(addresses)
        assert {type(outcome) for outcome in outcomes} <= {Deferred, Delivered, Failed, Submitted, Unknown}
