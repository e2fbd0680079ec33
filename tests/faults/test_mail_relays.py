"""Mail servers that misbehave, beside one that does not: the good one keeps its pace (A5, A6)."""

import socket
import time
from dataclasses import replace
from pathlib import Path

from config.sections.limits import Limits
from config.sections.upstreams import MxUpstream, RelayUpstream
from tests.faults.world import World, settings_for, world
from tests.smtp.fake_mx import DROP, HANG, FakeMx, Script

_LONG_S = 60.0  # no test waits for this
_MEMORY = 60


def relay(mx: FakeMx, *, patience_s: float = _LONG_S) -> RelayUpstream:
    """The upstream for a fake server."""
    return RelayUpstream(
        host="127.0.0.1",
        port=mx.port,
        tls="none",
        max_connections=4,
        connect_timeout_s=patience_s,
        command_timeout_s=patience_s,
        data_timeout_s=patience_s,
    )


async def test_relays_that_never_answer_leave_the_others_their_pace_and_memory_its_bound(
    tmp_path: Path,
) -> None:
    greets_never = Script(replies={"GREETING": HANG})
    answers_no_mail = Script(replies={"MAIL": HANG})
    answers_no_dot = Script(replies={"CONTENT": HANG})
    async with (
        FakeMx.running() as good,
        FakeMx.running(greets_never) as one,
        FakeMx.running(answers_no_mail) as two,
        FakeMx.running(answers_no_dot) as three,
    ):
        settings = settings_for(
            mail={
                "one.example": relay(one),
                "two.example": relay(two),
                "three.example": relay(three),
                "*": relay(good),
            },
            limits=Limits(queue_memory_messages=_MEMORY),
        )
        async with world(tmp_path, settings) as here:
            alone_s = await _time_for(here, 100)
            stuck = []
            for _ in range(20):
                for name in ("one", "two", "three"):
                    stuck += await here.mail(f"b@{name}.example", count=5)
            beside_s = await _time_for(here, 100)
            assert len(good.transactions) == 200
            assert here.most_in_memory <= _MEMORY
            assert beside_s < 5 * alone_s + 1, f"{alone_s:.2f} s alone, {beside_s:.2f} s beside them"
            assert {(await here.view(one)).status for one in stuck} == {"queued"}
            assert [mx.most_open for mx in (one, two, three)] == [4, 4, 4]


async def _time_for(here: World, count: int) -> float:
    """Seconds until so many mails to the good server have arrived."""
    started_s = time.monotonic()
    await here.settled(await here.mail("b@good.example", count=count), within_s=30)
    return time.monotonic() - started_s


async def test_a_relay_that_never_greets_is_a_deferral_and_is_used_once_it_does(tmp_path: Path) -> None:
    async with (
        FakeMx.running(Script(replies={"GREETING": HANG})) as mx,
        world(tmp_path, settings_for(mail={"*": relay(mx, patience_s=0.3)})) as here,
    ):
        (message_id,) = await here.mail("b@example.net")
        await here.until_event(message_id, "message.deferred")
        assert mx.transactions == []

        mx.script = Script()
        here.road.dispatcher.wake("mail0")  # its rest of 15 s
        await here.settled([message_id])
        assert len(mx.transactions) == 1


async def test_a_relay_that_closes_after_the_dot_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    async with (
        FakeMx.running(Script(replies={"CONTENT": DROP})) as mx,
        world(tmp_path, settings_for(mail={"*": relay(mx)})) as here,
    ):
        (message_id,) = await here.mail("b@example.net")
        await here.until_event(message_id, "message.unknown")
        mx.script = Script()
        (view,) = await here.settled([message_id])
        assert view.status == "delivered"
        kinds = await here.events(message_id)
        # Each time the other side may have taken it: the one duplicate without a crash, and it is counted.
        assert len(mx.transactions) == kinds.count("message.unknown") + 1


async def test_a_full_sink_defers_until_the_lifetime_ends_and_delays_nobody_else(tmp_path: Path) -> None:
    full = Script(replies={"RCPT": "452 4.2.2 mailbox full", "DATA": "503 5.5.1 no valid recipients"})
    async with FakeMx.running() as good, FakeMx.running(full) as sink:
        settings = settings_for(mail={"full.example": relay(sink), "*": relay(good)})
        settings = replace(settings, mail=replace(settings.mail, lifetime_s=2))
        async with world(tmp_path, settings) as here:
            refused = await here.mail("b@full.example", count=20)
            passed = await here.mail("b@good.example", count=50)
            assert {view.status for view in await here.settled(passed)} == {"delivered"}
            for view in await here.settled(refused):
                assert view.status == "failed"
                kinds = await here.events(view.id)
                assert kinds.count("message.deferred") >= 2
                assert kinds[-1] == "message.failed"
            assert sink.transactions == []
            # The senders are told: 20 DSNs.
            await here.until(lambda: len(good.transactions) == 70)


async def test_a_recipient_that_is_always_451_is_deferred_alone(tmp_path: Path) -> None:
    """At a smarthost everything is one destination: it does not rest for one recipient's sake."""
    grey = Script(replies={"RCPT:bad@example.net": "451 4.3.0 try later"})
    async with FakeMx.running(grey) as smarthost:
        settings = settings_for(mail={"*": relay(smarthost)})
        async with world(tmp_path, settings) as here:
            bad = await here.mail("bad@example.net", count=20)
            (mixed,) = await here.mail("bad@example.net", "c@example.net")
            passed = await here.mail("b@example.net", count=200)
            assert {view.status for view in await here.settled(passed)} == {"delivered"}
            await here.until_event(bad[0], "message.deferred", times=2)
            assert not here.road.dispatcher.resting("mail0")
            statuses = {one.address: one.status for one in (await here.view(mixed)).recipients}
            assert statuses == {"bad@example.net": "queued", "c@example.net": "delivered"}


async def test_dns_that_never_answers_defers_mail_and_delays_nobody_else(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with FakeMx.running() as good:
            mx = MxUpstream(
                nameservers=("127.0.0.1",),
                nameserver_port=silent.getsockname()[1],
                dns_timeout_s=1.0,
                allow_private_targets=True,
            )
            settings = settings_for(mail={"good.example": relay(good), "*": mx})
            async with world(tmp_path, settings) as here:
                stuck = [
                    one for number in range(100) for one in await here.mail(f"b@domain-{number}.example")
                ]
                passed = await here.mail("b@good.example", count=50)
                await here.settled(passed)
                for message_id in (stuck[0], stuck[-1]):
                    await here.until_event(message_id, "message.deferred")
                assert {(await here.view(one)).status for one in stuck} == {"queued"}
