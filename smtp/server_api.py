"""The narrow interface between the SMTP submission server and the application behind it.

The server speaks SMTP and knows no accounts; the application decides and stores, and never sees a socket, a
command line, or a type of the library below. Whoever writes an `Application` may assume:

- the calls of one session come one after the other: `authenticate`, then per message `check_sender`,
  `check_recipient` for each recipient, `submit`; different sessions overlap;
- `submit` is called once per complete message, and its 250 is sent only after it has returned (A1);
- a call is never cancelled because the client went away; only the end of a drain cancels.

and has to guarantee: a `Reply` holds nothing that the client may not read, and a call that waits does not
block the event loop (A5). Anything raised is answered for it: `Temporary` and `Permanent` with their reply,
the rest with 451 4.3.0 and the details in the log only (A7).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from msgspec import Struct

from smtp.address import Mailbox
from smtp.codes import Reply

Ret = Literal["FULL", "HDRS"]
Notify = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who has logged in. `name` may be logged; `context` is the application's own and is only handed back."""

    name: str
    context: object = None
    owner: str = ""
    """Whose connections count together at the door; empty: each name's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsInfo:
    """What protects the connection, for the Received field (RFC 3848, RFC 8314 section 4.3)."""

    version: str
    cipher: str


class Session(Struct, kw_only=True):
    """One connection, as the application may see it. To be read, never written, by the application."""

    id: str
    peer_host: str
    peer_port: int
    is_loopback: bool
    implicit_tls: bool = False
    tls: TlsInfo | None = None
    helo: str | None = None  # the name given with HELO or EHLO, unverified
    esmtp: bool = False  # greeted with EHLO
    identity: Identity | None = None


class MailParameters(Struct, frozen=True, kw_only=True, gc=False):
    """The parameters of MAIL FROM. `size_octets` is what the client announced, None if it did not."""

    size_octets: int | None = None  # RFC 1870
    body_8bit: bool = False  # RFC 6152
    smtputf8: bool = False  # RFC 6531
    ret: Ret | None = None  # RFC 3461 section 4.3
    envid: str | None = None  # RFC 3461 section 4.4, decoded


class Recipient(Struct, frozen=True, kw_only=True):
    """One accepted recipient with its wishes about notifications (RFC 3461 sections 4.1 and 4.2)."""

    mailbox: Mailbox
    notify: tuple[Notify, ...] = ()  # empty: not asked, so failures only
    orcpt: str | None = None  # "rfc822;user@example.org", decoded


class Envelope(Struct, frozen=True, kw_only=True):
    """One complete message as received.

    `content` has CRLF line ends and no dot-stuffing, and is not re-encoded in any way. `body_8bit` is true
    where the client announced 8-bit content or the content holds any.
    """

    mail_from: Mailbox | None  # None is the null reverse-path
    rcpt_tos: tuple[Recipient, ...]
    content: bytes
    smtputf8: bool = False
    body_8bit: bool = False
    ret: Ret | None = None
    envid: str | None = None


Verdict = Reply | None
Answer = Verdict | Awaitable[Verdict]


class Application(Protocol):
    """What the server asks. `None` means "accept"; a `Reply` that is not positive refuses with just that.

    What is asked for each message may be answered at once, or by an awaitable where a look-up is due: an
    `async def` does, but costs a task for each question.
    """

    async def authenticate(self, session: Session, username: str, password: str) -> Identity | Reply:
        """The identity of these credentials, or the refusal (usually 535 5.7.8, 454 4.7.0 when slowed)."""

    def check_sender(
        self,
        session: Session,
        identity: Identity | None,
        sender: Mailbox | None,
        size: int | None,
        params: MailParameters,
    ) -> Answer:
        """Whether this identity may send from this reverse-path; `size` in octets, None if not announced."""

    def check_recipient(
        self,
        session: Session,
        identity: Identity | None,
        sender: Mailbox | None,
        recipient: Mailbox,
        count_so_far: int,
    ) -> Answer:
        """Whether one more recipient is welcome after `count_so_far` accepted ones."""

    def submit(
        self, session: Session, identity: Identity | None, envelope: Envelope
    ) -> Reply | Awaitable[Reply]:
        """Take the message: a positive reply only once it is durable (A1)."""


Peer = tuple[str, int]
"""IP address and port."""
Factory = Callable[[Peer | None], asyncio.Protocol]
"""Makes the protocol of one connection; with None its peer is whom the transport names."""


class Guest(Protocol):
    """A connection, as far as the door knows it."""

    def dismiss(self) -> None:
        """Close at once: another has its place, and nobody has to be told of the end."""


class Listening(Protocol):
    """A listener that is open."""

    @property
    def port(self) -> int:
        """The port that is listened on."""

    def close(self) -> None:
        """Take no more connections."""


class Door(Protocol):
    """Where connections come from, and who of them may stay; the application's, which has other doors too.

    With `tls` a connection begins with the handshake, and its protocol after that. The door may `dismiss` a
    guest at any time between `enter` and `leave`, and will not where it has been recognised.
    """

    async def listen(
        self, factory: Factory, host: str, port: int, *, tls: ssl.SSLContext | None, reuse_port: bool
    ) -> Listening:
        """Listen; port 0 lets the system choose. Raises OSError where the address is taken."""

    def enter(self, guest: Guest, peer: str) -> bool:
        """Whether a connection from this IP address may come in."""

    def recognise(self, guest: Guest, account: str) -> None:
        """It has logged in."""

    def leave(self, guest: Guest) -> None:
        """It has gone; may be said again."""

    def handshaking(self, guest: Guest, peer: str) -> None:
        """STARTTLS: its handshake begins."""

    def handshaken(self, guest: Guest) -> None:
        """It has ended; may be said again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Limits and habits of one submission server. Every limit has an answer of its own, none is silent (A6).

    `line_endings` says what happens to a bare CR or a bare LF in a message. Neither ever ends DATA.
    "normalise", the default, turns a bare LF into CRLF and a bare CR into a space before anybody else sees
    the message, because `smtplib.sendmail(sender, to, message.as_bytes())`, found in countless programs,
    sends bare LFs; Postfix does the same since 3.9. "refuse" answers 550 5.6.0. A bare LF that ends a
    *command* is accepted by "normalise" and closes the connection with "refuse".
    """

    hostname: str
    size_limit_octets: int = 26_214_400
    max_recipients: int = 1000  # RFC 5321 section 4.5.3.1.8 asks for at least 100
    tls_context: ssl.SSLContext | None = field(default=None, repr=False)
    require_tls_for_auth: bool = True  # RFC 4954 section 4
    allow_plain_auth_on_loopback: bool = False
    auth_required: bool = True
    line_endings: Literal["normalise", "refuse"] = "normalise"
    idle_timeout_s: float = 300.0  # RFC 5321 section 4.5.3.2.7
    data_timeout_s: float = 600.0  # for a whole message, prolonged by a second for each KiB received
    tls_handshake_timeout_s: float = 30.0
    max_errors: int = 20  # protocol errors in one session, since its last accepted message
    max_inflight_octets: int = 268_435_456  # messages being received or submitted, over all sessions
    auth_failure_limit: int = 3  # per connection
    auth_failure_delay_s: float = 2.0
