"""One submission session between commands: its state, the facts beside it, what it says, what it waits for.

Sans-IO: `server_commands.execute` takes a command line, `reader` the octets of a message, and replies gather
in `out`. Where the application has no answer at hand, or a conversation begins, that is left in `pending`,
and the next command may come once it is over. The state is the table's (`server_order`); the facts are
`client` (TLS, EHLO or HELO, who has logged in), `unread` and the counts of errors.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, cast

import structlog
from msgspec import Struct

from smtp import server_replies as say
from smtp.codes import Code, Reply, SmtpError
from smtp.server_api import Identity, Peer, Session, TlsInfo
from smtp.server_buffers import MailBuffers
from smtp.server_input import InputBuffer
from smtp.server_order import CLOSED, CLOSING, CONNECTED, OVER, READY, TRANSACTION, Refusal, State
from smtp.server_state import ServerState

log = structlog.get_logger(__name__)


class ConnectionClosed(Exception):
    """The client is gone; the session ends without a word."""


Then = Callable[["SubmissionSession", Any], None]
"""Takes the answer to a question."""
Reader = Callable[["SubmissionSession", bytes], bytes]
"""Takes a message's octets, returns those behind its end."""


class Question(Struct):
    """The application was asked, and will answer."""

    about: str
    then: Then
    answer: Awaitable[Any]


class Login(Struct):
    """AUTH was said with these words; the client is asked for the rest (`server_auth`)."""

    words: list[str]
    then: State


class Handshake(Struct):
    """STARTTLS was taken (`server_tls`)."""

    context: ssl.SSLContext
    then: State


Pending = Question | Login | Handshake


class SubmissionSession:
    """See the module. `now` is the time in seconds that deadlines are measured in."""

    __slots__ = (
        "auth_failures",
        "buffers",
        "client",
        "config",
        "errors",
        "now",
        "out",
        "pending",
        "reader",
        "server",
        "state",
        "unread",
    )

    def __init__(
        self, server: ServerState, client: Session, unread: InputBuffer, now: Callable[[], float]
    ) -> None:
        self.server = server
        self.config = server.config
        self.client = client
        self.unread = unread
        self.now = now
        self.state = CONNECTED
        self.buffers = MailBuffers()
        self.out: list[bytes] = []
        self.reader: Reader | None = None
        self.pending: Pending | None = None
        self.errors = 0  # since the last accepted message
        self.auth_failures = 0

    @property
    def over(self) -> bool:
        """Whether nothing is read any more."""
        return self.state in OVER

    @property
    def in_transaction(self) -> bool:
        """Whether a message is under way, which a drain lets finish."""
        return self.state in TRANSACTION

    # From state to state

    def close(self) -> None:
        """The last reply has been said."""
        if self.state is not CLOSED:
            self.state = CLOSING

    def greeted(self, then: State) -> None:
        """EHLO was taken: on to `then` (GREETED), or at once to READY where no login is due."""
        due = self.config.auth_required and self.client.identity is None
        self.state = then if due else READY

    def end_transaction(self) -> None:
        """The message was answered, or is given up: another may begin."""
        self.buffers.clear()
        self.state = READY

    def protected(self, tls: TlsInfo, then: State) -> None:
        """TLS has begun. RFC 3207 section 4.2: nothing learnt in clear counts any more."""
        client = self.client
        client.tls = tls
        client.helo = None
        client.esmtp = False
        client.identity = None
        self.buffers.clear()
        if not self.over:
            self.state = then

    def logged_in(self, identity: Identity, then: State) -> None:
        """AUTH has succeeded."""
        self.client.identity = identity
        if not self.over:
            self.state = then

    def may_authenticate(self) -> bool:
        """Whether passwords may travel on this connection."""
        config = self.config
        if self.client.tls is not None or not config.require_tls_for_auth:
            return True
        return config.allow_plain_auth_on_loopback and self.client.is_loopback

    # Answers

    def answer(self, reply: Reply) -> None:
        """Queue a reply."""
        self.out.append(reply.render())

    def pass_on(self, reply: Reply) -> None:
        """Pass on the application's reply, which is no error of the protocol."""
        self.out.append(reply.render())
        if reply.code == Code.UNAVAILABLE:  # RFC 5321 section 3.8
            self.close()

    def refuse(self, reply: Reply) -> None:
        """Answer a broken rule, and close after too many of them."""
        self.out.append(reply.render())
        self.errors += 1
        if reply.code == Code.UNAVAILABLE:
            self.close()
        elif self.errors >= self.config.max_errors and not self.over:
            log.info("smtp_session_cut", session=self.client.id, errors=self.errors)
            self.answer(say.TOO_MANY_ERRORS)
            self.close()

    def reply_of(self, refusal: Refusal) -> Reply:
        """What is said to a command out of order."""
        if refusal.reply is say.AUTH_FIRST and not self.may_authenticate():
            return say.TLS_FIRST
        return refusal.reply

    # Questions

    def ask(self, about: str, then: Then, question: Callable[..., Any], *arguments: object) -> None:
        """Hand the application's answer to `then`: at once where it has it, or when it comes.

        Whatever it raises becomes a reply, with the details in the log (A7).
        """
        try:
            answer = question(*arguments)
        except Exception as error:  # noqa: BLE001 - logged there, and answered
            answer = self.failure(about, error)
        if answer is None or isinstance(answer, Reply):
            then(self, answer)
        else:
            self.pending = Question(about, then, cast("Awaitable[Any]", answer))

    def failure(self, about: str, error: BaseException) -> Reply:
        """The reply for what the application raised."""
        if isinstance(error, SmtpError):
            log.info(
                "smtp_application_refused",
                session=self.client.id,
                about=about,
                reply=error.reply.line(),
                **error.log_fields,
            )
            return error.reply
        log.error("smtp_application_failed", session=self.client.id, about=about, exc_info=error)
        return say.APPLICATION_FAILED


def client_of(session_id: str, peer: Peer, *, implicit_tls: bool) -> Session:
    """Who is there, as far as the connection tells."""
    host, port = peer[:2]
    return Session(
        id=session_id,
        peer_host=host,
        peer_port=port,
        is_loopback=_is_loopback(host),
        implicit_tls=implicit_tls,
    )


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
