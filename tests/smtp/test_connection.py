"""Delivery over real sockets, against a server that misbehaves as told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from smtp.client import Credentials, Tls
from smtp.codes import Permanent, SmtpError, Temporary
from smtp.connection import Connection
from smtp.options import Options, Peer, Timeouts
from smtp.outcome import Envelope, Outcome, Recipient, Result, Stage
from smtp.tls import TlsPolicy, verifying
from tests.smtp.fake_mx import DROP, HANG, RESET, FakeMx, Script, self_signed

MESSAGE = b"From: a@example.org\r\nSubject: x\r\n\r\n.hello\r\n..\r\nbye\r\n"
FAST = Timeouts(
    connect_s=5, handshake_s=5, greeting_s=0.2, command_s=0.2, block_s=0.2, final_s=0.2, quit_s=0.2
)
PATIENT = Timeouts(connect_s=5, handshake_s=5, greeting_s=5, command_s=5, block_s=5, final_s=5, quit_s=1)
CLEAR = TlsPolicy(mode=Tls.OFF)


def envelope(*addresses: str) -> Envelope:
    recipients = [Recipient(address) for address in addresses or ("r@example.net",)]
    return Envelope(mail_from="s@example.org", recipients=recipients)


def options(tls: TlsPolicy = CLEAR, timeouts: Timeouts = PATIENT, **fields: object) -> Options:
    return Options(helo="gw.example", tls=tls, timeouts=timeouts, **fields)  # type: ignore[arg-type]  # keywords of the test's own choice


async def connect(mx: FakeMx, chosen: Options | None = None) -> Connection:
    return await Connection.open(Peer("localhost", "127.0.0.1", mx.port), chosen or options())


async def deliver(
    script: Script, *addresses: str, content: bytes = MESSAGE, chosen: Options | None = None
) -> list[Outcome]:
    async with asyncio.timeout(20), FakeMx.running(script) as mx:
        connection = await connect(mx, chosen)
        outcomes = await connection.deliver(envelope(*addresses), content)
        await connection.close()
        return outcomes


async def refused(script: Script, chosen: Options | None = None) -> SmtpError:
    async with asyncio.timeout(20), FakeMx.running(script) as mx:
        with pytest.raises(SmtpError) as caught:
            await connect(mx, chosen)
        return caught.value


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ("PIPELINING", "SIZE 1000000", "8BITMIME")])
async def test_message_arrives_as_it_was_and_the_connection_takes_more(extensions: tuple[str, ...]) -> None:
    async with FakeMx.running(Script(extensions=extensions)) as mx:
        connection = await connect(mx)
        for number in range(3):
            outcomes = await connection.deliver(envelope(f"{number}@x.example"), MESSAGE)
            assert [(o.recipient, o.result) for o in outcomes] == [(f"{number}@x.example", Result.DELIVERED)]
        await connection.close()
        assert [t.content for t in mx.transactions] == [MESSAGE] * 3
        assert [t.rcpts for t in mx.transactions] == [["0@x.example"], ["1@x.example"], ["2@x.example"]]
        assert mx.connections == 1
        assert mx.commands[-1] == "QUIT"
        assert "RSET" not in mx.commands


@pytest.mark.parametrize("tls", [False, True])
async def test_megabytes_arrive_as_they_were(tls: bool) -> None:
    content = b"X: y\r\n\r\n" + b".line with a dot in front\r\n" * 200_000
    script = Script(tls=self_signed().context if tls else None)
    async with FakeMx.running(script) as mx:
        connection = await connect(mx, options(TlsPolicy()))
        (outcome,) = await connection.deliver(envelope(), content)
        assert outcome.result is Result.DELIVERED
        assert mx.transactions[0].content == content
        assert connection.session.tls_active is tls
        await connection.close()


async def test_some_recipients_refused_does_not_stop_the_others() -> None:
    script = Script(
        {"RCPT:b@x.example": "550 5.1.1 no such user", "RCPT:c@x.example": "450 4.2.1 greylisted"}
    )
    outcomes = await deliver(script, "a@x.example", "b@x.example", "c@x.example")
    assert [(o.recipient, o.result, o.reply.enhanced) for o in outcomes] == [
        ("a@x.example", Result.DELIVERED, "2.0.0"),
        ("b@x.example", Result.FAILED, "5.1.1"),
        ("c@x.example", Result.DEFERRED, "4.2.1"),
    ]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
@pytest.mark.parametrize(
    ("verb", "stage"), [("MAIL", "mail"), ("RCPT", "rcpt"), ("DATA", "data"), ("CONTENT", "content")]
)
@pytest.mark.parametrize(
    ("reply", "result"),
    [("451 4.3.0 later", Result.DEFERRED), ("550 5.7.1 never", Result.FAILED), ("421 x", Result.DEFERRED)],
)
async def test_refusal_at_each_stage(
    extensions: tuple[str, ...], verb: str, stage: str, reply: str, result: Result
) -> None:
    (outcome,) = await deliver(Script({verb: reply}, extensions=extensions))
    assert (outcome.result, outcome.stage, outcome.reply.line()) == (result, stage, reply)


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("action", [DROP, RESET, HANG, "nonsense", "250-endless\r\n" * 300])
async def test_failure_before_the_final_dot_is_deferred(
    extensions: tuple[str, ...], verb: str, action: str
) -> None:
    chosen = options(timeouts=FAST if action == HANG else PATIENT)
    (outcome,) = await deliver(Script({verb: action}, extensions=extensions), chosen=chosen)
    assert outcome.result is Result.DEFERRED


@pytest.mark.parametrize("action", [DROP, RESET, HANG, "nonsense", "354 again"])
async def test_failure_after_the_final_dot_is_unknown(action: str) -> None:
    script = Script({"CONTENT": action, "RCPT:b@x.example": "550 no"})
    timeouts = FAST if action == HANG else PATIENT
    outcomes = await deliver(script, "a@x.example", "b@x.example", chosen=options(timeouts=timeouts))
    assert [outcome.result for outcome in outcomes] == [Result.UNKNOWN, Result.FAILED]


@pytest.mark.parametrize(
    ("action", "result"),
    [
        (DROP, Result.DEFERRED),
        (RESET, Result.DEFERRED),
        ("552 5.3.4 enough", Result.FAILED),
        ("421 x", Result.DEFERRED),
    ],
)
async def test_server_that_leaves_in_the_middle_of_the_content(action: str, result: Result) -> None:
    (outcome,) = await deliver(Script({"MIDWAY": action}), content=b"x" * 70 + b"\r\n" * 8_000_000)
    assert outcome.result is result


async def test_server_that_stops_reading_the_content_is_given_up_and_deferred() -> None:
    script = Script(reads_content=False)
    (outcome,) = await deliver(script, content=b"\r\n" * 8_000_000, chosen=options(timeouts=FAST))
    assert outcome.result is Result.DEFERRED
    assert "CONTENT" in outcome.reply.text


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script({"GREETING": "554 5.7.1 go away"}), Permanent),
        (Script({"GREETING": "421 4.3.2 busy"}), Temporary),
        (Script({"GREETING": HANG}), Temporary),
        (Script({"GREETING": DROP}), Temporary),
        (Script({"GREETING": "SSH-2.0-x"}), Temporary),
        (Script({"GREETING": "220 " + "x" * 5000}), Temporary),
        (Script({"EHLO": "450 4.3.0 x"}), Temporary),
        (Script({"EHLO": HANG}), Temporary),
        (Script({"EHLO": "500 x", "HELO": "550 x"}), Permanent),
    ],
)
async def test_server_that_does_not_come_to_ready(script: Script, kind: type[SmtpError]) -> None:
    assert isinstance(await refused(script, options(timeouts=FAST)), kind)


async def test_slow_banner_is_waited_for() -> None:
    async with FakeMx.running(Script(greets_when_released=True)) as mx:
        opening = asyncio.create_task(connect(mx))
        await mx.until(lambda mx: mx.connections == 1)
        assert not opening.done()
        mx.release.set()
        connection = await opening
        assert connection.is_ready
        await connection.close()


async def test_cancelled_opening_drops_the_connection() -> None:
    async with FakeMx.running(Script(greets_when_released=True)) as mx:
        opening = asyncio.create_task(connect(mx))
        await mx.until(lambda mx: mx.connections == 1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        mx.release.set()
        await mx.until(lambda mx: mx.open_connections == 0)


async def test_nobody_listening_is_temporary() -> None:
    async with FakeMx.running() as mx:
        port = mx.port
    with pytest.raises(Temporary, match=r"4\.4\.1"):
        await Connection.open(Peer("gone.example", "127.0.0.1", port), options())


async def test_source_address_is_the_one_asked_for() -> None:
    async with FakeMx.running() as mx:
        connection = await connect(mx, options(source_address="127.0.0.7"))
        await connection.close()
        assert mx.peers == ["127.0.0.7"]


# TLS


async def test_opportunistic_tls_takes_a_self_signed_certificate() -> None:
    async with FakeMx.running(Script(tls=self_signed().context)) as mx:
        connection = await connect(mx, options(TlsPolicy()))
        (outcome,) = await connection.deliver(envelope(), MESSAGE)
        assert connection.session.tls_active
        assert outcome.result is Result.DELIVERED
        assert mx.commands[:3] == ["EHLO gw.example", "STARTTLS", "EHLO gw.example"]
        await connection.close()


async def test_failed_handshake_is_followed_by_one_attempt_in_clear() -> None:
    async with FakeMx.running(Script(tls_breaks=True)) as mx:
        connection = await connect(mx, options(TlsPolicy()))
        (outcome,) = await connection.deliver(envelope(), MESSAGE)
        assert outcome.result is Result.DELIVERED
        assert not connection.session.tls_active
        assert mx.connections == 2
        await connection.close()


async def test_server_that_leaves_right_after_the_handshake_gets_one_attempt_in_clear() -> None:
    async with FakeMx.running(Script(tls=self_signed().context)) as mx:
        hellos = 0

        class DropsSecondHello(dict[str, str]):
            def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]  # all that is asked of it
                nonlocal hellos
                hellos += key == "EHLO"
                return DROP if key == "EHLO" and hellos == 2 else default

        mx.script.replies = DropsSecondHello()
        connection = await connect(mx, options(TlsPolicy()))
        assert not connection.session.tls_active
        assert mx.connections == 2
        await connection.close()


async def test_required_tls_never_falls_back() -> None:
    for script in (Script(tls_breaks=True), Script()):
        error = await refused(script, options(TlsPolicy(mode=Tls.REQUIRED)))
        assert isinstance(error, Temporary)


async def test_verified_tls_takes_the_right_certificate_and_no_other(tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    cafile.write_text(self_signed().pem)
    trusting = TlsPolicy(mode=Tls.REQUIRED, context=verifying(cafile))
    script = Script(tls=self_signed().context)
    (outcome,) = await deliver(script, chosen=options(trusting))
    assert outcome.result is Result.DELIVERED
    error = await refused(script, options(TlsPolicy(mode=Tls.REQUIRED, context=verifying())))
    assert "CERTIFICATE_VERIFY_FAILED" in error.reply.text
    async with FakeMx.running(script) as mx:
        with pytest.raises(Temporary, match="CERTIFICATE_VERIFY_FAILED"):
            await Connection.open(Peer("other.example", "127.0.0.1", mx.port), options(trusting))
        assert mx.connections == 1


async def test_implicit_tls_greets_under_tls() -> None:
    script = Script(tls=self_signed().context, implicit_tls=True)
    async with FakeMx.running(script) as mx:
        connection = await connect(mx, options(TlsPolicy(implicit=True)))
        (outcome,) = await connection.deliver(envelope(), MESSAGE)
        assert outcome.result is Result.DELIVERED
        assert "STARTTLS" not in mx.commands
        await connection.close()
    with pytest.raises(Temporary):
        async with FakeMx.running() as mx:
            await connect(mx, options(TlsPolicy(implicit=True)))


async def test_auth_is_done_and_its_refusal_told() -> None:
    user = Credentials(user="u", password="p")
    script = Script({"AUTH": "235 2.7.0 ok"}, extensions=("AUTH PLAIN", "PIPELINING"))
    (outcome,) = await deliver(script, chosen=options(credentials=user))
    assert outcome.result is Result.DELIVERED
    script = Script({"AUTH": "535 5.7.8 no"}, extensions=("AUTH PLAIN", "PIPELINING"))
    error = await refused(script, options(credentials=user))
    assert error.reply.code == 535


# Ends


async def test_content_with_a_bare_line_end_never_leaves() -> None:
    async with FakeMx.running() as mx:
        connection = await connect(mx)
        for content in (b"a\n.\nMAIL FROM:<x>\r\n", b"a\r.\r\r\n"):
            (outcome,) = await connection.deliver(envelope(), content)
            assert (outcome.result, outcome.reply.enhanced) == (Result.FAILED, "5.6.0")
        await connection.close()
        assert mx.transactions == []


async def test_delivery_on_a_closed_connection_is_deferred() -> None:
    async with FakeMx.running(Script(messages_per_connection=1)) as mx:
        connection = await connect(mx)
        await connection.deliver(envelope(), MESSAGE)
        await mx.until(lambda mx: mx.open_connections == 0)
        await connection.close()
        (outcome,) = await connection.deliver(envelope(), MESSAGE)
        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.CONNECT)


async def test_cancelled_delivery_drops_the_connection() -> None:
    async with FakeMx.running(Script({"CONTENT": HANG})) as mx:
        connection = await connect(mx)
        task = asyncio.create_task(connection.deliver(envelope(), MESSAGE))
        async with asyncio.timeout(5):
            await mx.content_read.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.is_ready
        await connection.close()


async def test_close_does_not_wait_for_a_server_that_ignores_quit() -> None:
    async with FakeMx.running(Script({"QUIT": HANG})) as mx:
        connection = await connect(mx, options(timeouts=FAST))
        async with asyncio.timeout(5):
            await connection.close()
        assert connection.is_closed or not connection.is_ready


def test_timeouts_are_those_of_rfc_5321() -> None:
    timeouts = Timeouts()
    assert (timeouts.greeting_s, timeouts.command_s, timeouts.block_s, timeouts.final_s) == (
        300,
        300,
        180,
        600,
    )


def test_contexts_differ_in_what_they_check() -> None:
    assert verifying().verify_mode is ssl.CERT_REQUIRED
    assert TlsPolicy().falls_back
    assert not TlsPolicy(context=verifying()).falls_back


SCENARIOS: list[Callable[[], Coroutine[Any, Any, None]]] = [
    lambda: test_message_arrives_as_it_was_and_the_connection_takes_more(("PIPELINING",)),
    lambda: test_megabytes_arrive_as_they_were(False),
    lambda: test_megabytes_arrive_as_they_were(True),
    lambda: test_failure_before_the_final_dot_is_deferred(("PIPELINING",), "RCPT", RESET),
    lambda: test_failure_after_the_final_dot_is_unknown(RESET),
    lambda: test_failure_after_the_final_dot_is_unknown(HANG),
    lambda: test_server_that_leaves_in_the_middle_of_the_content(RESET, Result.DEFERRED),
    lambda: test_server_that_leaves_in_the_middle_of_the_content("552 5.3.4 enough", Result.FAILED),
    test_server_that_stops_reading_the_content_is_given_up_and_deferred,
    test_cancelled_opening_drops_the_connection,
    test_cancelled_delivery_drops_the_connection,
    test_failed_handshake_is_followed_by_one_attempt_in_clear,
    test_server_that_leaves_right_after_the_handshake_gets_one_attempt_in_clear,
    test_required_tls_never_falls_back,
    test_implicit_tls_greets_under_tls,
    test_nobody_listening_is_temporary,
    test_source_address_is_the_one_asked_for,
    test_close_does_not_wait_for_a_server_that_ignores_quit,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=range(len(SCENARIOS)))
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The daemon's loop is uvloop, whose transports and TLS are its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("lines", [1, 20_000])
async def test_a_message_that_is_no_longer_ours_is_not_ended_and_so_not_taken(lines: int) -> None:
    """`may_send` says no when the server is ready for the content: the dot stays here (RFC 5321, 4.1.1.4)."""
    content = MESSAGE + b"and one more line\r\n" * lines
    asked = []

    def no() -> bool:
        asked.append(True)
        return False

    async with asyncio.timeout(20), FakeMx.running(Script({"RCPT:b@x.example": "550 5.1.1 none"})) as mx:
        connection = await connect(mx, options(may_send=no))
        outcomes = await connection.deliver(envelope("a@x.example", "b@x.example"), content)
        assert [(one.result, one.stage) for one in outcomes] == [
            (Result.DEFERRED, Stage.WITHHELD),
            (Result.FAILED, Stage.RCPT),
        ]
        assert asked == [True]
        assert not connection.is_ready
        await connection.close()
        assert mx.transactions == []
