"""POST /v1/mail: from the fields of a request, or from raw MIME, to a mail that the shaper can judge.

Every fault raises a `Problem` 422 that names its field. Nothing a client writes can leave its header field:
`smtp.compose` sees to that.
"""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from gateway.http.wire import kinds
from gateway.http.wire.call import Call
from gateway.http.wire.pointers import FieldError, of_path
from gateway.http.wire.problem import Problem, invalid
from gateway.messages.api.fields import (
    RECIPIENTS_MAX,
    Metadata,
    SendAt,
    Tags,
    checked_metadata,
    checked_send_at_ms,
)
from gateway.messages.api.problems import FIELD_TOO_LARGE
from gateway.messages.model import Verdict
from gateway.messages.shape.mail import MailShaper, MailSubmission, ShapedMail
from gateway.turns import Turn
from smtp.address import AddressError, NamedMailbox, parse_mailbox
from smtp.codes import Permanent
from smtp.compose import Attachment, ComposeError, Draft, Unsubscribe, compose
from smtp.data import cleaning
from smtp.limits import MailLimits

_IN_THREAD_OCTETS = 262_144  # larger mails are composed beside the event loop (A5)

Address = Annotated[str, msgspec.Meta(max_length=1000, examples=["Shop <shop@example.org>"])]
Addresses = Address | Annotated[list[Address], msgspec.Meta(max_length=RECIPIENTS_MAX)]
_Base64 = Annotated[bytes, msgspec.Meta(description="Base64 (RFC 4648 section 4), in one piece.")]


class AttachmentField(
    msgspec.Struct,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"kind": "content_type"},
):
    """A file. With a `content_id` it is shown where the HTML says `cid:`."""

    filename: Annotated[str, msgspec.Meta(max_length=255)]
    content: _Base64
    kind: Annotated[str, msgspec.Meta(max_length=255)] = "application/octet-stream"
    content_id: Annotated[str, msgspec.Meta(max_length=200)] = ""


class UnsubscribeField(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One-click unsubscribe (RFC 8058): `https` takes the POST, `mailto` is for older programs."""

    https: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    mailto: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class MailRequest(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename={"sender": "from"}
):
    """A mail: its fields, or `raw` MIME with the envelope in `from` and `to`."""

    sender: Address
    to: Addresses = []
    cc: Addresses = []
    bcc: Addresses = []
    reply_to: Addresses = []
    subject: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    text: str | None = None
    html: str | None = None
    headers: Annotated[dict[str, str], msgspec.Meta(max_length=100)] = {}
    attachments: Annotated[list[AttachmentField], msgspec.Meta(max_length=100)] = []
    unsubscribe: UnsubscribeField | None = None
    raw: _Base64 | None = None
    tags: Tags = []
    metadata: Metadata = {}
    send_at: SendAt | None = None


_NOT_WITH_RAW: dict[str, Any] = {
    "cc": [], "bcc": [], "reply_to": [], "subject": "", "text": None, "html": None, "headers": {},
    "attachments": [], "unsubscribe": None,
}  # fmt: skip


async def shape(call: Call, request: MailRequest) -> ShapedMail:
    """The slot for acceptance. Raises Problem for what cannot become a mail."""
    now_ms = call.clock.now_ms()
    submission = await _submission(call, request, now_ms)
    shaped = await call.service(MailShaper).shape(submission, now_ms=now_ms)
    slot = shaped.slot
    if isinstance(slot, Verdict) and slot.field is not None:
        path = "raw" if request.raw is not None else _FIELDS.get(slot.field, "headers")
        return msgspec.structs.replace(shaped, slot=msgspec.structs.replace(slot, field=path))
    return shaped


_FIELDS = {"from": "from", "to": "to", "cc": "cc", "reply-to": "reply_to", "subject": "subject"}


async def _submission(call: Call, request: MailRequest, now_ms: int) -> MailSubmission:
    limits = call.service(MailLimits)
    if len(call.octets) > limits.smallest_octets:
        _check_sizes(request, limits)
    author = _mailbox("from", request.sender)
    to = await _mailboxes("to", request.to)
    cc = await _mailboxes("cc", request.cc)
    bcc = await _mailboxes("bcc", request.bcc)
    reply_to = await _mailboxes("reply_to", request.reply_to)
    if len(reply_to) > limits.author_addresses:
        raise invalid("reply_to", f"has {len(reply_to)} addresses, {limits.author_addresses} are allowed")
    recipients = [str(one.mailbox) for one in (*to, *cc, *bcc)]
    if not recipients:
        raise invalid("to", "name at least one recipient in to, cc or bcc")
    most = min(RECIPIENTS_MAX, call.settings.smtp.max_recipients)
    if len(recipients) > most:
        raise invalid("to", f"to, cc and bcc have {len(recipients)} addresses, {most} are allowed")
    if request.raw is not None:
        content = await _raw(call, request)
    else:
        draft = _draft(request, author, to, cc, reply_to)
        content = await _composed(call, draft, now_ms)
    limit = call.settings.smtp.size_limit_octets
    if len(content) > limit:
        raise Problem(kinds.TOO_LARGE, f"The mail has {len(content)} octets, {limit} are allowed. Send less.")
    header_8bit, body_8bit = _eight_bit(content)
    addresses_8bit = author.mailbox.needs_smtputf8 or not all(map(str.isascii, recipients))
    return MailSubmission(
        account_id=call.account_id,
        ingress="http",
        mail_from=str(author.mailbox),
        recipients=recipients,
        content=content,
        protocol="HTTP",
        peer=call.peer,
        smtputf8=header_8bit or addresses_8bit,
        body_8bit=body_8bit,
        tags=request.tags or None,
        metadata=checked_metadata(request.metadata),
        send_at_ms=checked_send_at_ms(request.send_at, now_ms),
        composed=request.raw is None,
    )


def _check_sizes(request: MailRequest, limits: MailLimits) -> None:
    """Raises Problem for a field too large for a header, before anything looks at it. Bcc is in none."""
    most = {
        "from": (request.sender, limits.author_octets),
        "to": (request.to, limits.recipients_octets),
        "cc": (request.cc, limits.recipients_octets),
        "reply_to": (request.reply_to, limits.author_octets),
        "subject": (request.subject, limits.subject_octets),
        "headers": ([*request.headers, *request.headers.values()], limits.header_octets),
    }
    for name, (value, allowed) in most.items():
        size = _octets(value) if isinstance(value, str) else sum(map(_octets, value))
        if size > allowed:
            detail = f"has {size} octets, {allowed} are allowed"
            fault = FieldError(pointer=of_path(name), detail=detail)
            raise Problem(FIELD_TOO_LARGE, f"{name} {detail}.", errors=[fault])


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _draft(
    request: MailRequest,
    author: NamedMailbox,
    to: list[NamedMailbox],
    cc: list[NamedMailbox],
    reply_to: list[NamedMailbox],
) -> Draft:
    unsubscribe = request.unsubscribe
    return Draft(
        author=author,
        to=to,
        cc=cc,
        reply_to=reply_to,
        subject=request.subject,
        text=request.text,
        html=request.html,
        headers=request.headers,
        attachments=[
            Attachment(
                filename=one.filename, content=one.content, content_type=one.kind, content_id=one.content_id
            )
            for one in request.attachments
        ],
        unsubscribe=None
        if unsubscribe is None
        else Unsubscribe(https=unsubscribe.https, mailto=unsubscribe.mailto),
    )


async def _composed(call: Call, draft: Draft, now_ms: int) -> bytes:
    name = call.site.ground.ids.new(now_ms)

    def run() -> bytes:
        return compose(
            draft,
            date=datetime.fromtimestamp(now_ms / 1000, UTC),
            message_id=f"<{name}@{call.settings.server.name}>",
            boundary=name,
        )

    try:
        if len(call.octets) > _IN_THREAD_OCTETS:
            return await asyncio.to_thread(run)
        return run()
    except ComposeError as error:
        raise invalid(error.field, error.reason) from error


async def _raw(call: Call, request: MailRequest) -> bytes:
    """The octets of `raw` with CRLF line ends; a file with LF alone is taken for one of Unix."""
    for name, default in _NOT_WITH_RAW.items():
        if getattr(request, name) != default:
            raise invalid(name, "stands in the mail itself when it is given as raw")
    raw = request.raw or b""
    line_ends = call.settings.smtp.line_ends if b"\r" in raw else "normalise"
    try:
        return await Turn().run(cleaning(raw, line_ends, stuffed=False))
    except Permanent as error:
        raise invalid("raw", error.reply.text) from error


def _eight_bit(content: bytes) -> tuple[bool, bool]:
    """Whether header and body hold octets above 127 (RFC 6531 section 3.6, RFC 6152)."""
    if content.isascii():
        return False, False
    end = content.find(b"\r\n\r\n")
    return not content[:end].isascii(), not content[end:].isascii()


async def _mailboxes(name: str, addresses: Addresses) -> list[NamedMailbox]:
    """An international one takes half a millisecond: of many, others have their turn in between."""
    if isinstance(addresses, str):
        return [_mailbox(name, addresses)]
    if len(addresses) == 1:
        return [_mailbox(f"{name}[0]", addresses[0])]
    mailboxes, turn = [], Turn()
    for number, address in enumerate(addresses):
        mailboxes.append(_mailbox(f"{name}[{number}]", address))
        if turn.is_over:
            await turn.next()
    return mailboxes


def _mailbox(name: str, address: str) -> NamedMailbox:
    try:
        return parse_mailbox(address)
    except AddressError as error:
        raise invalid(name, error.reason) from error
