"""The order of commands (RFC 5321 section 4.1.4) as a table: what may be said in which state, and what then.

A state says which commands are in order, and nothing else. Facts that go with several states stand beside it
in the session, and a command that needs one asks for it: TLS is on (RFC 3207), the client greeted with EHLO,
it has logged in (RFC 4954 section 4). A command that is refused, for its order or for anything else, leaves
the state as it is. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from smtp import server_replies as say
from smtp.codes import Permanent, Reply


class State(Enum):
    """Where a session is. Commands are read in the first six."""

    CONNECTED = "connected"
    """The 220 has been said (section 3.1), or TLS has begun: no EHLO counts yet."""
    GREETED = "greeted"
    """EHLO or HELO was taken (section 3.2), and a login is due before any mail (RFC 6409 section 4.3)."""
    READY = "ready"
    """No login is due, or it was done: a mail transaction may begin."""
    MAIL = "mail"
    """MAIL was taken: the transaction is open (section 3.3)."""
    RCPT = "rcpt"
    """And at least one RCPT."""
    CHUNKS = "chunks"
    """And at least one BDAT, and more will follow (RFC 3030 section 2)."""
    DATA = "data"
    """354 was said: what comes is the message, up to the answer to it."""
    TLS = "tls"
    """220 was said to STARTTLS: what comes is the handshake (RFC 3207 section 4)."""
    CLOSING = "closing"
    """The last reply was said, and nothing is read any more: QUIT, 421."""
    CLOSED = "closed"
    """The connection is gone."""

    __hash__ = object.__hash__  # each command looks its state up; Enum's own hash is slow


class Refusal(Struct, frozen=True, gc=False):
    """A command out of order. With `late` the command itself says so, after what it has to look at first."""

    reply: Reply
    late: bool = False


Step = State | Refusal
"""What a command leads to: the state once it is taken, or its refusal."""

# By their own names, because a look into an enumeration is slow.
CONNECTED, GREETED, READY, MAIL, RCPT, CHUNKS, DATA, TLS, CLOSING, CLOSED = State
COMMAND_STATES: Final = (CONNECTED, GREETED, READY, MAIL, RCPT, CHUNKS)
TRANSACTION: Final = frozenset({MAIL, RCPT, CHUNKS, DATA})
"""A message is under way, which a drain lets finish."""
OVER: Final = frozenset({CLOSING, CLOSED})


def late(refusal: Refusal) -> Refusal:
    """The same, said by the command itself."""
    return replace(refusal, late=True)


def in_order(step: Step) -> State:
    """The state that a command leads to. Raises `Permanent` where it is out of order."""
    if isinstance(step, State):
        return step
    raise Permanent(step.reply)


def _first(text: str) -> Refusal:
    return Refusal(say.bad_sequence(text).reply)


EHLO_FIRST: Final = _first("Send EHLO first")
AUTH_FIRST: Final = Refusal(say.AUTH_FIRST)
"""Or `say.TLS_FIRST`, where passwords may not travel yet."""
MAIL_FIRST: Final = _first("Send MAIL FROM first")
RCPT_FIRST: Final = _first("No valid recipients")
END_FIRST: Final = _first("A transaction is open already")
RSET_FIRST: Final = _first("Not during a transaction")
LAST_FIRST: Final = _first("Not between BDAT chunks")
NOT_HERE: Final = Refusal(say.NOT_OFFERED)


def _row(*steps: Step) -> Mapping[State, Step]:
    return dict(zip(COMMAND_STATES, steps, strict=True))


def _own(*steps: Step) -> Mapping[State, Step]:
    return _row(*(step if isinstance(step, State) else late(step) for step in steps))


# fmt: off
ORDER: Final[Mapping[bytes, Mapping[State, Step]]] = {
    # in state:       CONNECTED   GREETED     READY       MAIL        RCPT        CHUNKS
    b"EHLO":     _row(GREETED,    GREETED,    GREETED,    GREETED,    GREETED,    GREETED),
    b"HELO":     _row(GREETED,    GREETED,    GREETED,    GREETED,    GREETED,    GREETED),
    b"STARTTLS": _row(CONNECTED,  CONNECTED,  CONNECTED,  CONNECTED,  CONNECTED,  CONNECTED),
    b"AUTH":     _own(EHLO_FIRST, READY,      READY,      RSET_FIRST, RSET_FIRST, RSET_FIRST),
    b"MAIL":     _row(EHLO_FIRST, AUTH_FIRST, MAIL,       END_FIRST,  END_FIRST,  END_FIRST),
    b"RCPT":     _row(EHLO_FIRST, AUTH_FIRST, MAIL_FIRST, RCPT,       RCPT,       LAST_FIRST),
    b"DATA":     _row(EHLO_FIRST, AUTH_FIRST, MAIL_FIRST, RCPT_FIRST, DATA,       late(LAST_FIRST)),
    b"BDAT":     _own(EHLO_FIRST, AUTH_FIRST, MAIL_FIRST, RCPT_FIRST, CHUNKS,     CHUNKS),
    b"RSET":     _row(CONNECTED,  GREETED,    READY,      READY,      READY,      READY),
    b"NOOP":     _row(CONNECTED,  GREETED,    READY,      MAIL,       RCPT,       CHUNKS),
    b"HELP":     _row(CONNECTED,  GREETED,    READY,      MAIL,       RCPT,       CHUNKS),
    b"VRFY":     _row(CONNECTED,  GREETED,    READY,      MAIL,       RCPT,       CHUNKS),
    b"EXPN":     _row(NOT_HERE,   NOT_HERE,   NOT_HERE,   NOT_HERE,   NOT_HERE,   NOT_HERE),
    b"QUIT":     _row(CLOSING,    CLOSING,    CLOSING,    CLOSING,    CLOSING,    CLOSING),
}
# fmt: on
"""The table. What is not in it is no command of this server. Three things lead on without being a command:

- GREETED is READY at once for whom no login is due (`SubmissionSession.greeted`);
- the answer to the message, after DATA's final dot or BDAT LAST, leads back to READY (section 4.1.1.4);
- too many errors or failed logins, a deadline, a drain and the application's own 421 lead to CLOSING.
"""
