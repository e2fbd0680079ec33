"""Replies on the wire, replies received, and the two families of errors."""

from __future__ import annotations

import pytest

from smtp.codes import Code, Permanent, Reply, SmtpError, Status, Temporary, parse_reply


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply(250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
        (Reply(220, "", "mx.example ESMTP"), b"220 mx.example ESMTP\r\n"),
        (Reply(250, "", "mx\nSIZE 1\nHELP"), b"250-mx\r\n250-SIZE 1\r\n250 HELP\r\n"),
        (Reply(550, "5.7.1", "one\ntwo"), b"550-5.7.1 one\r\n550 5.7.1 two\r\n"),
        (Reply(354), b"354 \r\n"),
    ],
)
def test_reply_is_rendered_with_its_code_on_every_line(reply: Reply, wire: bytes) -> None:
    assert reply.render() == wire


@pytest.mark.parametrize("text", ["x\r\r250 forged", "x\0y", "x\x1b[31m", "\x85next"])
def test_control_characters_never_reach_the_wire(text: str) -> None:
    wire = Reply(550, "5.0.0", text).render()
    assert wire.count(b"\r\n") == 1
    assert wire.endswith(b"\r\n")
    assert all(0x20 <= octet <= 0x7E for octet in wire[:-2])


def test_non_ascii_text_is_escaped() -> None:
    assert Reply(550, "5.1.1", "Müller").render() == b"550 5.1.1 M\\xfcller\r\n"


def test_line_is_one_line_for_the_log() -> None:
    assert Reply(452, "4.2.2", "No credits\nleft").line() == "452 4.2.2 No credits left"
    assert Reply(250).line() == "250"


@pytest.mark.parametrize(
    ("code", "positive", "temporary", "permanent"),
    [
        (250, 1, 0, 0),
        (354, 1, 0, 0),
        (421, 0, 1, 0),
        (452, 0, 1, 0),
        (550, 0, 0, 1),
        (150, 0, 0, 0),
        (600, 0, 0, 0),
    ],
)
def test_class_follows_the_first_digit(code: int, positive: int, temporary: int, permanent: int) -> None:
    reply = Reply(code)
    assert (reply.is_positive, reply.is_temporary, reply.is_permanent) == (positive, temporary, permanent)


@pytest.mark.parametrize(
    ("code", "lines", "reply"),
    [
        (250, ["2.1.5 OK"], Reply(250, "2.1.5", "OK")),
        (452, ["4.2.2 No", "4.2.2 credits"], Reply(452, "4.2.2", "No\ncredits")),
        (550, ["4.2.2 not its class"], Reply(550, "", "4.2.2 not its class")),
        (550, ["5.7.26 unauthenticated"], Reply(550, "5.7.26", "unauthenticated")),
        (550, ["5.1.1"], Reply(550, "5.1.1", "")),
        (550, ["5.1.1.1 odd"], Reply(550, "", "5.1.1.1 odd")),
        (250, ["mx.example", "SIZE 10"], Reply(250, "", "mx.example\nSIZE 10")),
        (421, [], Reply(421, "", "")),
    ],
)
def test_received_reply_gives_up_its_enhanced_code(code: int, lines: list[str], reply: Reply) -> None:
    assert parse_reply(code, lines) == reply


def test_rendered_reply_parses_back() -> None:
    reply = Reply(Code.INSUFFICIENT_STORAGE, Status.TOO_MANY_RECIPIENTS, "a\nb")
    lines = [line[4:].decode() for line in reply.render().split(b"\r\n")[:-1]]
    assert parse_reply(452, lines) == reply


def test_enhanced_codes_are_well_formed() -> None:
    for status in Status:
        first, second, third = status.split(".")
        assert first in "245"
        assert second.isdigit()
        assert third.isdigit()


def test_errors_carry_a_public_reply_and_private_fields() -> None:
    error = Temporary("Try later", {"upstream": "a"})
    assert error.reply == Reply(451, "4.3.0", "Try later")
    assert error.log_fields == {"upstream": "a"}
    assert Permanent().reply.is_permanent
    assert Permanent(Reply(552, "5.3.4", "Too big")).reply.code == 552
    assert isinstance(error, SmtpError)
    assert not isinstance(error, Permanent)
