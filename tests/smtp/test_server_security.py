"""Attacks on the submission server over a real socket: smuggling, injection, relaying, resource grabbing."""

from __future__ import annotations

import asyncio

import pytest

from smtp.codes import Reply
from smtp.server import Envelope
from smtp.server_connection import Connection
from tests.doors.support import make_door
from tests.smtp.submission_support import PLAIN, Running, running, until

EVIL = b"MAIL FROM:<evil@a.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"

# Everything that some server somewhere took for <CRLF>.<CRLF> (CVE-2023-51764, -51765, -51766).
FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\r\n",
    b"\r.\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\n. \r\n",
    b"\r\n .\r\n",
    b"\r\n..\r\n",
    b"\r\n.\x85",
    b"\r\n.\x0b\r\n",
    b"\r\n\xff.\r\n",
]


@pytest.mark.parametrize("line_endings", ["normalise", "refuse"])
@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_nothing_but_crlf_dot_crlf_ends_data(false_end: bytes, line_endings: str) -> None:
    async with running(line_endings=line_endings) as server, server.logged_in() as wire:
        await wire.open_data()
        code, _ = await wire.ask(b"Subject: x\r\n\r\nbody" + false_end + EVIL + b"\r\n.\r\n")
        assert code in (250, 550)
        # One answer for one message: the next one answers NOOP.
        assert await wire.ask(b"NOOP\r\n") == (250, "2.0.0 OK")
        messages = server.application.messages
        assert len(messages) == (1 if code == 250 else 0)
        for message in messages:
            assert b"smuggled" in message.content
            assert (
                message.content.count(b"\n") == message.content.count(b"\r") == message.content.count(b"\r\n")
            )


@pytest.mark.parametrize("false_end", [b"\n.\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r\n"], ids=repr)
async def test_bare_line_ends_are_refused_where_configured(false_end: bytes) -> None:
    async with running(line_endings="refuse") as server, server.logged_in() as wire:
        await wire.open_data()
        code, text = await wire.ask(b"a" + false_end + b"b\r\n.\r\n")
        assert (code, text[:5]) == (550, "5.6.0")
        assert server.application.messages == []


async def test_end_of_data_may_come_octet_by_octet() -> None:
    async with running() as server, server.logged_in() as wire:
        await wire.open_data()
        for octet in b"a\r\n..\r\n.\r\n":
            wire.send(bytes([octet]))
            await wire.writer.drain()
            await asyncio.sleep(0)
        assert (await wire.reply())[0] == 250
        assert server.application.messages[0].content == b"a\r\n.\r\n"


async def test_clear_text_sent_before_the_handshake_is_never_executed() -> None:
    async with running() as server, server.client() as wire:
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        assert (await wire.ask(b"STARTTLS\r\n"))[0] == 220
        wire.send(b"EHLO evil.example\r\nAUTH PLAIN " + PLAIN.encode() + b"\r\n")
        # Only a TLS alert may come back (its record type is 21), then the end.
        rest = await asyncio.wait_for(wire.reader.read(), 5)
        assert b"250" not in rest
        assert b"235" not in rest
        assert rest[:1] in (b"", b"\x15")
        await until(lambda: server.server.connection_count == 0)
    assert server.application.logins == []


async def test_failed_handshake_leaves_nothing_behind() -> None:
    async with running(tls_handshake_timeout_s=0.05, door=make_door(handshake_s=0.05)) as server:
        async with server.client() as wire:
            await wire.reply()
            assert (await wire.ask(b"EHLO c.example\r\n"))[0] == 250
            assert (await wire.ask(b"STARTTLS\r\n"))[0] == 220
            await until(lambda: server.server.connection_count == 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.tls_port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_plain_text_on_the_tls_port_is_closed_without_a_word() -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.tls_port)
        writer.write(b"EHLO client.example\r\n")
        rest = await asyncio.wait_for(reader.read(), 5)
        assert rest[:1] in (b"", b"\x15")
        writer.close()
        await until(lambda: server.server.connection_count == 0)


async def test_login_under_tls_sees_version_and_cipher() -> None:
    async with running(allow_plain_auth_on_loopback=False) as server, server.client() as wire:
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        await wire.ask(b"STARTTLS\r\n")
        await wire.start_tls()
        assert await wire.codes(f"EHLO c.example\r\nAUTH PLAIN {PLAIN}\r\n".encode(), 2) == [250, 235]
        session = server.application.sessions[-1]
        assert session.tls is not None
        assert session.tls.version == "TLSv1.3"
        assert session.tls.cipher
        assert (session.peer_host, session.helo, session.esmtp) == ("127.0.0.1", "c.example", True)


async def test_wrong_passwords_are_slowed_and_cut_off() -> None:
    async with running(auth_failure_limit=2, auth_failure_delay_s=3.5) as server, server.client() as wire:
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        wrong = b"AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n"
        assert await wire.codes(wrong + wrong + b"NOOP\r\n", 3) == [535, 535, 421]
        assert await wire.closed()
        assert server.delays.asked == [3.5, 3.5]
        assert server.application.logins == [("user", "wrong")] * 2


async def test_slowed_login_is_answered_as_the_application_says() -> None:
    async with running() as server, server.client() as wire:
        server.application.on_authenticate = lambda *_: Reply(454, "4.7.0", "Too many attempts, wait")
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        assert await wire.ask(f"AUTH PLAIN {PLAIN}\r\n".encode()) == (454, "4.7.0 Too many attempts, wait")
        assert (await wire.ask(b"MAIL FROM:<a@a.example>\r\n"))[0] == 530


async def test_positive_reply_to_a_login_is_no_identity() -> None:
    async with running() as server, server.client() as wire:
        server.application.on_authenticate = lambda *_: Reply(235, "2.7.0", "Fine")
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        assert (await wire.ask(f"AUTH PLAIN {PLAIN}\r\n".encode()))[0] == 535


@pytest.mark.parametrize("pieces", [1, 3, 7])
async def test_login_split_over_packets_is_one_login(pieces: int) -> None:
    async with running() as server, server.client() as wire:
        await wire.reply()
        await wire.ask(b"EHLO client.example\r\n")
        line = f"AUTH PLAIN {PLAIN}\r\n".encode()
        for start in range(0, len(line), pieces):
            wire.send(line[start : start + pieces])
            await wire.writer.drain()
        assert (await wire.reply())[0] == 235
        assert server.application.logins == [("user", "secret")]


async def test_line_of_a_login_is_no_command_whatever_came_before_it() -> None:
    async with running() as server, server.client() as wire:
        await wire.reply()
        assert await wire.codes(b"EHLO client.example\r\nAUTH PLAIN\r\n", 2) == [250, 334]
        assert (await wire.ask(PLAIN.encode() + b"\r\n"))[0] == 235
        assert server.application.logins == [("user", "secret")]


async def test_commands_wait_while_the_application_is_asked() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def submit(_: Envelope) -> Reply:
        asked.set()
        await answered.wait()
        return Reply(250, "2.0.0", "Queued")

    async with running() as server, server.logged_in() as wire:
        server.application.on_submit = submit
        assert (
            await wire.codes(b"NOOP\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n", 3) == [250] * 3
        )
        assert (await wire.ask(b"DATA\r\n"))[0] == 354
        wire.send(b"x\r\n.\r\nNOOP\r\n")
        await asked.wait()
        wire.send(b"QUIT\r\n")
        await until(lambda: len(_connection(server)._input) > len(b"NOOP\r\n"))
        answered.set()
        assert [await wire.reply() for _ in range(3)] == [
            (250, "2.0.0 Queued"),
            (250, "2.0.0 OK"),
            (221, "2.0.0 Bye"),
        ]


def _connection(server: Running) -> Connection:
    (connection,) = server.server._state.connections
    assert isinstance(connection, Connection)
    return connection


async def test_disconnect_in_the_middle_of_data_leaves_nothing() -> None:
    async with running() as server:
        async with server.logged_in() as wire:
            await wire.open_data()
            wire.send(b"Subject: half\r\n\r\n" + b"x" * 5000)
            await until(lambda: server.server.inflight_octets > 5000)
        await until(lambda: server.server.connection_count == 0)
        assert server.server.inflight_octets == 0
        assert server.application.messages == []


async def test_half_closed_client_still_gets_its_replies() -> None:
    async with running() as server, server.logged_in() as wire:
        await wire.open_data()
        wire.send(b"x\r\n.\r\n")
        wire.writer.write_eof()
        assert (await wire.reply())[0] == 250
        assert await wire.closed()
        assert len(server.application.messages) == 1


async def test_client_gone_during_submit_does_not_cancel_it() -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    finished: list[Envelope] = []

    async def submit(envelope: Envelope) -> Reply:
        started.set()
        await finish.wait()
        finished.append(envelope)
        return Reply(250, "2.0.0", "Queued")

    async with running() as server:
        server.application.on_submit = submit
        async with server.logged_in() as wire:
            await wire.open_data()
            wire.send(b"x\r\n.\r\n")
            await started.wait()
        finish.set()
        await until(lambda: server.server.connection_count == 0)
        assert len(finished) == 1


async def test_endless_message_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtp.server_transaction._DRAINED_AT_MOST_OCTETS", 100_000)
    async with running(size_limit_octets=1000) as server, server.logged_in() as wire:
        await wire.open_data()
        wire.send(b"x" * 1_000_000)
        assert (await wire.reply())[0] == 552
        await until(lambda: server.server.connection_count == 0)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\0\x01\0" * 50, b"\r\n" * 50, bytes(range(256)) * 20])
async def test_garbage_ends_in_421_and_never_in_an_exception(garbage: bytes) -> None:
    async with running(max_errors=5) as server, server.client() as wire:
        wire.send(garbage + b"\r\n" * 20)
        codes: list[int] = []
        while not codes or codes[-1] != 421:
            codes.append((await wire.reply())[0])
        assert codes[0] == 220
        assert set(codes[1:-1]) == {500}
        await until(lambda: server.server.connection_count == 0)
    await _still_serves()


async def _still_serves() -> None:
    async with running() as server, server.logged_in() as wire:
        assert (await wire.ask(b"NOOP\r\n"))[0] == 250
