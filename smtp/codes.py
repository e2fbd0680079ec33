"""SMTP replies: reply codes, enhanced status codes, and the two families of errors.

A code stands here with its number, its meaning and the section it comes from (RFC 5321 section 4.2.3, RFC
3463 section 3, RFC 5248, RFC 4954 section 6, RFC 6531 section 3.5), so that all other modules speak in names.

`Reply` is one complete answer, sent by our server or received by our client. `Temporary` and `Permanent` are
the two ways in which mail work fails: the reply they carry may be shown to anyone, the log fields stay in the
log.

Nothing here reads or writes a socket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from re import ASCII
from re import compile as regex

from msgspec import Struct


class Code(IntEnum):
    """Basic reply codes, the three digits a client acts on."""

    # RFC 5321 section 4.2.3
    STATUS = 211  # system status
    HELP = 214  # help text for a human
    READY = 220  # the greeting, and "go ahead" to STARTTLS (RFC 3207 section 4)
    CLOSING = 221  # the answer to QUIT
    OK = 250  # the action was done
    CANNOT_VERIFY = 252  # VRFY: will take the message and try
    START_INPUT = 354  # DATA: send the message, end it with <CRLF>.<CRLF>
    UNAVAILABLE = 421  # the service closes this connection
    MAILBOX_BUSY = 450  # mailbox unavailable for now
    LOCAL_ERROR = 451  # our own processing failed
    INSUFFICIENT_STORAGE = 452  # no room, or too many recipients (section 4.5.3.1.10)
    CANNOT_ACCOMMODATE_PARAMETERS = 455  # parameters cannot be met now
    SYNTAX_ERROR = 500  # command not recognised, or line too long
    PARAMETER_SYNTAX = 501  # syntax error in an argument
    NOT_IMPLEMENTED = 502  # known command, not implemented here
    BAD_SEQUENCE = 503  # command out of order
    PARAMETER_NOT_IMPLEMENTED = 504  # argument known, not implemented
    REFUSED = 550  # not done: no such mailbox, or policy
    TOO_BIG = 552  # exceeds the storage or size limit
    BAD_MAILBOX = 553  # mailbox name not allowed
    FAILED = 554  # transaction failed
    UNKNOWN_PARAMETER = 555  # MAIL or RCPT parameter not recognised
    # RFC 4954 section 6 (AUTH)
    AUTHENTICATED = 235
    AUTH_CHALLENGE = 334
    TRANSITION_NEEDED = 432
    AUTH_TEMPORARY = 454  # also "TLS not available" (RFC 3207 section 4)
    AUTH_REQUIRED = 530  # also "issue STARTTLS first" (RFC 3207 section 4)
    AUTH_TOO_WEAK = 534
    AUTH_INVALID = 535
    ENCRYPTION_REQUIRED = 538


class Status(StrEnum):
    """Enhanced status codes (RFC 3463 section 3, registry of RFC 5248), class digit included."""

    # Success
    OK = "2.0.0"
    SENDER_OK = "2.1.0"  # X.1.0: other address status
    RECIPIENT_OK = "2.1.5"  # destination address valid
    CONTENT_OK = "2.6.0"  # other or undefined media status
    SECURITY_OK = "2.7.0"  # other security status; 235 in RFC 4954 section 6
    # Addressing: X.1.z (RFC 3463 section 3.2)
    NO_SUCH_MAILBOX = "5.1.1"
    NO_SUCH_DOMAIN = "5.1.2"
    RECIPIENT_SYNTAX = "5.1.3"  # bad destination mailbox address syntax
    SENDER_SYNTAX = "5.1.7"  # bad sender's mailbox address syntax
    SENDER_SYSTEM = "5.1.8"  # bad sender's system address
    NULL_MX = "5.1.10"  # RFC 7505 section 4.2
    # Mailbox: X.2.z (section 3.3)
    MAILBOX_DISABLED = "5.2.1"
    QUOTA = "4.2.2"  # mailbox full; ours for an account without credits
    MESSAGE_TOO_LONG = "5.2.3"
    # Mail system: X.3.z (section 3.4)
    SYSTEM_ERROR = "4.3.0"
    SYSTEM_FULL = "4.3.1"
    SHUTTING_DOWN = "4.3.2"  # system not accepting network messages
    SYSTEM_TOO_BIG = "5.3.4"  # message too big for the system
    # Network: X.4.z (section 3.5)
    NETWORK_ERROR = "4.4.0"
    NO_ANSWER = "4.4.1"
    BAD_CONNECTION = "4.4.2"  # connection dropped or timed out
    ROUTING = "4.4.4"
    DELIVERY_EXPIRED = "4.4.7"
    # Protocol: X.5.z (section 3.6)
    PROTOCOL = "5.5.0"
    INVALID_COMMAND = "5.5.1"
    COMMAND_SYNTAX = "5.5.2"
    TOO_MANY_RECIPIENTS = "4.5.3"
    INVALID_ARGUMENTS = "5.5.4"
    COMMAND_TOO_LONG = "5.5.6"  # RFC 4954 section 6: authentication exchange line is too long
    # Content: X.6.z (section 3.7; 5.6.7 and 5.6.9 from RFC 6531 section 3.5)
    CONTENT = "5.6.0"
    NON_ASCII_ADDRESS = "5.6.7"
    NEEDS_SMTPUTF8 = "5.6.9"
    # Security and policy: X.7.z (section 3.8; RFC 4954 section 6, RFC 7372)
    POLICY_TEMPORARY = "4.7.0"
    POLICY = "5.7.0"
    NOT_AUTHORISED = "5.7.1"
    CREDENTIALS_INVALID = "5.7.8"
    MECHANISM_TOO_WEAK = "5.7.9"
    ENCRYPTION_NEEDED = "5.7.10"
    ENCRYPTION_NEEDED_FOR_MECHANISM = "5.7.11"


_CONTROL = regex(r"[\x00-\x1f\x7f-\x9f]")
_ENHANCED = regex(r"([245])\.(\d{1,3})\.(\d{1,3})(?: |$)", ASCII)


class Reply(Struct, frozen=True, gc=False):
    """One SMTP reply. `text` may hold several lines parted by LF; `enhanced` is "" where none applies."""

    code: int
    enhanced: str = ""
    text: str = ""

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz (RFC 5321 section 4.2.1)."""
        return 200 <= self.code < 400

    @property
    def is_temporary(self) -> bool:
        """4yz: the same command may succeed later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: do not repeat."""
        return 500 <= self.code < 600

    def line(self) -> str:
        """The reply as one line without line end, for logs and events."""
        prefix = f"{self.code} {self.enhanced}" if self.enhanced else str(self.code)
        text = self.text.replace("\n", " ")
        return f"{prefix} {text}" if text else prefix

    def render(self) -> bytes:
        """The octets on the wire: CRLF after every line, the enhanced code on each (RFC 2034 section 4).

        Only printable ASCII leaves (RFC 5321 section 4.2, textstring); anything else is shown as an escape,
        so that no text, wherever it came from, can forge a line of its own.
        """
        enhanced, text = f"{self.enhanced} " if self.enhanced else "", self.text
        if text.isprintable():  # one line, as nearly always
            return f"{self.code} {enhanced}{text}\r\n".encode("ascii", "backslashreplace")
        lines = text.split("\n")
        last = len(lines) - 1
        return "".join(
            f"{self.code}{'-' if number < last else ' '}{enhanced}"
            f"{line if line.isprintable() else _CONTROL.sub('?', line)}\r\n"
            for number, line in enumerate(lines)
        ).encode("ascii", "backslashreplace")


def parse_reply(code: int, lines: Sequence[str]) -> Reply:
    """The `Reply` made of a received code and its texts (without code, separator and line end).

    The enhanced status code is taken off each line where its class agrees with the reply code
    (RFC 2034 section 4); anything else stays text.
    """
    found = _ENHANCED.match(lines[0]) if lines else None
    if found is None or found[1] != str(code)[0]:
        return Reply(code, "", "\n".join(lines))
    enhanced = ".".join(found.groups())
    prefix = found[0].rstrip(" ")
    texts = (line[len(prefix) :].lstrip(" ") if line.startswith(prefix) else line for line in lines)
    return Reply(code, enhanced, "\n".join(texts))


class SmtpError(Exception):
    """The root of both families. `reply` may be shown to anyone, `log_fields` only to the operator."""

    default = Reply(Code.LOCAL_ERROR, Status.SYSTEM_ERROR, "Local error, try again later")

    def __init__(
        self, reply: Reply | str | None = None, log_fields: Mapping[str, object] | None = None
    ) -> None:
        if isinstance(reply, str):
            reply = Reply(self.default.code, self.default.enhanced, reply)
        self.reply: Reply = reply or self.default
        self.log_fields: Mapping[str, object] = log_fields or {}
        super().__init__(self.reply.line())


class Temporary(SmtpError):
    """It did not work now and may work later: 4yz."""


class Permanent(SmtpError):
    """It will not work however often it is tried: 5yz."""

    default = Reply(Code.FAILED, "5.0.0", "Transaction failed")
