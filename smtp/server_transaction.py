"""The mail transaction: MAIL, RCPT, DATA and BDAT, up to the application's `submit`.

A transaction begins with an accepted MAIL and ends with the answer to the message, with RSET, or with a new
greeting. Of a message that never came to its end nothing is left.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from smtp import server_replies as say
from smtp.address import AddressError, Mailbox, parse_path, split_path
from smtp.codes import Code, Permanent, Reply, SmtpError, Status
from smtp.data import NO_ROOM, SLICE_OCTETS, TOO_BIG, ChunkReceiver, DataReceiver
from smtp.server_api import Envelope, MailParameters, Peer, Recipient
from smtp.server_auth import AuthConnection
from smtp.server_connection import ConnectionClosed
from smtp.server_parameters import parse_mail_parameters, parse_recipient_parameters
from smtp.server_state import ServerState

_SLOWEST_OCTETS_PER_S = 1024  # each second earned by a message under way
_DRAINED_AT_MOST_OCTETS = 67_108_864  # of a refused message, or four times the size limit
_CHUNK = re.compile(rb"([0-9]{1,15})(?: +(LAST))?", re.IGNORECASE)  # RFC 3030 section 2
_SENDERS_REMEMBERED = 512  # applications send from a few addresses; a line is at most 1,200 octets


@dataclass(slots=True)
class _Chunk:
    """One BDAT command: what is still to come of it, and what is to be said then."""

    octets: int
    left: int
    last: bool
    refusal: SmtpError | None


class TransactionConnection(AuthConnection):
    """A connection that can take messages."""

    _mail: tuple[Mailbox | None, MailParameters] | None = None
    _receiver: DataReceiver | ChunkReceiver | None = None
    _chunk: _Chunk | None = None
    _content_started = 0.0
    _errors = 0

    def __init__(
        self,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        peer: Peer | None = None,
        *,
        implicit_tls: bool = False,
    ) -> None:
        super().__init__(state, loop, peer, implicit_tls=implicit_tls)
        self._recipients: list[Recipient] = []

    @property
    def in_transaction(self) -> bool:
        """Whether a message is under way."""
        return self._mail is not None

    def _reset_transaction(self) -> None:
        self._mail = None
        self._recipients = []
        if self._receiver is not None:
            self._receiver.release()
            self._receiver = None

    def _check_greeted(self) -> None:
        if self.client.helo is None:
            raise say.bad_sequence("Send EHLO first")
        if self._config.auth_required and self.client.identity is None:
            raise Permanent(say.AUTH_FIRST if self._may_authenticate() else say.TLS_FIRST)

    def _command_mail(self, argument: bytes) -> None:
        self._check_greeted()
        if self._mail is not None:
            raise say.bad_sequence("A transaction is open already")
        sender, params, has_parameters = _parse_sender(argument)
        if has_parameters and not self.client.esmtp:
            raise Permanent(say.NEEDS_EHLO)
        size = params.size_octets
        if size is not None and size > self._config.size_limit_octets:
            raise Permanent(TOO_BIG)  # RFC 1870 section 6.1
        client = self.client

        def judged(refusal: Reply | None) -> None:
            if refusal is not None and not refusal.is_positive:
                self._decline(refusal)
                return
            self._mail = (sender, params)
            self._queue(say.SENDER_OK)

        question = self._state.application.check_sender
        self._ask("check_sender", judged, question, client, client.identity, sender, size, params)

    def _command_rcpt(self, argument: bytes) -> None:
        self._check_greeted()
        if self._mail is None or self._receiver is not None:
            raise say.bad_sequence(
                "Send MAIL FROM first" if self._mail is None else "Not between BDAT chunks"
            )
        if argument[:3].upper() != b"TO:":
            raise say.bad_argument("Syntax: RCPT TO:<address>")
        path, rest = split_path(argument[3:].lstrip(b" "))
        client = self.client
        if rest and not client.esmtp:
            raise Permanent(say.NEEDS_EHLO)
        sender, params = self._mail
        mailbox = parse_path(path, smtputf8=params.smtputf8, postmaster_domain=self._config.hostname)
        if mailbox is None:
            raise AddressError("a recipient cannot be empty")
        notify, orcpt = parse_recipient_parameters(rest)
        recipients = self._recipients
        count = len(recipients)
        if count >= self._config.max_recipients:
            self._answer(say.TOO_MANY_RECIPIENTS)  # RFC 5321 section 4.5.3.1.10
            return

        def judged(refusal: Reply | None) -> None:
            if refusal is not None and not refusal.is_positive:
                self._decline(refusal)
                return
            recipients.append(Recipient(mailbox=mailbox, notify=notify, orcpt=orcpt))
            self._queue(say.RECIPIENT_OK)

        question = self._state.application.check_recipient
        self._ask("check_recipient", judged, question, client, client.identity, sender, mailbox, count)

    def _check_ready(self) -> None:
        self._check_greeted()
        if self._mail is None:
            raise say.bad_sequence("Send MAIL FROM first")
        if not self._recipients:
            raise say.bad_sequence("No valid recipients")

    # DATA

    def _command_data(self, argument: bytes) -> None:
        self._check_ready()
        if argument or self._receiver is not None:
            raise (
                say.bad_argument("DATA takes no argument")
                if argument
                else say.bad_sequence("Not between BDAT chunks")
            )
        budget, config = self._state.budget, self._config
        if budget.used_octets >= budget.limit_octets:
            self._reset_transaction()
            self._answer(NO_ROOM)
            return
        self._queue(say.GO_AHEAD)
        self._receiver = DataReceiver(config.size_limit_octets, budget, config.line_endings)
        self._content_started = self.loop.time()
        self._reader = self._read_data

    def _read_data(self, data: bytes) -> bytes:
        """Take a piece of the message; the octets behind its end, if that has come."""
        receiver = self._receiver
        assert isinstance(receiver, DataReceiver)  # noqa: S101 - set where this reader is
        rest = receiver.feed(data)
        if receiver.fault is not None:
            self._stop_endless(receiver.received_octets, receiver.fault)
        if rest is None:
            return b""
        self._reader = None
        self._submit(receiver)
        return rest

    def _content_deadline(self) -> float:
        """The time for a message grows with what has come of it, so that nobody can dawdle."""
        receiver, chunk = self._receiver, self._chunk
        received = receiver.received_octets if receiver is not None else 0
        if chunk is not None:
            received = chunk.octets - chunk.left
        return self._content_started + self._config.data_timeout_s + received / _SLOWEST_OCTETS_PER_S

    def _stop_endless(self, received_octets: int, fault: Reply) -> None:
        """A refused message is read to its end, but not for ever."""
        if received_octets > max(_DRAINED_AT_MOST_OCTETS, 4 * self._config.size_limit_octets):
            self.hang_up(fault)
            raise ConnectionClosed

    # BDAT

    def _command_bdat(self, argument: bytes) -> None:
        match = _CHUNK.fullmatch(argument)
        if match is None:
            self._closing = True  # how many octets follow is unknown
            raise say.bad_argument("Syntax: BDAT octets [LAST]")
        refusal: SmtpError | None = None
        try:
            self._check_ready()
        except SmtpError as error:
            refusal = error
        config = self._config
        if self._receiver is None:
            receiver = ChunkReceiver(config.size_limit_octets, self._state.budget, config.line_endings)
            receiver.fault = refusal.reply if refusal is not None else None
            self._receiver = receiver
        octets = int(match[1])
        self._chunk = _Chunk(octets, octets, match[2] is not None, refusal)
        self._content_started = self.loop.time()
        if octets:
            self._reader = self._read_chunk
        else:
            self._end_chunk(self._chunk)

    def _read_chunk(self, data: bytes) -> bytes:
        """Take a piece of the chunk; the octets behind its end, if that has come."""
        receiver, chunk = self._receiver, self._chunk
        assert isinstance(receiver, ChunkReceiver) and chunk is not None  # noqa: S101, PT018 - set with this
        rest = data[chunk.left :]
        piece = data[: chunk.left] if rest else data
        chunk.left -= len(piece)
        receiver.feed(piece)
        if receiver.fault is not None:
            self._stop_endless(receiver.received_octets, receiver.fault)
        if not chunk.left:
            self._reader = None
            try:
                self._end_chunk(chunk)
            except SmtpError as error:
                self._refuse(error.reply)
        return rest

    def _end_chunk(self, chunk: _Chunk) -> None:
        receiver = self._receiver
        self._chunk = None
        if chunk.refusal is not None:
            self._receiver = None
            raise chunk.refusal
        if receiver is None:
            return
        if not chunk.last and receiver.fault is None:
            self._queue(Reply(Code.OK, Status.OK, f"{chunk.octets} octets received").render())
            return
        self._submit(receiver)

    # The message

    def _submit(self, receiver: DataReceiver | ChunkReceiver) -> None:
        """Hand the message over, and answer only then (A1)."""
        if self._mail is None:
            return
        envelope_of = partial(_envelope, self._mail, tuple(self._recipients))
        if receiver.received_octets > SLICE_OCTETS and receiver.fault is None:
            self._ask("submit", self._submitted, self._submit_large, receiver, envelope_of)
            return
        try:
            envelope = envelope_of(receiver.content())
        except SmtpError as error:
            self._reset_transaction()
            self._answer(error.reply)
            return
        client = self.client
        self._ask(
            "submit", self._submitted, self._state.application.submit, client, client.identity, envelope
        )

    async def _submit_large(
        self, receiver: DataReceiver | ChunkReceiver, envelope_of: Callable[[bytes], Envelope]
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
        client = self.client
        answer = self._state.application.submit(client, client.identity, envelope)
        del envelope  # the application's alone: it may let go of the octets before it answers
        return answer if isinstance(answer, Reply) else await answer

    def _submitted(self, reply: Reply) -> None:
        self._reset_transaction()
        if reply.is_positive:
            self._errors = 0
        self._decline(reply)

    @abstractmethod
    def _refuse(self, reply: Reply) -> None:
        """Answer a broken rule."""


def _envelope(
    mail: tuple[Mailbox | None, MailParameters], recipients: tuple[Recipient, ...], content: bytes
) -> Envelope:
    sender, params = mail
    return Envelope(
        mail_from=sender,
        rcpt_tos=recipients,
        content=content,
        smtputf8=params.smtputf8,
        body_8bit=params.body_8bit or not content.isascii(),
        ret=params.ret,
        envid=params.envid,
    )


@lru_cache(maxsize=_SENDERS_REMEMBERED)
def _parse_sender(argument: bytes) -> tuple[Mailbox | None, MailParameters, bool]:
    """Reverse-path and parameters of MAIL, and whether there are any parameters."""
    if argument[:5].upper() != b"FROM:":
        raise say.bad_argument("Syntax: MAIL FROM:<address>")
    path, rest = split_path(argument[5:].lstrip(b" "))
    params = parse_mail_parameters(rest)
    return parse_path(path, smtputf8=params.smtputf8), params, bool(rest)
