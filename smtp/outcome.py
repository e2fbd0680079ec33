"""What goes into a mail transaction, the envelope, and what comes out, an outcome for each recipient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from smtp.codes import Reply

_ENDS_A_LINE = re.compile(r"[\r\n\0]")


class Result(StrEnum):
    """The four ends of a delivery attempt."""

    DELIVERED = "delivered"  # the server took responsibility (RFC 5321 section 6.1)
    DEFERRED = "deferred"  # it did not, and may later
    FAILED = "failed"  # it will not, however often it is asked
    UNKNOWN = "unknown"  # the final dot went out and no reply came: trying again may deliver twice


class Stage(StrEnum):
    """Where in the conversation the outcome was decided."""

    CONNECT = "connect"  # up to and with EHLO, STARTTLS and AUTH
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    WITHHELD = "withheld"  # we did not send the final dot: the message was no longer ours to send


class Recipient(Struct, frozen=True, gc=False):
    """A RCPT TO: the address and its DSN parameters as they go on the wire (RFC 3461 4.1 and 4.2)."""

    address: str
    notify: str = ""
    orcpt: str = ""


class Envelope(Struct, frozen=True, kw_only=True):
    """Everything of a transaction save the content.

    Addresses as `str(Mailbox)`; "" is the null reverse-path.
    """

    mail_from: str
    recipients: Sequence[Recipient]
    smtputf8: bool = False  # the header needs it; addresses that need it are seen here
    body_8bit: bool = False
    ret: str = ""  # RFC 3461 section 4.3
    envid: str = ""  # RFC 3461 section 4.4

    def __post_init__(self) -> None:
        """Refuse what could end a command line. Addresses come parsed; this is the last line of defence."""
        words = [self.mail_from, self.ret, self.envid]
        for recipient in self.recipients:
            words += (recipient.address, recipient.notify, recipient.orcpt)
        if _ENDS_A_LINE.search("".join(words)) is not None:
            raise ValueError("a CR, LF or NUL in an envelope")
        if not self.recipients:
            raise ValueError("an envelope without recipients")

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only a server with SMTPUTF8 can take it (RFC 6531 section 3.2)."""
        if self.smtputf8 or not self.mail_from.isascii():
            return True
        return any(not recipient.address.isascii() for recipient in self.recipients)


class Outcome(Struct, frozen=True):
    """What became of one recipient. `reply` is the server's, or ours where the server said nothing."""

    recipient: str
    result: Result
    reply: Reply
    stage: Stage


def judge(reply: Reply) -> Result:
    """The result that a reply means (RFC 5321 section 4.2.1)."""
    if reply.code < 300:
        return Result.DELIVERED
    return Result.FAILED if reply.is_permanent else Result.DEFERRED
