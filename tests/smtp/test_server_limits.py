"""Limits, deadlines, drain, and an application that fails or takes its time."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.doors.door import handshake_room
from gateway.peers import Networks
from smtp.address import Mailbox
from smtp.codes import Permanent, Reply, Temporary
from smtp.server import Envelope, Identity, Recipient, SmtpServer
from smtp.server_connection import Connection
from tests.doors.support import Refusals, make_door
from tests.doors.test_proxy_header import IPV4
from tests.smtp.submission_support import (
    PATIENCE_S,
    PLAIN,
    FakeApplication,
    Running,
    Wire,
    make_config,
    running,
    trusting_context,
    until,
)

MESSAGE = b"Subject: x\r\n\r\nbody\r\n.\r\n"
TRANSACTION = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n"


def connection_of(server: Running) -> Connection:
    (connection,) = server.server._state.connections
    assert isinstance(connection, Connection)
    return connection


# Connections


async def test_a_door_full_of_clients_that_have_logged_in_answers_421() -> None:
    async with running(door=make_door(most=2)) as server:
        names = iter(("one", "two"))
        server.application.on_authenticate = lambda *_: Identity(name=next(names))
        async with server.logged_in() as first, server.logged_in():
            async with server.client() as third:
                code, text = await third.reply()
                assert (code, text[:5]) == (421, "4.3.2")
                assert await third.closed()
            assert (await first.ask(b"QUIT\r\n"))[0] == 221
            await until(lambda: server.server.connection_count == 1)
            async with server.client() as fourth:
                assert (await fourth.reply())[0] == 220


async def test_at_the_limit_of_a_peer_the_oldest_that_has_not_logged_in_makes_room() -> None:
    refusals = Refusals()
    async with (
        running(door=make_door(per_peer=2, observer=refusals)) as server,
        server.logged_in() as member,
        server.client() as oldest,
        server.client() as second,
    ):
        assert (await oldest.reply())[0] == (await second.reply())[0] == 220
        async with server.logged_in():
            code, text = await oldest.reply()
            assert (code, text[:5]) == (421, "4.7.0")
            assert await oldest.closed()
            assert (await second.ask(b"NOOP\r\n"))[0] == (await member.ask(b"NOOP\r\n"))[0] == 250
        assert refusals.seen == [("smtp", "peer_limit")]


async def test_a_trusted_network_needs_no_login_to_keep_its_place() -> None:
    door = make_door(per_peer=1, known=lambda peer: "shop" if peer == "127.0.0.1" else None)
    async with running(door=door) as server, server.client() as first, server.client() as second:
        assert (await first.reply())[0] == (await second.reply())[0] == 220
        assert (await first.ask(b"NOOP\r\n"))[0] == 250


async def test_a_handshake_after_starttls_is_cut_off_where_too_many_are_under_way() -> None:
    refusals = Refusals()
    door = make_door(handshakes=handshake_room(1), observer=refusals)
    async with running(door=door) as server, server.client() as half, server.client() as good:
        for wire in (half, good):
            await wire.reply()
            assert await wire.codes(b"EHLO x\r\nSTARTTLS\r\n", 2) == [250, 220]
        assert await half.closed()
        await good.start_tls()
        assert (await good.ask(b"EHLO x\r\n"))[0] == 250
        assert refusals.seen == [("smtp", "tls_handshakes")]
        await until(lambda: server.server.connection_count == 1)


@pytest.mark.parametrize("implicit_tls", [False, True])
async def test_the_peer_of_a_session_is_whom_the_proxy_names(implicit_tls: bool) -> None:
    door = make_door(proxies=Networks(["127.0.0.0/8"]), proxy_protocol=True)
    async with running(door=door) as server:
        port = server.tls_port if implicit_tls else server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(IPV4)
        if implicit_tls:
            await writer.start_tls(trusting_context())
        wire = Wire(reader, writer)
        assert (await wire.reply())[0] == 220
        wire.send(b"EHLO x\r\nAUTH PLAIN " + PLAIN.encode() + b"\r\n")
        assert (await wire.reply())[0] == 250
        assert (await wire.reply())[0] == (235 if implicit_tls else 538)  # in clear from loopback alone
        if implicit_tls:
            (session,) = server.application.sessions
            assert (session.peer_host, session.peer_port) == ("198.51.100.7", 4711)
        writer.transport.abort()


async def test_taken_port_is_an_oserror() -> None:
    async with running() as server:
        other = SmtpServer(make_config(), FakeApplication(), make_door())
        with pytest.raises(OSError, match="in use"):
            await other.start("127.0.0.1", server.port)
        await other.stop(0)


async def test_implicit_tls_without_a_certificate_is_refused_at_the_start() -> None:
    server = SmtpServer(make_config(tls_context=None), FakeApplication(), make_door())
    with pytest.raises(ValueError, match="TLS context"):
        await server.start("127.0.0.1", 0, implicit_tls=True)


# Deadlines


async def test_idle_client_is_answered_421_and_closed() -> None:
    async with running(idle_timeout_s=0.05) as server, server.client() as wire:
        assert (await wire.reply())[0] == 220
        code, text = await wire.reply()
        assert (code, text[:5]) == (421, "4.4.2")
        assert await wire.closed()
        await until(lambda: server.server.connection_count == 0)


async def test_half_a_command_earns_no_more_time() -> None:
    async with running() as server, server.client() as wire:
        assert (await wire.reply())[0] == 220
        connection = connection_of(server)
        before = connection.deadline
        wire.send(b"NO")
        await until(lambda: len(connection._input) == 2)
        assert connection.deadline == before
        assert (await wire.ask(b"OP\r\n"))[0] == 250
        assert connection.deadline > before


async def test_client_dawdling_in_data_is_closed() -> None:
    async with running(data_timeout_s=0.05) as server, server.logged_in() as wire:
        await wire.open_data()
        wire.send(b"x")
        assert (await wire.reply())[0] == 421
        await until(lambda: server.server.inflight_octets == 0)


async def test_no_deadline_runs_while_the_application_is_asked() -> None:
    deadlines: list[float] = []

    async def submit(_: Envelope) -> Reply:
        deadlines.append(connection_of(server).deadline)
        return Reply(250, "2.0.0", "Queued")

    def check(*_: object) -> Reply | None:
        deadlines.append(connection_of(server).deadline)
        return None

    async with running() as server, server.logged_in() as wire:
        server.application.on_sender = server.application.on_recipient = check
        server.application.on_submit = submit
        await wire.open_data()
        assert (await wire.ask(MESSAGE))[0] == 250
        assert deadlines == [float("inf")] * 3
        await until(lambda: connection_of(server).deadline < float("inf"))


# Memory


async def test_messages_in_flight_over_the_budget_are_deferred() -> None:  # A6
    async with running(max_inflight_octets=50_000) as server, server.logged_in() as first:
        await first.open_data()
        first.send(b"x" * 49_000)
        await until(lambda: server.server.inflight_octets >= 49_000)
        async with server.logged_in() as second:
            await second.open_data()
            code, text = await second.ask(b"y" * 5_000 + b"\r\n.\r\n")
            assert (code, text[:5]) == (452, "4.3.1")
            assert (await second.ask(b"NOOP\r\n"))[0] == 250
        assert (await first.ask(b"\r\n.\r\n"))[0] == 250
        await until(lambda: server.server.inflight_octets == 0)
        async with server.logged_in() as third:
            await third.open_data()
            assert (await third.ask(b"y" * 5_000 + b"\r\n.\r\n"))[0] == 250


async def test_full_budget_defers_before_the_354() -> None:
    async with running(max_inflight_octets=10_000) as server, server.logged_in() as first:
        await first.open_data()
        first.send(b"x" * 10_000)
        await until(lambda: server.server.inflight_octets == 10_000)
        async with server.logged_in() as second:
            assert await second.codes(TRANSACTION, 3) == [250, 250, 452]


async def test_octets_count_until_the_application_has_answered() -> None:
    release = asyncio.Event()

    async def submit(_: Envelope) -> Reply:
        await release.wait()
        return Reply(250, "2.0.0", "Queued")

    async with running() as server, server.logged_in() as wire:
        server.application.on_submit = submit
        await wire.open_data()
        wire.send(b"x" * 1000 + b"\r\n.\r\n")
        await until(lambda: server.server.inflight_octets > 1000)
        release.set()
        assert (await wire.reply())[0] == 250
        await until(lambda: server.server.inflight_octets == 0)


async def test_client_that_reads_no_replies_is_stopped_and_others_go_on() -> None:
    async with running(max_errors=10**9) as server, server.client() as deaf:
        await until(lambda: server.server.connection_count == 1)
        connection = connection_of(server)
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket can read as well
        async with asyncio.timeout(PATIENCE_S):
            while connection._writable:
                deaf.send(b"HELP\r\n" * 10_000)
                await asyncio.sleep(0)
        assert sum(map(len, connection.session.out)) < 100_000
        async with server.client() as other:
            assert (await other.reply())[0] == 220
            assert (await other.ask(b"NOOP\r\n"))[0] == 250


async def test_flood_of_pipelined_commands_does_not_hold_up_others() -> None:
    async with running() as server, server.client() as busy, server.client() as other:
        await busy.reply()
        await other.reply()
        busy.send(b"NOOP\r\n" * 8_000)
        assert (await other.ask(b"NOOP\r\n"))[0] == 250
        assert await busy.codes(b"", 8_000) == [250] * 8_000


# Replies


async def test_replies_to_pipelined_commands_leave_in_one_write() -> None:
    async with running() as server, server.logged_in() as wire:
        transport = connection_of(server).transport
        assert transport is not None
        writes: list[bytes] = []
        write = transport.write

        def counted(data: bytes | bytearray | memoryview) -> None:
            writes.append(bytes(data))
            write(data)

        transport.write = counted  # type: ignore[method-assign]  # watching the wire
        assert await wire.codes(TRANSACTION, 3) == [250, 250, 354]
        assert len(writes) == 1
        assert (await wire.ask(MESSAGE))[0] == 250
        assert len(writes) == 2
        assert await wire.codes(b"NOOP\r\n" * 50, 50) == [250] * 50
        assert len(writes) == 3


# The application


async def test_envelope_says_what_the_client_said() -> None:
    async with running() as server, server.logged_in() as wire:
        commands = (
            b"MAIL FROM:<a@A.example> BODY=8BITMIME RET=FULL ENVID=id+2B1 SIZE=20\r\n"
            b"RCPT TO:<b@b.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;B@b.example\r\n"
            b"RCPT TO:<c@b.example>\r\nDATA\r\n"
        )
        assert await wire.codes(commands, 4) == [250, 250, 250, 354]
        assert (await wire.ask("Subject: ü\r\n\r\n.\r\n".encode()))[0] == 250
        (envelope,) = server.application.messages
        assert envelope == Envelope(
            mail_from=Mailbox("a", "a.example"),
            rcpt_tos=(
                Recipient(
                    mailbox=Mailbox("b", "b.example"), notify=("FAILURE", "DELAY"), orcpt="rfc822;B@b.example"
                ),
                Recipient(mailbox=Mailbox("c", "b.example")),
            ),
            content="Subject: ü\r\n\r\n".encode(),
            body_8bit=True,
            ret="FULL",
            envid="id+1",
        )
        sender, size, params = server.application.senders[0]
        assert (sender, size, params.body_8bit) == (Mailbox("a", "a.example"), 20, True)


async def test_undeclared_8bit_content_is_noticed() -> None:
    async with running() as server, server.logged_in() as wire:
        await wire.open_data()
        assert (await wire.ask(b"\xfc\r\n.\r\n"))[0] == 250
        assert server.application.messages[0].body_8bit


async def test_application_refuses_sender_recipient_and_message() -> None:
    async def submit(_: Envelope) -> Reply:
        return Reply(452, "4.2.2", "Not enough credits")

    async with running() as server, server.logged_in() as wire:
        application = server.application
        application.on_sender = lambda _: Reply(550, "5.7.1", "Not your domain")
        assert await wire.ask(b"MAIL FROM:<a@a.example>\r\n") == (550, "5.7.1 Not your domain")
        application.on_sender = None
        application.on_recipient = lambda _, count: Reply(452, "4.2.2", "No credits") if count else None
        application.on_submit = submit
        assert (await wire.ask(b"MAIL FROM:<a@a.example>\r\n"))[0] == 250
        assert (await wire.ask(b"RCPT TO:<b@b.example>\r\n"))[0] == 250
        assert await wire.ask(b"RCPT TO:<c@b.example>\r\n") == (452, "4.2.2 No credits")
        assert (await wire.ask(b"DATA\r\n"))[0] == 354
        assert await wire.ask(MESSAGE) == (452, "4.2.2 Not enough credits")
        assert await wire.ask(b"RCPT TO:<b@b.example>\r\n") == (503, "5.5.1 Send MAIL FROM first")


async def test_refusals_of_the_application_are_no_protocol_errors() -> None:
    async with running(max_errors=3) as server, server.logged_in() as wire:
        server.application.on_recipient = lambda *_: Reply(550, "5.1.1", "Suppressed")
        await wire.ask(b"MAIL FROM:<a@a.example>\r\n")
        assert await wire.codes(b"RCPT TO:<b@b.example>\r\n" * 10, 10) == [550] * 10


async def test_421_of_the_application_closes() -> None:
    async with running() as server, server.logged_in() as wire:
        server.application.on_sender = lambda _: Reply(421, "4.7.0", "Slow down")
        assert (await wire.ask(b"MAIL FROM:<a@a.example>\r\n"))[0] == 421
        assert await wire.closed()


@pytest.mark.parametrize(
    ("raised", "answer"),
    [
        (RuntimeError("secret path /var/db"), (451, "4.3.0 Local error, try again later")),
        (KeyError("account 42"), (451, "4.3.0 Local error, try again later")),
        (Temporary("Store is busy", {"store": "sqlite"}), (451, "4.3.0 Store is busy")),
        (Permanent(Reply(554, "5.7.1", "Content refused")), (554, "5.7.1 Content refused")),
        (ConnectionError("database went away"), (451, "4.3.0 Local error, try again later")),
        (TimeoutError(), (451, "4.3.0 Local error, try again later")),
    ],
)
async def test_what_the_application_raises_becomes_a_reply_without_details(
    raised: Exception, answer: tuple[int, str]
) -> None:
    async def submit(_: Envelope) -> Reply:
        raise raised

    def check(*_: object) -> Reply | None:
        raise raised

    async with running() as server, server.logged_in() as wire:
        server.application.on_submit = submit
        await wire.open_data()
        with capture_logs() as logs:
            assert await wire.ask(MESSAGE) == answer
        events = {(entry["event"], entry["about"]) for entry in logs}
        assert events <= {("smtp_application_failed", "submit"), ("smtp_application_refused", "submit")}
        assert len(events) == 1
        with capture_logs():
            server.application.on_sender = check
            assert await wire.ask(b"MAIL FROM:<a@a.example>\r\n") == answer
            server.application.on_sender = None
            server.application.on_recipient = check
            assert (await wire.ask(b"MAIL FROM:<a@a.example>\r\n"))[0] == 250
            assert await wire.ask(b"RCPT TO:<b@b.example>\r\n") == answer
        assert (await wire.ask(b"NOOP\r\n"))[0] == 250


async def test_application_failing_in_a_login_is_temporary_and_not_a_wrong_password() -> None:
    def fail(*_: str) -> Reply:
        raise RuntimeError("no store")

    async with running() as server, server.client() as wire:
        server.application.on_authenticate = fail
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        with capture_logs():
            assert (await wire.ask(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"))[0] == 451
        assert server.delays.asked == []


async def test_slow_submission_holds_up_no_other_session() -> None:
    release = asyncio.Event()

    async def submit(envelope: Envelope) -> Reply:
        if envelope.content.startswith(b"slow"):
            await release.wait()
        return Reply(250, "2.0.0", "Queued")

    async with running() as server, server.logged_in() as slow, server.logged_in() as quick:
        server.application.on_submit = submit
        await slow.open_data()
        slow.send(b"slow\r\n.\r\n")
        for _ in range(3):
            await quick.open_data()
            assert (await quick.ask(MESSAGE))[0] == 250
        release.set()
        assert (await slow.reply())[0] == 250


async def test_a_large_message_is_cleaned_in_turns_with_the_others_and_keeps_its_recipients() -> None:
    async with running(size_limit_octets=3_000_000) as server, server.logged_in() as large:
        connection = connection_of(server)
        await large.open_data()
        large.send(b"a\n" * 500_000 + b"\r\n.\r\n")
        await until(lambda: connection.running is not None)
        large.writer.transport.abort()
        turns = 0
        while not server.application.messages:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 3
        (envelope,) = server.application.messages
        assert envelope.content == b"a\r\n" * 500_000 + b"\r\n"
        assert [str(one.mailbox) for one in envelope.rcpt_tos] == ["b@b.example"]


async def test_a_large_message_that_is_refused_is_told_so_as_a_small_one() -> None:
    settings = {"size_limit_octets": 1_000_000, "line_endings": "refuse"}
    async with running(**settings) as server, server.logged_in() as one:
        for content, code in ((b"a\n" * 200_000, 550), (b"a\r\n" * 200_000, 250)):
            await one.open_data()
            assert (await one.ask(content + b"\r\n.\r\n"))[0] == code


# Drain


async def test_drain_says_421_to_the_idle_and_lets_the_rest_finish() -> None:
    release = asyncio.Event()

    async def submit(_: Envelope) -> Reply:
        await release.wait()
        return Reply(250, "2.0.0", "Queued")

    async with (
        running() as server,
        server.client() as idle,
        server.logged_in() as busy,
        server.logged_in() as data,
    ):
        server.application.on_submit = submit
        await idle.reply()
        assert (await idle.ask(b"NOOP\r\n"))[0] == 250
        await busy.open_data()
        busy.send(MESSAGE)
        await data.open_data()
        stopping = asyncio.create_task(server.server.stop(5))
        assert await idle.reply() == (421, "4.3.2 Service is shutting down, try again later")
        assert await idle.closed()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", server.port)
        release.set()
        assert (await busy.reply())[0] == 250
        assert (await busy.reply())[0] == 421
        data.send(MESSAGE)
        assert (await data.reply())[0] == 250
        assert (await data.reply())[0] == 421
        async with asyncio.timeout(5):
            await stopping


async def test_drain_cuts_off_what_does_not_end() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def submit(_: Envelope) -> Reply:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with running() as server, server.logged_in() as wire, server.logged_in() as dawdling:
        server.application.on_submit = submit
        await wire.open_data()
        wire.send(MESSAGE)
        await dawdling.open_data()
        await started.wait()
        async with asyncio.timeout(5):
            await server.server.stop(0.02)
        assert cancelled.is_set()
        assert (await wire.reply())[0] == 421  # never a 250
        assert (await dawdling.reply())[0] == 421
        assert server.server.inflight_octets == 0
