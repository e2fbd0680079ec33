"""/v1/sandbox/mail: what the mail sandbox captured instead of sending it, for the account that sent it.

Lists come from columns. A mail is loaded and taken apart for one request of an account at a time, in slices
between which the others have their turn; what is beyond the limits of a mail is left out, with a note.
"""

from base64 import b64encode
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import msgspec

from gateway.http.gate import cursors
from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import Page, given, one_of
from gateway.http.gate.times import moment
from gateway.http.wire import kinds
from gateway.http.wire.call import Call, Reply, json_reply
from gateway.http.wire.problem import Problem
from gateway.messages.ports import Upstreams
from gateway.turns import Slices
from gateway.upstreams.sandbox import examples
from gateway.upstreams.sandbox.readers import Readers
from smtp.limits import MailLimits
from smtp.mail_view import MailView, view

_MAIL = "sandbox/mail"
_BASE64_OCTETS = 196_608  # encoded in one step; a multiple of three


@runtime_checkable
class MailCapture(Protocol):
    """An upstream that keeps mail.

    Items have id, message_id, recipients, mail_from, author, subject, size_octets, received_ms.
    """

    async def captured(self, account_id: str, before: str | None, limit: int) -> Sequence[dict[str, Any]]:
        """The account's captured mails, the newest first, from before the id `before`."""
        ...

    async def captured_one(self, account_id: str, capture_id: str) -> dict[str, Any] | None:
        """One of them with its octets, `raw`, or None."""
        ...


class CapturedMail(msgspec.Struct, frozen=True, kw_only=True, rename={"author": "from"}):
    """A mail as it would have left, signed and all."""

    id: str
    message_id: str
    mail_from: str
    author: str
    recipients: list[str]
    subject: str
    size_octets: int
    received_at: datetime


class CapturedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the mail."""

    filename: str | None
    content_type: str
    content_id: str | None
    size_octets: int


class CapturedMailDetails(CapturedMail, frozen=True, kw_only=True):
    """The mail taken apart, and `raw` as base64. `notes` say what was left out."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[CapturedPart]
    notes: list[str]
    raw: bytes


class CapturedMailList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of captured mails, the newest first."""

    items: list[CapturedMail]
    next: str | None


async def list_mail(call: Call) -> Reply:
    """A page of the account's captured mails."""
    query = call.query(Page)
    before = cursors.decode(_MAIL, call.account_id, given(query.cursor))
    rows: list[dict[str, Any]] = []
    for upstream in _mail_captures(call):
        rows += await upstream.captured(call.account_id, before, query.limit + 1)
    rows.sort(key=lambda row: str(row["id"]), reverse=True)
    items = [CapturedMail(**_listed(row)) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    cursor = cursors.encode(_MAIL, call.account_id, items[-1].id) if more else None
    return json_reply(CapturedMailList(items=items, next=cursor))


async def get_mail(call: Call) -> Reply:
    """One captured mail, taken apart."""
    with call.service(Readers).one(call.account_id):
        row = await _captured_one(call)
        taken, raw = await call.service(Slices).run(
            f"{_MAIL}/{call.account_id}", _taken_apart(row["raw"], call.service(MailLimits))
        )
        details = CapturedMailDetails(
            **_listed(row),
            headers=taken.headers,
            text=taken.text,
            html=taken.html,
            attachments=[CapturedPart(**msgspec.structs.asdict(file)) for file in taken.files],
            notes=taken.notes,
            raw=raw,  # encoded already, in slices
        )
        return json_reply(details)


async def get_raw_mail(call: Call) -> Reply:
    """One captured mail as it would have left."""
    with call.service(Readers).one(call.account_id):
        row = await _captured_one(call)
        return Reply(200, row["raw"], b"message/rfc822")


def _mail_captures(call: Call) -> list[MailCapture]:
    return [one for one in call.service(Upstreams).values() if isinstance(one, MailCapture)]


async def _captured_one(call: Call) -> dict[str, Any]:
    for upstream in _mail_captures(call):
        row = await upstream.captured_one(call.account_id, call.params["id"])
        if row is not None:
            return row
    raise Problem(kinds.NOT_FOUND, "There is no such captured mail; the oldest make room for new ones.")


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a list."""
    return {
        "id": row["id"],
        "message_id": row["message_id"],
        "mail_from": row["mail_from"],
        "author": row["author"] or "",
        "recipients": list(row["recipients"]),
        "subject": row["subject"] or "",
        "size_octets": row["size_octets"],
        "received_at": moment(row["received_ms"]),
    }


def _taken_apart(octets: bytes, limits: MailLimits) -> Generator[None, None, tuple[MailView, msgspec.Raw]]:
    """The mail taken apart, and its octets as a JSON text of base64."""
    taken = yield from view(octets, limits)
    encoded = bytearray(b'"')
    for at in range(0, len(octets), _BASE64_OCTETS):
        encoded += b64encode(octets[at : at + _BASE64_OCTETS])
        yield
    encoded += b'"'
    return taken, msgspec.Raw(encoded)


_IDS = {"id": "The id of a captured mail."}

OPERATIONS = (
    Operation(
        id="listCapturedMail",
        method="GET",
        path="/v1/sandbox/mail",
        handler=list_mail,
        tag="Sandbox",
        summary="Captured mails, the newest first",
        scope="messages:read",
        query=Page,
        answer=CapturedMailList,
        answer_example=one_of(examples.CAPTURED_MAIL),
        problems=(400,),
    ),
    Operation(
        id="getCapturedMail",
        method="GET",
        path="/v1/sandbox/mail/{id}",
        handler=get_mail,
        tag="Sandbox",
        summary="A captured mail, taken apart",
        description="One at a time: a second request meanwhile gets 429. What is beyond a mail's limits is "
        "left out, and `notes` say so.",
        scope="messages:read",
        params=_IDS,
        answer=CapturedMailDetails,
        answer_example=examples.CAPTURED_MAIL_DETAILS,
        problems=(404,),
    ),
    Operation(
        id="getCapturedMailRaw",
        method="GET",
        path="/v1/sandbox/mail/{id}/raw",
        handler=get_raw_mail,
        tag="Sandbox",
        summary="A captured mail as it would have left",
        scope="messages:read",
        params=_IDS,
        answer_content_type="message/rfc822",
        problems=(404,),
    ),
)
