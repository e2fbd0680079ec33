"""The mail transaction: MAIL, RCPT, DATA and BDAT, up to the application's `submit`.

Each command takes the session, its argument's octets, and what the table of states says it leads to
(`server_order`). A transaction begins with an accepted MAIL and ends with the answer to the message, with
RSET, or with a new greeting. Of a message that never came to its end nothing is left.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache

from smtp import server_replies as say
from smtp.address import AddressError, Mailbox, parse_path, split_path
from smtp.codes import Code, Permanent, Reply, SmtpError, Status
from smtp.data import NO_ROOM, SLICE_OCTETS, TOO_BIG, ChunkReceiver, DataReceiver
from smtp.server_api import Envelope, MailParameters, Recipient
from smtp.server_buffers import Chunk, Receiver
from smtp.server_order import Refusal, State, Step, in_order
from smtp.server_parameters import parse_mail_parameters, parse_recipient_parameters
from smtp.server_session import SubmissionSession

_DRAINED_AT_MOST_OCTETS = 67_108_864  # of a refused message, or four times the size limit
_CHUNK = re.compile(rb"([0-9]{1,15})(?: +(LAST))?", re.IGNORECASE)  # RFC 3030 section 2
_SENDERS_REMEMBERED = 512  # applications send from a few addresses; a line is at most 1,200 octets


def mail(session: SubmissionSession, argument: bytes, then: State) -> None:
    """Open a transaction."""
    sender, params, has_parameters = _parse_sender(argument)
    client = session.client
    if has_parameters and not client.esmtp:
        raise Permanent(say.NEEDS_EHLO)
    size = params.size_octets
    if size is not None and size > session.config.size_limit_octets:
        raise Permanent(TOO_BIG)  # RFC 1870 section 6.1

    def judged(session: SubmissionSession, refusal: Reply | None) -> None:
        if refusal is not None and not refusal.is_positive:
            session.pass_on(refusal)
            return
        buffers = session.buffers
        buffers.reverse_path = sender
        buffers.parameters = params
        session.state = then
        session.out.append(say.SENDER_OK)

    question = session.server.application.check_sender
    session.ask("check_sender", judged, question, client, client.identity, sender, size, params)


def rcpt(session: SubmissionSession, argument: bytes, then: State) -> None:
    """Add a recipient."""
    if argument[:3].upper() != b"TO:":
        raise say.bad_argument("Syntax: RCPT TO:<address>")
    path, rest = split_path(argument[3:].lstrip(b" "))
    client, config, buffers = session.client, session.config, session.buffers
    if rest and not client.esmtp:
        raise Permanent(say.NEEDS_EHLO)
    smtputf8 = buffers.parameters.smtputf8
    mailbox = parse_path(path, smtputf8=smtputf8, postmaster_domain=config.hostname)
    if mailbox is None:
        raise AddressError("a recipient cannot be empty")
    notify, orcpt = parse_recipient_parameters(rest)
    recipients = buffers.forward_paths
    count = len(recipients)
    if count >= config.max_recipients:
        session.answer(say.TOO_MANY_RECIPIENTS)  # RFC 5321 section 4.5.3.1.10
        return

    def judged(session: SubmissionSession, refusal: Reply | None) -> None:
        if refusal is not None and not refusal.is_positive:
            session.pass_on(refusal)
            return
        recipients.append(Recipient(mailbox=mailbox, notify=notify, orcpt=orcpt))
        session.state = then
        session.out.append(say.RECIPIENT_OK)

    question, sender = session.server.application.check_recipient, buffers.reverse_path
    session.ask("check_recipient", judged, question, client, client.identity, sender, mailbox, count)


# DATA


def data(session: SubmissionSession, argument: bytes, step: Step) -> None:
    """Ask for the message, where there is room for it. A late refusal comes after the argument's."""
    if argument:
        raise say.bad_argument("DATA takes no argument")
    then = in_order(step)
    budget, config, buffers = session.server.budget, session.config, session.buffers
    if budget.used_octets >= budget.limit_octets:
        session.end_transaction()
        session.answer(NO_ROOM)
        return
    session.out.append(say.GO_AHEAD)
    buffers.mail_data = DataReceiver(config.size_limit_octets, budget, config.line_endings)
    buffers.started_s = session.now()
    session.state = then
    session.reader = _read_data


def _read_data(session: SubmissionSession, data: bytes) -> bytes:
    """Take a piece of the message; the octets behind its end, if that has come."""
    receiver = session.buffers.mail_data
    assert isinstance(receiver, DataReceiver)  # noqa: S101 - set where this reader is
    rest = receiver.feed(data)
    if receiver.fault is not None and _endless(session, receiver, receiver.fault):
        return b""
    if rest is None:
        return b""
    session.reader = None
    _submit(session, receiver)
    return rest


def _endless(session: SubmissionSession, receiver: Receiver, fault: Reply) -> bool:
    """A refused message is read to its end, but not for ever: whether it was given up."""
    limit_octets = max(_DRAINED_AT_MOST_OCTETS, 4 * session.config.size_limit_octets)
    if receiver.received_octets <= limit_octets:
        return False
    session.answer(fault)
    session.close()
    return True


# BDAT


def bdat(session: SubmissionSession, argument: bytes, step: Step) -> None:
    """Take a chunk. Its octets come in any case, so that a refusal is said behind them."""
    match = _CHUNK.fullmatch(argument)
    if match is None:
        session.close()  # how many octets follow is unknown
        raise say.bad_argument("Syntax: BDAT octets [LAST]")
    config, buffers = session.config, session.buffers
    if buffers.mail_data is None:
        receiver = ChunkReceiver(config.size_limit_octets, session.server.budget, config.line_endings)
        receiver.fault = session.reply_of(step) if isinstance(step, Refusal) else None
        buffers.mail_data = receiver
    octets = int(match[1])
    chunk = buffers.chunk = Chunk(octets, octets, match[2] is not None, step)
    buffers.started_s = session.now()
    if octets:
        session.reader = _read_chunk
    else:
        _end_chunk(session, chunk)


def _read_chunk(session: SubmissionSession, data: bytes) -> bytes:
    """Take a piece of the chunk; the octets behind its end, if that has come."""
    receiver, chunk = session.buffers.mail_data, session.buffers.chunk
    assert isinstance(receiver, ChunkReceiver) and chunk is not None  # noqa: S101, PT018 - set with this
    rest = data[chunk.left :]
    piece = data[: chunk.left] if rest else data
    chunk.left -= len(piece)
    receiver.feed(piece)
    if receiver.fault is not None and _endless(session, receiver, receiver.fault):
        return b""
    if not chunk.left:
        session.reader = None
        _end_chunk(session, chunk)
    return rest


def _end_chunk(session: SubmissionSession, chunk: Chunk) -> None:
    buffers = session.buffers
    receiver = buffers.mail_data
    assert receiver is not None  # noqa: S101 - set with the chunk
    buffers.chunk = None
    if isinstance(chunk.step, Refusal):
        buffers.mail_data = None
        session.refuse(session.reply_of(chunk.step))
        return
    session.state = chunk.step
    if not chunk.last and receiver.fault is None:
        session.answer(Reply(Code.OK, Status.OK, f"{chunk.octets} octets received"))
        return
    _submit(session, receiver)


# The message


def _submit(session: SubmissionSession, receiver: Receiver) -> None:
    """Hand the message over, and answer only then (A1)."""
    envelope_of = session.buffers.sealed()
    if receiver.received_octets > SLICE_OCTETS and receiver.fault is None:
        session.ask("submit", _submitted, _submit_large, session, receiver, envelope_of)
        return
    try:
        envelope = envelope_of(receiver.content())
    except SmtpError as error:
        session.end_transaction()
        session.answer(error.reply)
        return
    client = session.client
    session.ask("submit", _submitted, session.server.application.submit, client, client.identity, envelope)


async def _submit_large(
    session: SubmissionSession, receiver: Receiver, envelope_of: Callable[[bytes], Envelope]
) -> Reply:
    """As `_submit`, with turns for others while line ends are cleaned (A5)."""
    steps = receiver.cleaning()
    try:
        while True:
            next(steps)
            await asyncio.sleep(0)
    except StopIteration as end:
        envelope = envelope_of(end.value)
    except SmtpError as error:
        return error.reply
    client = session.client
    answer = session.server.application.submit(client, client.identity, envelope)
    del envelope  # the application's alone: it may let go of the octets before it answers
    return answer if isinstance(answer, Reply) else await answer


def _submitted(session: SubmissionSession, reply: Reply) -> None:
    session.end_transaction()
    if reply.is_positive:
        session.errors = 0
    session.pass_on(reply)


@lru_cache(maxsize=_SENDERS_REMEMBERED)
def _parse_sender(argument: bytes) -> tuple[Mailbox | None, MailParameters, bool]:
    """Reverse-path and parameters of MAIL, and whether there are any parameters."""
    if argument[:5].upper() != b"FROM:":
        raise say.bad_argument("Syntax: MAIL FROM:<address>")
    path, rest = split_path(argument[5:].lstrip(b" "))
    params = parse_mail_parameters(rest)
    return parse_path(path, smtputf8=params.smtputf8), params, bool(rest)
