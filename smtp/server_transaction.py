"""The mail transaction: MAIL, RCPT, DATA and BDAT, up to the application's `submit`.

A transaction begins with an accepted MAIL and ends with the answer to the message, with RSET, or with a new
greeting. Of a message that never came to its end nothing is left.
"""

from __future__ import annotations

import asyncio
import re

from smtp import server_replies as say
from smtp.address import AddressError, Mailbox, parse_path, split_path
from smtp.codes import Code, Permanent, Reply, SmtpError, Status
from smtp.data import NO_ROOM, TOO_BIG, ChunkReceiver, DataReceiver
from smtp.server_api import Envelope, MailParameters, Recipient
from smtp.server_auth import AuthConnection
from smtp.server_connection import ConnectionClosed, ServerState
from smtp.server_parameters import parse_mail_parameters, parse_recipient_parameters

_SLOWEST_OCTETS_PER_S = 1024  # each second earned by a message under way
_DRAINED_AT_MOST_OCTETS = 67_108_864  # of a refused message, or four times the size limit
_CHUNK = re.compile(rb"([0-9]{1,15})(?: +(LAST))?", re.IGNORECASE)  # RFC 3030 section 2


class TransactionConnection(AuthConnection):
    """A connection that can take messages."""

    _mail: tuple[Mailbox | None, MailParameters] | None = None
    _chunks: ChunkReceiver | None = None
    _errors = 0

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(state, loop)
        self._recipients: list[Recipient] = []

    @property
    def in_transaction(self) -> bool:
        """Whether a message is under way."""
        return self._mail is not None

    def _reset_transaction(self) -> None:
        self._mail = None
        self._recipients = []
        if self._chunks is not None:
            self._chunks.release()
            self._chunks = None

    def _check_greeted(self) -> None:
        if self.client.helo is None:
            raise say.bad_sequence("Send EHLO first")
        if self._config.auth_required and self.client.identity is None:
            raise Permanent(say.AUTH_FIRST if self._may_authenticate() else say.TLS_FIRST)

    async def _command_mail(self, argument: bytes) -> None:
        self._check_greeted()
        if self._mail is not None:
            raise say.bad_sequence("A transaction is open already")
        if argument[:5].upper() != b"FROM:":
            raise say.bad_argument("Syntax: MAIL FROM:<address>")
        path, rest = split_path(argument[5:].lstrip(b" "))
        if rest and not self.client.esmtp:
            raise Permanent(say.NEEDS_EHLO)
        params = parse_mail_parameters(rest)
        sender = parse_path(path, smtputf8=params.smtputf8)
        size = params.size_octets
        if size is not None and size > self._config.size_limit_octets:
            raise Permanent(TOO_BIG)  # RFC 1870 section 6.1
        identity = self.client.identity
        question = self._state.application.check_sender(self.client, identity, sender, size, params)
        refusal = await self._ask(question, "check_sender")
        if refusal is not None and not refusal.is_positive:
            return self._decline(refusal)
        self._mail = (sender, params)
        return self._queue(say.SENDER_OK)

    async def _command_rcpt(self, argument: bytes) -> None:
        self._check_greeted()
        if self._mail is None or self._chunks is not None:
            raise say.bad_sequence(
                "Send MAIL FROM first" if self._mail is None else "Not between BDAT chunks"
            )
        if argument[:3].upper() != b"TO:":
            raise say.bad_argument("Syntax: RCPT TO:<address>")
        path, rest = split_path(argument[3:].lstrip(b" "))
        if rest and not self.client.esmtp:
            raise Permanent(say.NEEDS_EHLO)
        sender, params = self._mail
        mailbox = parse_path(path, smtputf8=params.smtputf8, postmaster_domain=self._config.hostname)
        if mailbox is None:
            raise AddressError("a recipient cannot be empty")
        notify, orcpt = parse_recipient_parameters(rest)
        count = len(self._recipients)
        if count >= self._config.max_recipients:
            return self._answer(say.TOO_MANY_RECIPIENTS)  # RFC 5321 section 4.5.3.1.10
        identity = self.client.identity
        question = self._state.application.check_recipient(self.client, identity, sender, mailbox, count)
        refusal = await self._ask(question, "check_recipient")
        if refusal is not None and not refusal.is_positive:
            return self._decline(refusal)
        self._recipients.append(Recipient(mailbox=mailbox, notify=notify, orcpt=orcpt))
        return self._queue(say.RECIPIENT_OK)

    def _check_ready(self) -> None:
        self._check_greeted()
        if self._mail is None:
            raise say.bad_sequence("Send MAIL FROM first")
        if not self._recipients:
            raise say.bad_sequence("No valid recipients")

    async def _command_data(self, argument: bytes) -> None:
        self._check_ready()
        if argument or self._chunks is not None:
            raise (
                say.bad_argument("DATA takes no argument")
                if argument
                else say.bad_sequence("Not between BDAT chunks")
            )
        if self._state.budget.used_octets >= self._state.budget.limit_octets:
            self._reset_transaction()
            return self._answer(NO_ROOM)
        self._queue(say.GO_AHEAD)
        await self._flush()
        config = self._config
        receiver = DataReceiver(config.size_limit_octets, self._state.budget, config.line_endings)
        try:
            rest = None
            started = self.loop.time()
            while rest is None:
                await self._more(started, receiver.received_octets)
                rest = receiver.feed(self._input.take())
                if receiver.fault is not None:
                    self._stop_endless(receiver.received_octets, receiver.fault)
            self._input.give_back(rest)
            return await self._submit(receiver)
        finally:
            receiver.release()
            self._reset_transaction()

    async def _more(self, started: float, received_octets: int) -> None:
        """Return with unread input. The time for it grows with what has come, so that nobody can dawdle."""
        allowed = started + self._config.data_timeout_s + received_octets / _SLOWEST_OCTETS_PER_S
        if self._out and not len(self._input):
            await self._flush()  # RFC 2920 section 3.2: no reply is held back while we wait
        self._set_deadline(allowed - self.loop.time())
        while not len(self._input):
            if not await self._input.wait():
                raise ConnectionClosed  # nothing is left of an unfinished message
        self._deadline = float("inf")

    def _stop_endless(self, received_octets: int, fault: Reply) -> None:
        """A refused message is read to its end, but not for ever."""
        if received_octets > max(_DRAINED_AT_MOST_OCTETS, 4 * self._config.size_limit_octets):
            self.hang_up(fault)
            raise ConnectionClosed

    async def _command_bdat(self, argument: bytes) -> None:
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
        receiver = self._chunks
        if receiver is None:
            receiver = ChunkReceiver(config.size_limit_octets, self._state.budget, config.line_endings)
            receiver.fault = refusal.reply if refusal is not None else None
            self._chunks = receiver
        await self._read_chunk(receiver, int(match[1]))
        if refusal is not None:
            self._chunks = None
            raise refusal
        if match[2] is None and receiver.fault is None:
            return self._queue(Reply(Code.OK, Status.OK, f"{match[1].decode()} octets received").render())
        try:
            return await self._submit(receiver)
        finally:
            self._reset_transaction()

    async def _read_chunk(self, receiver: ChunkReceiver, octets: int) -> None:
        started = self.loop.time()
        remaining = octets
        while remaining:
            await self._more(started, octets - remaining)
            data = self._input.take(remaining)
            remaining -= len(data)
            receiver.feed(data)
            if receiver.fault is not None:
                self._stop_endless(receiver.received_octets, receiver.fault)

    async def _submit(self, receiver: DataReceiver | ChunkReceiver) -> None:
        """Hand the message over, and answer only then (A1)."""
        if self._mail is None:
            return None
        try:
            content = receiver.content()
        except SmtpError as error:
            return self._answer(error.reply)
        sender, params = self._mail
        envelope = Envelope(
            mail_from=sender,
            rcpt_tos=tuple(self._recipients),
            content=content,
            smtputf8=params.smtputf8,
            body_8bit=params.body_8bit or not content.isascii(),
            ret=params.ret,
            envid=params.envid,
        )
        question = self._state.application.submit(self.client, self.client.identity, envelope)
        del content, envelope  # the application's alone: it may let go of the octets before it answers
        reply = await self._ask(question, "submit")
        if reply.is_positive:
            self._errors = 0
        return self._decline(reply)
