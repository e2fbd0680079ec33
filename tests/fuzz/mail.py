"""Targets of the conversations in `smtp/`: the submission session and the delivery client."""

import asyncio
import re
from base64 import b64encode
from dataclasses import dataclass

from smtp import headers
from smtp.client import Credentials, Session, State, Tls
from smtp.codes import Reply
from smtp.data import Budget
from smtp.outcome import Envelope, Recipient
from smtp.reply_parser import MAX_LINE_OCTETS, ProtocolError, ReplyParser
from smtp.server_api import ServerConfig
from smtp.server_connection import Connection
from smtp.server_input import HIGH_WATER_OCTETS
from smtp.server_state import ServerState
from tests.doors.support import make_door
from tests.fuzz.loop import Peer, loop, no_faults_logged, run
from tests.fuzz.octets import Octets
from tests.smtp.submission_support import PLAIN, FakeApplication

# --- the submission session -------------------------------------------------------------------------------

SUBMISSION = (
    b"EHLO client.example\r\n", f"AUTH PLAIN {PLAIN}\r\n".encode(), b"MAIL FROM:<a@a.example>", b"\r\n",
    b"RCPT TO:<b@b.example>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\nbody", b"\r\n.\r\n", b"BDAT 5\r\nhello",
    b"BDAT 0 LAST\r\n", b"BDAT 3 LAST\r\nabc", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"HELO c\r\n",
    b"AUTH LOGIN\r\n", b64encode(b"user") + b"\r\n", b64encode(b"secret") + b"\r\n", b"AUTH PLAIN\r\n",
    b"*\r\n", b"STARTTLS\r\n", b" SIZE=10", b" BODY=8BITMIME", b" SMTPUTF8", b" RET=HDRS ENVID=x+2By",
    b"MAIL FROM:<>", b"RCPT TO:<", b">\r\n", b" NOTIFY=SUCCESS,DELAY", b" ORCPT=rfc822;a+40b",
    b"VRFY a\r\n", b"HELP\r\n", b"EXPN\r\n", b"GET / HTTP/1.1\r\n", b"\n", b"\r", b".", b"\0",
    b"\r\n..\r\n", b"@a.example:b@c.example", "é".encode(), b"x" * 600, b"BDAT 99999999999\r\n",
)  # fmt: skip
_REPLY_LINE = re.compile(rb"[2-5][0-9][0-9][ -][\x20-\x7e]*\r\n")
_LIMIT_OCTETS = 2_000


def smtp_submission(data: bytes) -> None:
    """Any octets to a submission server, cut anywhere: the replies and messages are those of one piece."""
    octets = Octets(data)
    line_endings = octets.number(2)
    cuts = octets.cut()
    stream = octets.words(SUBMISSION)
    whole = run(submit([stream] if stream else [], line_endings))
    assert run(submit(cuts.pieces(stream), line_endings)) == whole


async def submit(
    pieces: list[bytes], line_endings: int, limit_octets: int = _LIMIT_OCTETS
) -> tuple[bytes, list[object]]:
    """One session: what the server wrote, and what the application got."""
    application = FakeApplication()
    state = ServerState(
        config=ServerConfig(
            hostname="mx.example",
            size_limit_octets=limit_octets,
            allow_plain_auth_on_loopback=True,
            require_tls_for_auth=False,
            line_endings="refuse" if line_endings else "normalise",
            max_recipients=4,
            max_inflight_octets=3 * limit_octets,
        ),
        application=application,
        door=make_door(),
        budget=Budget(3 * limit_octets),
        sleep=_no_sleep,
        make_session_id=lambda: "s1",
    )
    with no_faults_logged():
        session = Connection(state, loop())
        peer = Peer(session)
        longest = max(map(len, pieces), default=0)
        for piece in pieces:
            await peer.send([piece])
            assert len(session._input) <= HIGH_WATER_OCTETS + longest, "unread input grows"
        session.eof_received()
        for _ in range(100_000):  # a session of many commands gives the others their turn in between
            if session.running is not None:
                await asyncio.wait([session.running])
            elif peer.transport.closed:
                break
            await asyncio.sleep(0)
        await peer.hang_up()
    written = bytes(peer.transport.written)
    assert _REPLY_LINE.sub(b"", written) == b"", "something else than replies was written"
    assert peer.transport.closed
    assert not state.connections
    assert state.budget.used_octets == 0, "octets of a message were never given back"
    for message in application.messages:
        _check_message(message.content, limit_octets)
    return written, [*application.messages, *application.logins]


async def _no_sleep(_seconds: float) -> None:
    return


def _check_message(content: bytes, limit_octets: int) -> None:
    """What every accepted message is: no longer than allowed, with CRLF line ends only, without NUL."""
    assert len(content) <= limit_octets
    assert not headers.has_bare_line_end(content)
    assert b"\0" not in content


# --- the delivery client ----------------------------------------------------------------------------------

REPLIES = (
    b"220 mx.example ESMTP\r\n", b"250-mx.example\r\n", b"250 PIPELINING\r\n", b"250-STARTTLS\r\n",
    b"250-SIZE 100\r\n", b"250-AUTH PLAIN LOGIN\r\n", b"250-8BITMIME\r\n", b"250-SMTPUTF8\r\n",
    b"250-DSN\r\n", b"250-AUTH=LOGIN\r\n", b"250 2.1.5 Ok\r\n", b"354 Go on\r\n", b"235 2.7.0 In\r\n",
    b"334 VXNlcm5hbWU6\r\n", b"221 Bye\r\n", b"421 4.3.2 Closing\r\n", b"450 4.2.0 Later\r\n",
    b"550 5.1.1 No such user\r\n", b"554-no\r\n", b"250 ", b"250-", b"\r\n", b"\n", b"\r", b"\0",
    b"99 x\r\n", b"600 x\r\n", b"2", b"250", b"x" * 5000, b"250-SIZE 99999999999999999999\r\n",
    b"250-SIZE -1\r\n", b"250-SIZE x\r\n", b"250 5.0.0 odd\r\n", "250 é\r\n".encode(), b"250 \xff\r\n",
)  # fmt: skip
_RECIPIENTS = ["b@b.example", "c@c.example", "ü@d.example"]


@dataclass(slots=True)
class _Plan:
    """What the client wants, and how it was made."""

    tls: Tls
    credentials: Credentials | None
    recipients: list[Recipient]
    mails: int


def smtp_delivery(data: bytes) -> None:
    """Any replies to the delivery client: an outcome for every recipient of every mail, nothing raised."""
    octets = Octets(data)
    count = 1 + octets.number(3)
    plan = _Plan(
        tls=octets.choice(list(Tls)),
        credentials=Credentials(user="u", password="p") if octets.number(2) else None,
        recipients=[Recipient(address, notify="NEVER") for address in _RECIPIENTS[:count]],
        mails=1 + octets.number(2),
    )
    cuts = octets.cut()
    stream = octets.words(REPLIES)
    pieces = cuts.pieces(stream)
    _check_parser(stream, pieces)
    session = Session("gw.example", tls=plan.tls, credentials=plan.credentials)
    written = bytearray()
    begun = _follow(session, plan, 0, written)
    for piece in pieces:
        session.receive(piece)
        begun = _follow(session, plan, begun, written)
        assert session.state is State.CLOSED or len(session._parser._rest) <= MAX_LINE_OCTETS
    session.lost()
    _take_outcomes(session, plan)
    assert session.state is State.CLOSED
    assert written.count(b"\r") == written.count(b"\n") == written.count(b"\r\n")


def _follow(session: Session, plan: _Plan, begun: int, written: bytearray) -> int:
    """Does what `connection` does for each state; the number of mails begun."""
    for _ in range(10):
        written += session.take_output()
        _take_outcomes(session, plan)
        if session.state is State.TLS_HANDSHAKE:
            session.tls_started()
        elif session.state is State.CONTENT:
            session.content_sent()
        elif session.state is State.READY and begun < plan.mails:
            begun += 1
            session.begin(Envelope(mail_from="a@a.example", recipients=plan.recipients, ret="HDRS"), 120)
        elif session.state is State.READY:
            session.quit()
        else:
            return begun
    raise AssertionError(f"the session does not come to rest: {session.state}")


def _take_outcomes(session: Session, plan: _Plan) -> None:
    outcomes = session.take_outcomes()
    if outcomes is not None:
        assert [outcome.recipient for outcome in outcomes] == [one.address for one in plan.recipients]
    elif session.state in {State.READY, State.CLOSED}:
        assert session._transaction is None, "a transaction is over without outcomes"


def _check_parser(stream: bytes, pieces: list[bytes]) -> None:
    """The same replies, or a refusal, however the stream is cut."""
    whole, parts = _parsed([stream]), _parsed(pieces)
    # A long line is noticed as soon as it is too long, which may be before the replies of the same piece.
    assert whole == parts or (whole[1] and parts[1])


def _parsed(pieces: list[bytes]) -> tuple[list[Reply], bool]:
    parser, replies = ReplyParser(), []
    for piece in pieces:
        try:
            replies += parser.feed(piece)
        except ProtocolError:
            return replies, True
    return replies, False
