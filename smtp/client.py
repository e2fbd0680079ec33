"""The client's side of an SMTP session, without a socket: octets in, octets out, and a state that says what
is next.

The shell (`connection`) feeds what it reads to `receive`, writes what `take_output` gives, and acts on
`state`: start TLS in TLS_HANDSHAKE (and then call `tls_started`), send the content in CONTENT (and then call
`content_sent`), begin a transaction in READY, close in CLOSED. A transaction's outcomes wait in
`take_outcomes`.

Sources: RFC 5321 (the session), RFC 3207 (STARTTLS), RFC 4954 and 4616 (AUTH), RFC 2920 (PIPELINING), RFC
1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 (DSN).

A session that cannot come to READY keeps the reason in `failure`. No input raises: what is not SMTP ends the
session with a `ProtocolError` in `failure`. No clock in here: the shell watches the timeouts and calls
`lost`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from enum import Enum, auto

from msgspec import Struct

from smtp.codes import Permanent, Reply, SmtpError, Status, Temporary
from smtp.headers import has_bare_line_end
from smtp.outcome import Envelope, Outcome
from smtp.reply_parser import ProtocolError, ReplyParser
from smtp.transaction import Phase, Transaction


class State(Enum):
    """Where the session is, which is also what it waits for."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    TLS_HANDSHAKE = auto()  # the shell starts TLS now
    AUTH = auto()
    READY = auto()  # for a transaction
    COMMANDS = auto()  # replies to RSET, MAIL, RCPT, DATA
    CONTENT = auto()  # the shell sends the content now
    FINAL = auto()  # the reply to the final dot
    EMPTY = auto()  # the reply to the dot of a transaction without recipients
    QUIT = auto()
    CLOSED = auto()


class Tls(Enum):
    """What the session does about STARTTLS. Whether certificates count is the shell's TLS context."""

    OFF = auto()
    OPPORTUNISTIC = auto()  # where it is offered
    REQUIRED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """User and password for AUTH. Never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password, for logs and tracebacks."""
        return f"Credentials(user={self.user!r})"


_WITHHELD = Reply(
    451, Status.SYSTEM_ERROR, "This process stood still; whoever holds the message now sends it"
)
_CLOSED_EARLY = Reply(451, Status.BAD_CONNECTION, "The server closed the connection")


class Session:
    """One session, from the greeting to QUIT, with any number of transactions in it."""

    def __init__(
        self,
        helo: str,
        *,
        tls: Tls = Tls.OPPORTUNISTIC,
        tls_active: bool = False,
        credentials: Credentials | None = None,
        auth_in_clear: bool = False,
    ) -> None:
        """`auth_in_clear` lets AUTH go without TLS; for loopback alone."""
        self.state = State.GREETING
        self.failure: SmtpError | None = None
        self.capabilities: dict[str, str] = {}
        self.tls_active = tls_active
        self.transactions = 0  # begun on this session
        self.replies = 0  # received on this session
        self.heard = False  # whether the server has taken note of the transaction under way
        self._helo = helo
        self._tls = tls
        self._credentials = credentials
        self._auth_in_clear = auth_in_clear
        self._parser = ReplyParser()
        self._output: list[bytes] = []
        self._answers: list[bytes] = []  # to the challenges of AUTH
        self._transaction: Transaction | None = None
        self._needs_rset = False

    # What the shell calls

    def receive(self, octets: bytes) -> None:
        """Take octets from the server and move on. Raises nothing."""
        if self.state is State.CLOSED:
            return
        try:
            for reply in self._parser.feed(octets):
                self.replies += 1
                self.heard = self.heard or reply.code != 421
                self._on_reply(reply)
                if self._is_closed():
                    return
        except ProtocolError as error:
            self._fail(error)
        if self.state is State.TLS_HANDSHAKE and not self._parser.is_empty:  # RFC 3207 section 4.2
            self._fail(ProtocolError("octets in clear after STARTTLS"))

    def take_output(self) -> bytes:
        """The octets to write now."""
        output = self._output
        if not output:
            return b""
        octets = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return octets

    def take_outcomes(self) -> list[Outcome] | None:
        """The outcomes of a transaction that is over, once; else None."""
        if self._transaction is None or self._transaction.phase is not Phase.DONE:
            return None
        outcomes, self._transaction = self._transaction.outcomes, None
        return outcomes

    def begin(self, envelope: Envelope, size_octets: int) -> None:
        """Begin a transaction in state READY. `size_octets` as RFC 1870 counts: before dot-stuffing."""
        if self.state is not State.READY:
            raise RuntimeError(f"a transaction in state {self.state.name}")
        self.heard = False
        self.transactions += 1
        self._transaction = Transaction(envelope, size_octets, self.capabilities, rset_first=self._needs_rset)
        self._go_on(self._transaction)

    def content_sent(self) -> None:
        """All of the content and the final dot have been handed to the transport."""
        if self._transaction is not None and self.state is State.CONTENT:
            self._transaction.content_sent()
            self.state = State.FINAL

    def withhold(self) -> None:
        """The final dot must not go out: the session ends, and the server has taken nothing."""
        if self._transaction is not None and self.state is State.CONTENT:
            self._transaction.withheld(_WITHHELD)
            self._fail(Temporary(_WITHHELD))

    def tls_started(self) -> None:
        """TLS is up: forget what the server said in clear and greet again (RFC 3207 section 4.2)."""
        self.tls_active = True
        self._parser = ReplyParser()
        self.capabilities = {}
        self._ehlo()

    def quit(self) -> None:
        """Say goodbye, in state READY; elsewhere just close."""
        if self.state is State.READY:
            self._send("QUIT")
            self.state = State.QUIT
        else:
            self._fail(Temporary(_CLOSED_EARLY))

    def lost(self, reply: Reply = _CLOSED_EARLY) -> None:
        """The connection is gone or was given up; `reply` says why. What is open gets its outcome."""
        if self.state is not State.CLOSED:
            self._fail(Temporary(reply))

    # What the replies do

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    def _on_reply(self, reply: Reply) -> None:
        if reply.code == 421 and self.state is not State.FINAL:  # RFC 5321 section 3.8: at any time
            self._fail(Temporary(reply))
            return
        transaction = self._transaction
        if transaction is not None and transaction.phase is not Phase.DONE:
            in_content = self.state is State.CONTENT
            transaction.receive(reply)
            self._go_on(transaction)
            if in_content or reply.code == 421:  # the server stopped listening midway, or will now
                self.state = State.CLOSED
            return
        match self.state:
            case State.GREETING:
                self._on_greeting(reply)
            case State.EHLO | State.HELO:
                self._on_hello(reply)
            case State.STARTTLS:
                self._on_starttls(reply)
            case State.AUTH:
                self._on_auth(reply)
            case State.QUIT:
                self.state = State.CLOSED
            case _:
                raise ProtocolError(f"a reply to no command: {reply.line()[:100]}")

    def _on_greeting(self, reply: Reply) -> None:
        if reply.code == 220:
            self._ehlo()
        else:
            self._refused(reply)

    def _on_hello(self, reply: Reply) -> None:
        if reply.code == 250:
            self.capabilities = _capabilities(reply) if self.state is State.EHLO else {}
            self._after_hello()
        elif self.state is State.EHLO and reply.is_permanent:  # RFC 5321 section 3.2: an old server
            self._send(f"HELO {self._helo}")
            self.state = State.HELO
        else:
            self._refused(reply)

    def _after_hello(self) -> None:
        if not self.tls_active and self._tls is not Tls.OFF:
            if "STARTTLS" in self.capabilities:
                self._send("STARTTLS")
                self.state = State.STARTTLS
                return
            if self._tls is Tls.REQUIRED:
                self._refused(Reply(454, Status.POLICY_TEMPORARY, "The server does not offer STARTTLS"))
                return
        self._login()

    def _on_starttls(self, reply: Reply) -> None:
        if reply.code == 220:
            self.state = State.TLS_HANDSHAKE
        elif self._tls is Tls.REQUIRED:
            self._refused(reply)
        else:
            self._login()

    def _login(self) -> None:
        credentials = self._credentials
        if credentials is None:
            self.state = State.READY
            return
        if not (self.tls_active or self._auth_in_clear):
            self._refused(Reply(454, Status.POLICY_TEMPORARY, "AUTH without TLS is not safe"))
            return
        offered = self.capabilities.get("AUTH", "").upper().split()
        user, password = credentials.user.encode(), credentials.password.encode()
        if "PLAIN" in offered:  # RFC 4616
            token = b64encode(b"\0%b\0%b" % (user, password))
            self._answers = []
            self._send(f"AUTH PLAIN {token.decode()}")
        elif "LOGIN" in offered:
            self._answers = [b64encode(password), b64encode(user)]
            self._send("AUTH LOGIN")
        else:
            self._refused(
                Reply(454, Status.POLICY_TEMPORARY, "The server offers neither AUTH PLAIN nor LOGIN")
            )
            return
        self.state = State.AUTH

    def _on_auth(self, reply: Reply) -> None:
        if reply.code == 235:
            self.state = State.READY
        elif reply.code == 334 and self._answers:
            self._output.append(self._answers.pop() + b"\r\n")
        else:
            self._refused(reply)

    def _go_on(self, transaction: Transaction) -> None:
        """After each reply to the transaction: write what is next, and follow its phase."""
        if transaction.has_unsent:
            commands = transaction.next_commands(pipelining="PIPELINING" in self.capabilities)
            self._output.append(commands)
        phase = transaction.phase
        if phase is Phase.COMMANDS:
            self.state = State.COMMANDS
        elif phase is Phase.CONTENT:
            self.state = State.CONTENT
        elif phase is Phase.DONE:
            self.state = State.READY
            self._needs_rset = transaction.needs_rset
        elif phase is Phase.FINAL:
            self.state = State.FINAL
        elif self.state is not State.EMPTY:
            self.state = State.EMPTY
            self._output.append(b".\r\n")

    def _refused(self, reply: Reply) -> None:
        """The server does not want us, or not like this."""
        self._fail(Permanent(reply) if reply.is_permanent else Temporary(reply))

    def _fail(self, error: SmtpError) -> None:
        if self._transaction is not None and self._transaction.phase is not Phase.DONE:
            self._transaction.lost(error.reply)
        self.failure = error
        self._output.clear()
        self.state = State.CLOSED

    def _ehlo(self) -> None:
        self._send(f"EHLO {self._helo}")
        self.state = State.EHLO

    def _send(self, line: str) -> None:
        self._output.append(f"{line}\r\n".encode())


def _capabilities(reply: Reply) -> dict[str, str]:
    """Keyword and parameters of each EHLO line (RFC 5321 section 4.1.1.1); `AUTH=LOGIN` is an old form."""
    capabilities: dict[str, str] = {}
    for line in reply.text.split("\n")[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        if keyword[:5].upper() == "AUTH=":
            keyword, parameters = "AUTH", f"{capabilities.get('AUTH', '')} {keyword[5:]} {parameters}"
        capabilities[keyword.upper()] = parameters.strip()
    return capabilities


class Content(Struct, frozen=True, gc=False):
    """A message as DATA carries it, looked through once for any number of transactions (`of`).

    `size_octets` as RFC 1870 counts: before dot-stuffing. With `bare_line_end` it must not be sent.
    """

    wire: bytes
    size_octets: int
    bare_line_end: bool

    @classmethod
    def of(cls, octets: bytes, *, checked: bool = False) -> Content:
        """The content of a message with CRLF line ends; no copy is made where no line begins with a dot.

        `checked` spares the look for bare line ends where somebody has looked already.
        """
        if not checked and has_bare_line_end(octets):
            return cls(b"", len(octets), bare_line_end=True)
        return cls(stuff_dots(octets), len(octets), bare_line_end=False)


def stuff_dots(content: bytes) -> bytes:
    """The content as DATA carries it, without the final dot (RFC 5321 section 4.5.2); ends in CRLF.

    Returns the same object where nothing has to change. The content must not hold a CR or LF outside CRLF.
    """
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed if stuffed.endswith(b"\r\n") or not stuffed else stuffed + b"\r\n"
