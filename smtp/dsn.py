"""Delivery status notifications (RFC 3464 in the multipart/report of RFC 6522), built octet for octet.

A notification has three parts: words for a person, fields for a program, and the header of the message it is
about. It travels with the null reverse-path (`REVERSE_PATH`), so that nothing ever answers it (RFC 5321
section 4.5.5), and says Auto-Submitted (RFC 3834 section 5).

`build` is pure: dates, message id and boundary are parameters. The addresses given must have been parsed
before; what remote systems said is cleaned of anything that could end a line. Reads no notifications of
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from smtp.codes import Reply
from smtp.encode import body_text
from smtp.headers import Field, fold

REVERSE_PATH = ""  # the null reverse-path, `<>` on the wire
MAX_HEADER_OCTETS = 16_384  # of the original header returned; what comes after is left out
MAX_DIAGNOSTIC_CHARS = 1000

_UNPRINTABLE = re.compile(r"[^ -~]")


class Action(StrEnum):
    """What was done about the recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_SUBJECTS = {
    Action.FAILED: "Undelivered mail returned to sender",
    Action.DELAYED: "Delivery of your mail is delayed",
}
_WORDS = {
    Action.FAILED: "Your message could not be delivered to the recipients below and will not be tried again.",
    Action.DELAYED: "Your message is not yet delivered to the recipients below. It will be tried again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientStatus:
    """What became of one recipient (RFC 3464 section 2.3)."""

    address: str
    action: Action
    status: str  # an enhanced status code such as 5.1.1
    original: str = ""  # ORCPT as the client gave it, its type included: `rfc822;a@b.example`
    diagnostic: Reply | None = None  # what the remote server said
    remote_mta: str = ""
    last_attempt: datetime | None = None
    retry_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification, to the envelope sender of the original message."""

    reporting_mta: str
    author: str  # the From address, the postmaster or mailer-daemon of this system
    to: str
    recipients: Sequence[RecipientStatus]
    arrival: datetime
    envelope_id: str = ""  # ENVID as the client gave it (RFC 3461 section 4.4)
    original: Sequence[Field] = ()  # the header of the original message


def build(notification: Notification, *, date: datetime, message_id: str, boundary: str) -> bytes:
    """The octets of the notification, lines ended by CRLF. `message_id` in angle brackets."""
    if not notification.recipients:
        raise ValueError("a notification needs at least one recipient")
    worst = _worst(notification.recipients)
    edge = f"=_{boundary}"
    lines = [
        f"Date: {format_datetime(date)}",
        f"Message-ID: {message_id}",
        f"From: Mail Delivery System <{notification.author}>",
        f"To: {notification.to}",
        f"Subject: {_SUBJECTS.get(worst, 'Delivery report')}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{edge}"',
    ]
    header = "".join(f"{fold(line)}\r\n" for line in lines)
    parts = [
        _part("text/plain", "Notification", "\n".join(_human(notification, worst)), edge),
        _part("message/delivery-status", "Delivery report", "\n".join(_fields(notification)), edge),
    ]
    if notification.original:
        original = _part("text/rfc822-headers", "Header of the message", _original(notification), edge)
        parts.append(original)
    delimiter = f"--{edge}".encode()
    chunks = [header.encode(), b"\r\n"]
    for part in parts:
        chunks += (delimiter, b"\r\n", part)
    return b"".join([*chunks, delimiter, b"--\r\n"])


def _worst(recipients: Sequence[RecipientStatus]) -> Action:
    actions = {recipient.action for recipient in recipients}
    return next(action for action in Action if action in actions)


def _part(content_type: str, description: str, text: str, edge: str) -> bytes:
    encoding, body = body_text(text, forbidden=edge)
    charset = "" if content_type.startswith("message/") or encoding == "7bit" else "; charset=utf-8"
    return (
        f"Content-Description: {description}\r\nContent-Type: {content_type}{charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body


def _human(notification: Notification, worst: Action) -> Iterator[str]:
    yield f"This is the mail system at {notification.reporting_mta}."
    yield ""
    yield _WORDS.get(worst, "This is the report on your message that you asked for.")
    yield ""
    for recipient in notification.recipients:
        said = ""
        if recipient.diagnostic is not None:
            remote = _clean(recipient.remote_mta) or "the remote system"
            said = f" {remote} said: {_diagnostic(recipient.diagnostic)}"
        yield f"<{recipient.address}>: {recipient.action} ({recipient.status}).{said}"
    yield ""


def _fields(notification: Notification) -> Iterator[str]:
    """The per-message fields (RFC 3464 section 2.2), then a group for each recipient (section 2.3)."""
    if notification.envelope_id:
        yield _line("Original-Envelope-Id", notification.envelope_id)
    yield _line("Reporting-MTA", f"dns; {notification.reporting_mta}")
    yield _line("Arrival-Date", format_datetime(notification.arrival))
    for recipient in notification.recipients:
        yield ""
        if recipient.original:
            yield _line("Original-Recipient", recipient.original)
        yield _line("Final-Recipient", _typed(recipient.address))
        yield _line("Action", recipient.action)
        yield _line("Status", recipient.status)
        if recipient.remote_mta:
            yield _line("Remote-MTA", f"dns; {recipient.remote_mta}")
        if recipient.diagnostic is not None:
            yield _line("Diagnostic-Code", f"smtp; {_diagnostic(recipient.diagnostic)}")
        if recipient.last_attempt is not None:
            yield _line("Last-Attempt-Date", format_datetime(recipient.last_attempt))
        if recipient.retry_until is not None:
            yield _line("Will-Retry-Until", format_datetime(recipient.retry_until))
    yield ""


def _line(name: str, value: str) -> str:
    return fold(f"{name}: {_clean(value)}").replace("\r\n", "\n")


def _typed(address: str) -> str:
    """`rfc822; address`, or for a UTF-8 one the 7-bit form of RFC 6533 section 3."""
    if address.isascii():
        return f"rfc822; {address}"
    return "utf-8; " + "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in address)


def _diagnostic(reply: Reply) -> str:
    return _clean(reply.line()[:MAX_DIAGNOSTIC_CHARS])


def _clean(text: str) -> str:
    """Printable ASCII only (RFC 3464 section 2.1 knows nothing else); a line end would make a new field."""
    return _UNPRINTABLE.sub("?", text)


def _original(notification: Notification) -> str:
    """The original header up to the cap, whole fields only; Bcc stays the sender's secret."""
    kept, size = [], 0
    for field in notification.original:
        size += len(field.raw)
        if size > MAX_HEADER_OCTETS:
            break
        if field.name != "bcc":
            kept.append(field.raw)
    return b"".join(kept).decode("utf-8", "replace")
