"""The client's session without a socket: dialogues, and any octets a server may come up with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp.client import Credentials, Session, State, Tls, stuff_dots
from smtp.outcome import Envelope, Outcome, Recipient, Result, Stage
from smtp.reply_parser import MAX_LINE_OCTETS, ProtocolError, ReplyParser

EHLO = b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
PLAIN_EHLO = b"250 mx.example\r\n"


def envelope(*addresses: str, **fields: object) -> Envelope:
    recipients = [Recipient(address) for address in addresses or ("r@example.net",)]
    return Envelope(**{"mail_from": "s@example.org", "recipients": recipients} | fields)  # type: ignore[arg-type]  # keywords of the test's own choice


def ready(ehlo: bytes = EHLO, **options: object) -> Session:
    session = Session("gw.example", tls=Tls.OFF, **options)  # type: ignore[arg-type]  # keywords of the test's own choice
    session.receive(b"220 mx.example\r\n" + b"")
    session.receive(ehlo)
    session.take_output()
    assert state_of(session) is State.READY
    return session


def state_of(session: Session) -> State:
    """A call, so that the type checker does not hold the state for constant."""
    return session.state


def told(session: Session, *octets: bytes) -> bytes:
    """Feed what the server says, and give what the client answers."""
    for part in octets:
        session.receive(part)
    return session.take_output()


def results(session: Session) -> list[tuple[str, Result, int, Stage]]:
    outcomes = session.take_outcomes()
    assert outcomes is not None
    return [(o.recipient, o.result, o.reply.code, o.stage) for o in outcomes]


def test_greeting_ehlo_and_a_pipelined_transaction() -> None:
    session = Session("gw.example")
    assert told(session, b"220 mx ESMTP\r\n") == b"EHLO gw.example\r\n"
    assert told(session, EHLO) == b""
    session.begin(envelope("a@x.example", "b@x.example"), 321)
    assert session.take_output() == (
        b"MAIL FROM:<s@example.org> SIZE=321\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n"
    )
    told(session, b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    assert state_of(session) is State.CONTENT
    session.content_sent()
    told(session, b"250 2.0.0 queued as 1\r\n")
    assert results(session) == [
        ("a@x.example", Result.DELIVERED, 250, Stage.CONTENT),
        ("b@x.example", Result.FAILED, 550, Stage.RCPT),
    ]
    assert state_of(session) is State.READY
    session.begin(envelope(), 1)
    assert session.take_output().startswith(b"MAIL")  # no RSET needed after a finished DATA
    told(session, b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.content_sent()
    told(session, b"451 later\r\n")
    assert results(session) == [("r@example.net", Result.DEFERRED, 451, Stage.CONTENT)]
    session.quit()
    assert session.take_output() == b"QUIT\r\n"
    told(session, b"221 bye\r\n")
    assert state_of(session) is State.CLOSED
    assert session.failure is None


def test_without_pipelining_commands_go_one_by_one_and_pointless_ones_not_at_all() -> None:
    session = ready(PLAIN_EHLO)
    session.begin(envelope("a@x.example", "b@x.example"), 1)
    assert session.take_output() == b"MAIL FROM:<s@example.org>\r\n"
    assert told(session, b"250 ok\r\n") == b"RCPT TO:<a@x.example>\r\n"
    assert told(session, b"450 4.2.0 later\r\n") == b"RCPT TO:<b@x.example>\r\n"
    assert told(session, b"550 no\r\n") == b""  # nobody left: no DATA
    assert results(session) == [
        ("a@x.example", Result.DEFERRED, 450, Stage.RCPT),
        ("b@x.example", Result.FAILED, 550, Stage.RCPT),
    ]
    session.begin(envelope(), 1)
    assert session.take_output() == b"RSET\r\n"  # the last MAIL is still open
    assert told(session, b"250 ok\r\n") == b"MAIL FROM:<s@example.org>\r\n"
    assert told(session, b"550 5.7.1 no\r\n") == b""
    assert results(session) == [("r@example.net", Result.FAILED, 550, Stage.MAIL)]
    session.begin(envelope(), 1)
    assert session.take_output() == b"MAIL FROM:<s@example.org>\r\n"  # a refused MAIL leaves nothing open


def test_pipelined_rset_goes_with_the_next_transaction() -> None:
    session = ready()
    session.begin(envelope(), 1)
    told(session, b"250 ok\r\n550 no\r\n554 no valid recipients\r\n")
    assert results(session)[0][1:] == (Result.FAILED, 550, Stage.RCPT)
    session.begin(envelope(), 1)
    assert session.take_output().startswith(b"RSET\r\nMAIL FROM")


def test_refused_mail_decides_for_all_recipients_though_rcpt_and_data_were_pipelined() -> None:
    session = ready()
    session.begin(envelope("a@x.example", "b@x.example"), 1)
    told(session, b"451 4.7.1 greylisted\r\n503 5.5.1 no MAIL\r\n503 no\r\n503 no\r\n")
    assert [result[1:] for result in results(session)] == [(Result.DEFERRED, 451, Stage.MAIL)] * 2
    assert state_of(session) is State.READY


def test_354_without_recipients_is_ended_by_a_lone_dot() -> None:
    session = ready()
    session.begin(envelope(), 1)
    assert told(session, b"250 ok\r\n550 no\r\n354 go\r\n").endswith(b"\r\n.\r\n")
    assert state_of(session) is State.EMPTY
    assert session.take_outcomes() is None
    told(session, b"554 no valid recipients\r\n")
    assert results(session) == [("r@example.net", Result.FAILED, 550, Stage.RCPT)]
    session.begin(envelope(), 1)
    assert session.take_output().startswith(b"MAIL")


def test_552_at_rcpt_after_an_accepted_one_means_too_many_recipients() -> None:
    session = ready()
    session.begin(envelope("a@x.example", "b@x.example", "c@x.example"), 1)
    told(session, b"250 ok\r\n250 ok\r\n552 too many\r\n552 5.2.2 full\r\n354 go\r\n")
    session.content_sent()
    told(session, b"250 ok\r\n")
    assert [result[1:3] for result in results(session)] == [
        (Result.DELIVERED, 250),
        (Result.DEFERRED, 452),
        (Result.FAILED, 552),
    ]


@pytest.mark.parametrize(
    ("ehlo", "fields", "size", "enhanced"),
    [
        (EHLO, {}, 10_001, "5.3.4"),
        (PLAIN_EHLO, {"body_8bit": True}, 1, "5.6.3"),
        (PLAIN_EHLO, {"smtputf8": True}, 1, "5.6.7"),
        (PLAIN_EHLO, {"mail_from": "jörg@example.org"}, 1, "5.6.7"),
    ],
)
def test_what_the_server_cannot_take_fails_without_asking(
    ehlo: bytes, fields: dict[str, object], size: int, enhanced: str
) -> None:
    session = ready(ehlo)
    session.begin(envelope(**fields), size)
    assert session.take_output() == b""
    outcomes = session.take_outcomes()
    assert outcomes is not None
    assert [(outcome.result, outcome.reply.enhanced) for outcome in outcomes] == [(Result.FAILED, enhanced)]
    assert state_of(session) is State.READY


def test_parameters_are_given_where_their_extension_is_offered() -> None:
    full = Envelope(
        mail_from="",
        recipients=[Recipient("jörg@x.example", notify="FAILURE", orcpt="utf-8;j\\x{F6}rg@x.example")],
        body_8bit=True,
        ret="HDRS",
        envid="QQ1",
    )
    session = ready()
    session.begin(full, 5)
    assert session.take_output().decode() == (
        "MAIL FROM:<> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ1\r\n"
        "RCPT TO:<jörg@x.example> NOTIFY=FAILURE ORCPT=utf-8;j\\x{F6}rg@x.example\r\nDATA\r\n"
    )
    session = ready(PLAIN_EHLO)
    session.begin(
        Envelope(mail_from="", recipients=[Recipient("a@b.example", notify="NEVER")], ret="FULL"), 5
    )
    assert told(session, b"250 ok\r\n") == b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"


@pytest.mark.parametrize("bad", ["a\r\nRSET", "a\nb", "a\0b"])
def test_line_break_in_an_envelope_is_a_value_error(bad: str) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        envelope(bad)
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        envelope(mail_from=bad)


def test_ehlo_refused_falls_back_to_helo() -> None:
    session = Session("gw.example", tls=Tls.OPPORTUNISTIC)
    assert told(session, b"220 old\r\n", b"502 what?\r\n").endswith(b"HELO gw.example\r\n")
    told(session, b"250 hi\r\n")
    assert state_of(session) is State.READY


def test_starttls_forgets_the_capabilities_told_in_clear() -> None:
    session = Session("gw.example")
    assert told(session, b"220 mx\r\n", b"250-mx\r\n250-SIZE 5\r\n250 STARTTLS\r\n").endswith(b"STARTTLS\r\n")
    told(session, b"220 go\r\n")
    assert state_of(session) is State.TLS_HANDSHAKE
    session.tls_started()
    assert session.take_output() == b"EHLO gw.example\r\n"
    told(session, b"250 mx\r\n")
    assert state_of(session) is State.READY
    assert session.capabilities == {}


@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"2", b"250-mx\r\n"])
def test_octets_after_starttls_in_clear_end_the_session(injected: bytes) -> None:
    session = Session("gw.example")
    told(session, b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"220 go\r\n" + injected)
    assert state_of(session) is State.CLOSED
    assert isinstance(session.failure, ProtocolError)


def test_starttls_declined_goes_on_in_clear_only_where_it_may() -> None:
    for tls, state in ((Tls.OPPORTUNISTIC, State.READY), (Tls.REQUIRED, State.CLOSED)):
        session = Session("gw.example", tls=tls)
        told(session, b"220 mx\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"454 not now\r\n")
        assert state_of(session) is state
    session = Session("gw.example", tls=Tls.REQUIRED)
    told(session, b"220 mx\r\n", PLAIN_EHLO)
    assert state_of(session) is State.CLOSED


USER = Credentials(user="me", password="secret")


def test_auth_plain_and_login() -> None:
    session = Session("gw", tls_active=True, credentials=USER)
    assert told(session, b"220 x\r\n", b"250-x\r\n250 AUTH LOGIN PLAIN\r\n").endswith(
        b"AUTH PLAIN AG1lAHNlY3JldA==\r\n"
    )
    told(session, b"235 ok\r\n")
    assert state_of(session) is State.READY
    session = Session("gw", tls_active=True, credentials=USER)
    assert told(session, b"220 x\r\n", b"250-x\r\n250 AUTH=LOGIN\r\n").endswith(b"AUTH LOGIN\r\n")
    assert told(session, b"334 VXNlcm5hbWU6\r\n") == b"bWU=\r\n"
    assert told(session, b"334 UGFzc3dvcmQ6\r\n") == b"c2VjcmV0\r\n"
    told(session, b"535 5.7.8 no\r\n")
    assert state_of(session) is State.CLOSED
    assert session.failure is not None
    assert session.failure.reply.code == 535


def test_auth_never_goes_in_clear_unless_allowed() -> None:
    for allowed, state in ((False, State.CLOSED), (True, State.AUTH)):
        session = Session("gw", tls=Tls.OFF, credentials=USER, auth_in_clear=allowed)
        told(session, b"220 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n")
        assert state_of(session) is state


def test_credentials_do_not_show_the_password() -> None:
    assert "secret" not in repr(USER)


@pytest.mark.parametrize(
    "greeting", [b"554 no mail here\r\n", b"421 busy\r\n", b"450 later\r\n", b"hello\r\n", b"+OK\r\n"]
)
def test_unfriendly_greeting_closes_the_session_with_its_reason(greeting: bytes) -> None:
    session = Session("gw.example")
    told(session, greeting)
    assert state_of(session) is State.CLOSED
    assert session.failure is not None


STEPS = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"]


@pytest.mark.parametrize("after", range(4))
def test_421_at_any_point_defers(after: int) -> None:
    session = ready()
    session.begin(envelope(), 1)
    told(session, *STEPS[:after])
    told(session, b"421 4.3.2 going down\r\n")
    assert [result[1:3] for result in results(session)] == [(Result.DEFERRED, 421)]
    assert state_of(session) is State.CLOSED


def test_421_after_the_final_dot_is_a_reply_and_defers() -> None:
    session = ready()
    session.begin(envelope(), 1)
    told(session, *STEPS)
    session.content_sent()
    told(session, b"421 4.3.2 going down\r\n")
    assert results(session) == [("r@example.net", Result.DEFERRED, 421, Stage.CONTENT)]
    assert state_of(session) is State.CLOSED


def test_delivery_then_421_in_one_read_is_delivered_and_closed() -> None:
    session = ready()
    session.begin(envelope(), 1)
    told(session, *STEPS)
    session.content_sent()
    told(session, b"250 ok\r\n421 idle too long\r\n")
    assert results(session) == [("r@example.net", Result.DELIVERED, 250, Stage.CONTENT)]
    assert state_of(session) is State.CLOSED


def test_reply_in_the_middle_of_the_content_decides_and_closes() -> None:
    session = ready()
    session.begin(envelope(), 1)
    told(session, *STEPS, b"552 5.3.4 enough\r\n")
    assert results(session) == [("r@example.net", Result.FAILED, 552, Stage.CONTENT)]
    assert state_of(session) is State.CLOSED


@pytest.mark.parametrize("after", range(4))
def test_loss_before_the_final_dot_defers(after: int) -> None:
    session = ready()
    session.begin(envelope(), 1)
    told(session, *STEPS[:after])
    session.lost()
    assert results(session)[0][1] is Result.DEFERRED


@pytest.mark.parametrize("last", [b"", b"2", b"250-first line\r\n", b"garbage\r\n", b"354 what\r\n"])
def test_no_understandable_reply_to_the_final_dot_is_unknown(last: bytes) -> None:
    session = ready()
    session.begin(envelope("a@x.example", "b@x.example"), 1)
    told(session, b"250 ok\r\n", b"550 no\r\n", b"250 ok\r\n", b"354 go\r\n")
    session.content_sent()
    told(session, last)
    session.lost()
    assert [result[:2] for result in results(session)] == [
        ("a@x.example", Result.FAILED),
        ("b@x.example", Result.UNKNOWN),
    ]


def test_whether_the_server_heard_of_the_transaction_is_known() -> None:
    session = ready()
    session.begin(envelope(), 1)
    assert not session.heard
    told(session, b"421 idle\r\n")
    assert not session.heard
    session = ready()
    session.begin(envelope(), 1)
    told(session, b"250 ok\r\n")
    assert session.heard


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [
                    *STEPS,
                    b"550 no\r\n",
                    b"421 x\r\n",
                    b"250-",
                    b"\r\n",
                    b"220 go\r\n",
                    b"503 x\r\n",
                    EHLO,
                    b"235 x\r\n",
                ]
            ),
        ),
        max_size=12,
    ),
    st.booleans(),
    st.booleans(),
)
def test_any_octets_give_each_recipient_one_outcome(
    parts: list[bytes], pipelining: bool, sends: bool
) -> None:
    session = ready(EHLO if pipelining else PLAIN_EHLO)
    session.begin(envelope("a@x.example", "b@x.example"), 1)
    collected: list[Outcome] = []
    dot_sent = False
    for part in parts:
        session.receive(part)
        session.take_output()
        if sends and state_of(session) is State.CONTENT:
            session.content_sent()
            dot_sent = True
        collected += session.take_outcomes() or []
    session.lost()
    collected += session.take_outcomes() or []
    assert [outcome.recipient for outcome in collected] == ["a@x.example", "b@x.example"]
    assert dot_sent or all(o.result not in (Result.UNKNOWN, Result.DELIVERED) for o in collected)


@given(st.lists(st.binary(max_size=30), max_size=10), st.booleans())
def test_any_octets_from_the_start_leave_a_state_and_no_exception(parts: list[bytes], login: bool) -> None:
    session = Session("gw.example", credentials=USER if login else None, auth_in_clear=True)
    for part in parts:
        session.receive(part)
        session.take_output()
    session.lost()
    assert state_of(session) is State.CLOSED


@given(st.data())
def test_replies_are_the_same_however_they_are_cut(data: st.DataObject) -> None:
    stream = b"250-2.1.0 a\r\n250-b\n250 c\r\n550\r\n451 4.7.1 d\xff\x00\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser, replies = ReplyParser(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        replies += parser.feed(stream[start:end])
    assert [(reply.code, reply.text) for reply in replies] == [(250, "a\nb\nc"), (550, ""), (451, "d\ufffd?")]
    assert parser.is_empty


@pytest.mark.parametrize(
    "octets",
    [
        *(b"hello\r\n", b"\r\n", b"25 ok\r\n", b"250ok\r\n", b"999 x\r\n", b"100 x\r\n", b"-50 x\r\n"),
        *(b"250-a\r\n251 b\r\n", b"2" * (MAX_LINE_OCTETS + 1), b"250 " + b"x" * MAX_LINE_OCTETS + b"\r\n"),
        *(b"250-x\r\n" * 300, (b"250-" + b"x" * 4000 + b"\r\n") * 20, "²50 x\r\n".encode()),
    ],
)
def test_what_is_no_reply_is_a_protocol_error(octets: bytes) -> None:
    with pytest.raises(ProtocolError):
        ReplyParser().feed(octets)


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\r\n.", b".."]), max_size=30))
def test_dot_stuffing_is_undone_by_the_rules_of_the_rfc(parts: list[bytes]) -> None:
    content = b"".join(parts)
    wire = stuff_dots(content) + b".\r\n"
    lines = wire.split(b"\r\n")
    end = lines.index(b".")
    assert lines[end + 1 :] == [b""]  # the dot ends it, and nothing before does
    received = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    assert received == (content if content.endswith(b"\r\n") or not content else content + b"\r\n")


def test_content_without_leading_dots_is_not_copied() -> None:
    content = b"hello\r\n" * 10
    assert stuff_dots(content) is content
