"""The commands of one submission session (RFC 5321, RFC 6409).

Offers SIZE (RFC 1870), 8BITMIME (6152), PIPELINING (2920), CHUNKING (3030), DSN (3461), SMTPUTF8 (6531),
ENHANCEDSTATUSCODES (2034), STARTTLS (3207) and AUTH PLAIN and LOGIN (4954, 4616). Every decision about
accounts, addresses and messages is the application's (`server_api.Application`); here are only grammar, order
and limits.

A command that breaks a rule is answered and counts towards `max_errors`; nothing a client sends raises out of
`_execute` but the end of the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import structlog

from smtp import server_replies as say
from smtp.address import AddressError, NonAsciiAddressError
from smtp.codes import Code, Permanent, Reply, SmtpError, Status, Temporary
from smtp.server_connection import LONGEST_LINE_OCTETS
from smtp.server_input import OVERLONG
from smtp.server_transaction import TransactionConnection

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


class SubmissionSession(TransactionConnection):
    """One client's session. Commands are the `_command_…` methods, taking the argument's octets."""

    def _greet_client(self) -> None:
        self._out.append(self._state.greeting)

    def _execute(self, line: bytes) -> None:
        """Answer one command line."""
        command = b""
        try:
            text = line[:-2] if line.endswith(b"\r\n") else self._without_line_end(line)
            verb, _, argument = text.partition(b" ")
            command = verb.upper()
            if len(line) > _LINE_LIMITS.get(command, _LINE_LIMIT):
                raise Permanent(say.LINE_TOO_LONG)
            if len(text.translate(None, _CONTROLS)) != len(text):
                raise Permanent(say.CONTROL_CHARACTER)
            perform = _COMMANDS.get(command)
            if perform is None:
                # A browser was talked into this, the body would come next.
                raise Temporary(say.NOT_HTTP) if command in _HTTP_VERBS else Permanent(say.UNKNOWN_COMMAND)
            perform(self, argument.strip(b" "))
        except AddressError as error:
            self._refuse(self._address_refusal(command, error))
        except SmtpError as error:
            self._refuse(error.reply)

    def _without_line_end(self, line: bytes) -> bytes:
        if line == OVERLONG:
            raise Permanent(say.LINE_TOO_LONG)
        if self._config.line_endings == "normalise":
            return line[:-1]
        self._closing = True  # what follows could be a command smuggled in (CVE-2023-51764)
        raise Permanent(say.BARE_LF)

    def _refuse(self, reply: Reply) -> None:
        """Answer a broken rule, and close after too many of them."""
        self._answer(reply)
        self._errors += 1
        if reply.code == Code.UNAVAILABLE:
            self._closing = True
        elif self._errors >= self._config.max_errors and not self._closing:
            log.info("smtp_session_cut", session=self.client.id, errors=self._errors)
            self._answer(say.TOO_MANY_ERRORS)
            self._closing = True

    @staticmethod
    def _address_refusal(command: bytes, error: AddressError) -> Reply:
        if command == b"MAIL" and not isinstance(error, NonAsciiAddressError):
            return Reply(Code.BAD_MAILBOX, Status.SENDER_SYNTAX, error.reason)
        return error.reply

    # Greeting and TLS

    def _command_helo(self, argument: bytes) -> None:
        self._greeted(argument, esmtp=False)
        self._queue(Reply(Code.OK, "", self._config.hostname).render())

    def _command_ehlo(self, argument: bytes) -> None:
        self._greeted(argument, esmtp=True)
        starttls = self._state.config.tls_context is not None and self.client.tls is None
        self._out.append(self._state.ehlo_reply(starttls=starttls, auth=self._may_authenticate()))

    def _greeted(self, argument: bytes, *, esmtp: bool) -> None:
        name = argument.partition(b" ")[0].decode("utf-8", "replace")
        if not name or len(name) > 255:
            raise say.bad_argument("Give the name of your host: EHLO client.example.org")
        self._reset_transaction()  # RFC 5321 section 4.1.4
        self.client.helo = name
        self.client.esmtp = esmtp

    def _command_starttls(self, argument: bytes) -> None:
        if argument:
            raise say.bad_argument("STARTTLS takes no argument")
        if self.client.tls is not None:
            raise say.bad_sequence("TLS is already active")
        context, transport = self._state.config.tls_context, self.transport
        if context is None or transport is None:
            raise Permanent(say.NOT_OFFERED)
        transport.pause_reading()  # the next octet belongs to the handshake
        if len(self._input):
            # Commands sent in clear would run as if they had come protected (CVE-2011-0411).
            self._closing = True
            log.warning("smtp_starttls_injection_refused", session=self.client.id)
            self._refuse(say.INJECTION)
            return
        self._queue(Reply(Code.READY, Status.OK, "Ready to start TLS").render())
        self._write_out()
        self._run(self._protect(transport, context))

    async def _protect(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        await self._start_tls(transport, context)
        # RFC 3207 section 4.2: nothing learnt in clear counts any more.
        self._reset_transaction()
        self.client.helo = None
        self.client.esmtp = False
        self.client.identity = None

    # The rest

    def _command_rset(self, argument: bytes) -> None:
        if argument:
            raise say.bad_argument("RSET takes no argument")
        self._reset_transaction()
        self._queue(say.OK)

    def _command_noop(self, _argument: bytes) -> None:
        self._queue(say.OK)

    def _command_quit(self, argument: bytes) -> None:
        if argument:
            raise say.bad_argument("QUIT takes no argument")
        self._queue(say.BYE)
        self._closing = True

    def _command_help(self, _argument: bytes) -> None:
        self._queue(_HELP)

    def _command_vrfy(self, _argument: bytes) -> None:
        # RFC 5321 section 3.5.3: no word about which mailboxes exist.
        self._answer(Reply(Code.CANNOT_VERIFY, "2.0.0", "Cannot verify, send the message and see"))

    def _command_expn(self, _argument: bytes) -> None:
        raise Permanent(say.NOT_OFFERED)


_COMMANDS: dict[bytes, Callable[[SubmissionSession, bytes], None]] = {
    name.removeprefix("_command_").upper().encode(): getattr(SubmissionSession, name)
    for name in dir(SubmissionSession)
    if name.startswith("_command_")
}
_HELP = Reply(Code.HELP, Status.OK, f"Commands: {b' '.join(sorted(_COMMANDS)).decode()}").render()
