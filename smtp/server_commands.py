"""The commands of a submission session (RFC 5321, RFC 6409), each where the table of states allows it.

Offers SIZE (RFC 1870), 8BITMIME (6152), PIPELINING (2920), CHUNKING (3030), DSN (3461), SMTPUTF8 (6531),
ENHANCEDSTATUSCODES (2034), STARTTLS (3207) and AUTH PLAIN and LOGIN (4954, 4616). Every decision about
accounts, addresses and messages is the application's (`server_api.Application`); here are only grammar and
limits, the order is `server_order`'s.

A command that breaks a rule is answered and counts towards `max_errors`; nothing a client sends raises out of
`execute`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from smtp import server_replies as say
from smtp.address import AddressError, NonAsciiAddressError
from smtp.codes import Code, Permanent, Reply, SmtpError, Status, Temporary
from smtp.server_input import LONGEST_LINE_OCTETS, OVERLONG
from smtp.server_order import COMMAND_STATES, ORDER, TLS, Refusal, State, Step, in_order
from smtp.server_session import Handshake, Login, SubmissionSession
from smtp.server_transaction import bdat, data, mail, rcpt

log = structlog.get_logger(__name__)

# RFC 5321 section 4.5.3.1.4, with what each extension adds: SIZE 26, BODY 17 (RFC 6152), SMTPUTF8 10, AUTH
# 500 (RFC 4954 section 3), RET 8, ENVID 107, NOTIFY 28, ORCPT 501 (RFC 3461 section 4).
_LINE_LIMIT = 512
_LINE_LIMITS = {
    b"MAIL": 512 + 26 + 17 + 10 + 500 + 8 + 107,
    b"RCPT": 512 + 28 + 501,
    b"AUTH": LONGEST_LINE_OCTETS,
}
_CONTROLS = bytes([*range(32), 127])
_HTTP_VERBS = frozenset({b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT"})


def execute(session: SubmissionSession, line: bytes) -> None:
    """Answer one command line, or leave in `pending` what the answer waits for."""
    command = b""
    try:
        text = line[:-2] if line.endswith(b"\r\n") else _without_line_end(session, line)
        verb, _, argument = text.partition(b" ")
        command = verb.upper()
        if len(line) > _LINE_LIMITS.get(command, _LINE_LIMIT):
            raise Permanent(say.LINE_TOO_LONG)
        if len(text.translate(None, _CONTROLS)) != len(text):
            raise Permanent(say.CONTROL_CHARACTER)
        found = _COMMANDS[session.state].get(command)
        if found is None:
            # A browser was talked into this, the body would come next.
            raise Temporary(say.NOT_HTTP) if command in _HTTP_VERBS else Permanent(say.UNKNOWN_COMMAND)
        perform, step = found
        perform(session, argument.strip(b" "), step)
    except AddressError as error:
        session.refuse(_address_refusal(command, error))
    except SmtpError as error:
        session.refuse(error.reply)


def _without_line_end(session: SubmissionSession, line: bytes) -> bytes:
    if line == OVERLONG:
        raise Permanent(say.LINE_TOO_LONG)
    if session.config.line_endings == "normalise":
        return line[:-1]
    session.close()  # what follows could be a command smuggled in (CVE-2023-51764)
    raise Permanent(say.BARE_LF)


def _address_refusal(command: bytes, error: AddressError) -> Reply:
    if command == b"MAIL" and not isinstance(error, NonAsciiAddressError):
        return Reply(Code.BAD_MAILBOX, Status.SENDER_SYNTAX, error.reason)
    return error.reply


def _out_of_order(session: SubmissionSession, _argument: bytes, refusal: Refusal) -> None:
    session.refuse(session.reply_of(refusal))


# Greeting, TLS and login


def _helo(session: SubmissionSession, argument: bytes, then: State) -> None:
    _greeted(session, argument, then, esmtp=False)
    session.answer(Reply(Code.OK, "", session.config.hostname))


def _ehlo(session: SubmissionSession, argument: bytes, then: State) -> None:
    _greeted(session, argument, then, esmtp=True)
    server = session.server
    starttls = server.config.tls_context is not None and session.client.tls is None
    session.out.append(server.ehlo_reply(starttls=starttls, auth=session.may_authenticate()))


def _greeted(session: SubmissionSession, argument: bytes, then: State, *, esmtp: bool) -> None:
    name = argument.partition(b" ")[0].decode("utf-8", "replace")
    if not name or len(name) > 255:
        raise say.bad_argument("Give the name of your host: EHLO client.example.org")
    session.buffers.clear()  # RFC 5321 section 4.1.4
    session.client.helo = name
    session.client.esmtp = esmtp
    session.greeted(then)


def _starttls(session: SubmissionSession, argument: bytes, then: State) -> None:
    if argument:
        raise say.bad_argument("STARTTLS takes no argument")
    if session.client.tls is not None:
        raise say.bad_sequence("TLS is already active")
    context = session.server.config.tls_context
    if context is None:
        raise Permanent(say.NOT_OFFERED)
    session.unread.stop()  # the next octet belongs to the handshake
    if len(session.unread):
        # Commands sent in clear would run as if they had come protected (CVE-2011-0411).
        session.close()
        log.warning("smtp_starttls_injection_refused", session=session.client.id)
        session.refuse(say.INJECTION)
        return
    session.out.append(say.GO_SECURE)
    session.state = TLS
    session.pending = Handshake(context, then)


def _auth(session: SubmissionSession, argument: bytes, step: Step) -> None:
    client = session.client
    if not client.esmtp:
        raise say.bad_sequence("Send EHLO first")
    if not session.may_authenticate():
        raise Permanent(say.AUTH_NEEDS_TLS)
    if client.identity is not None:  # RFC 4954 section 4
        raise say.bad_sequence("Already authenticated")
    then = in_order(step)
    words = argument.decode("ascii", "replace").split()
    if not 1 <= len(words) <= 2:
        raise say.bad_argument("Syntax: AUTH mechanism [initial-response]")
    if words[0].upper() not in ("PLAIN", "LOGIN"):
        raise Permanent(say.AUTH_MECHANISM)
    session.pending = Login(words, then)


# The rest


def _rset(session: SubmissionSession, argument: bytes, then: State) -> None:
    if argument:
        raise say.bad_argument("RSET takes no argument")
    session.buffers.clear()
    session.state = then
    session.out.append(say.OK)


def _noop(session: SubmissionSession, _argument: bytes, _then: State) -> None:
    session.out.append(say.OK)


def _quit(session: SubmissionSession, argument: bytes, then: State) -> None:
    if argument:
        raise say.bad_argument("QUIT takes no argument")
    session.out.append(say.BYE)
    session.state = then


def _help(session: SubmissionSession, _argument: bytes, _then: State) -> None:
    session.out.append(_HELP)


def _vrfy(session: SubmissionSession, _argument: bytes, _then: State) -> None:
    # RFC 5321 section 3.5.3: no word about which mailboxes exist.
    session.answer(Reply(Code.CANNOT_VERIFY, "2.0.0", "Cannot verify, send the message and see"))


Perform = Callable[[SubmissionSession, bytes, Any], None]
"""Takes the session, the argument, and what the table says: a state, or the refusal that it has to say."""

_PERFORM: dict[bytes, Perform] = {
    b"EHLO": _ehlo,
    b"HELO": _helo,
    b"STARTTLS": _starttls,
    b"AUTH": _auth,
    b"MAIL": mail,
    b"RCPT": rcpt,
    b"DATA": data,
    b"BDAT": bdat,
    b"RSET": _rset,
    b"NOOP": _noop,
    b"HELP": _help,
    b"VRFY": _vrfy,
    b"QUIT": _quit,
}


def _entry(command: bytes, step: Step) -> tuple[Perform, Step]:
    at_once = isinstance(step, Refusal) and not step.late
    return (_out_of_order if at_once else _PERFORM[command]), step


# The table, turned: one look per command tells what to do, and a refusal costs no more than a deed.
_COMMANDS = {
    state: {command: _entry(command, row[state]) for command, row in ORDER.items()}
    for state in COMMAND_STATES
}
_HELP = Reply(Code.HELP, Status.OK, f"Commands: {b' '.join(sorted(ORDER)).decode()}").render()
