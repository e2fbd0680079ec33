"""/v1/sandbox: what the sandbox upstreams captured instead of sending it, for the account that sent it.

The SMS simulator knows no accounts; whose a message is, the parts that were submitted tell.
"""

from collections.abc import Sequence
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Protocol, runtime_checkable

import msgspec
from sqlalchemy import select

from gateway.api import cursors, examples
from gateway.api.call import Call, Reply, json_reply
from gateway.api.fields import Page, given
from gateway.api.operation import Operation
from gateway.api.problems import Problem
from gateway.api.times import moment
from gateway.messages.tables import sms_part
from gateway.store.tx import Tx
from smpp.receipt import normalise

_MAIL = "sandbox/mail"
_SMS = "sandbox/sms"
_SHOWN_MAX = 100_000  # characters of a part


@runtime_checkable
class MailCapture(Protocol):
    """An upstream that keeps mail. Items have id, message_id, recipients, mail_from, received_ms, raw."""

    async def captured(self, account_id: str, before: str | None, limit: int) -> Sequence[dict[str, Any]]:
        """The account's captured mails, the newest first, from before the id `before`."""
        ...

    async def captured_one(self, account_id: str, capture_id: str) -> dict[str, Any] | None:
        """One of them, or None."""
        ...


@runtime_checkable
class SmsCapture(Protocol):
    """An upstream that keeps SMS, as `smpp.simulator.ReceivedMessage`."""

    name: str

    def messages(self) -> Sequence[Any]:
        """What the handsets would show, oldest first, of all accounts."""
        ...


class CapturedMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as it would have left, signed and all."""

    id: str
    message_id: str
    mail_from: str
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
    """The mail taken apart, and `raw` as base64."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[CapturedPart]
    raw: bytes


class CapturedMailList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of captured mails, the newest first."""

    items: list[CapturedMail]
    next: str | None


class CapturedSms(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """An SMS as the handset would show it, put together from its parts."""

    id: str
    message_id: str
    sender: str
    to: str
    text: str
    parts: int
    complete: bool
    received_at: datetime


class CapturedSmsList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of captured SMS, the newest first."""

    items: list[CapturedSms]
    next: str | None


# --- mail --------------------------------------------------------------------------------------------------


async def list_mail(call: Call) -> Reply:
    """A page of the account's captured mails."""
    query = call.query(Page)
    before = cursors.decode(_MAIL, call.account_id, given(query.cursor))
    rows: list[dict[str, Any]] = []
    for upstream in _mail_captures(call):
        rows += await upstream.captured(call.account_id, before, query.limit + 1)
    rows.sort(key=lambda row: str(row["id"]), reverse=True)
    items = [_mail(row, _parsed(row["raw"])) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    cursor = cursors.encode(_MAIL, call.account_id, items[-1].id) if more else None
    return json_reply(CapturedMailList(items=items, next=cursor))


async def get_mail(call: Call) -> Reply:
    """One captured mail, taken apart."""
    row = await _captured_one(call)
    return json_reply(_mail_details(row))


async def get_raw_mail(call: Call) -> Reply:
    """One captured mail as it would have left."""
    row = await _captured_one(call)
    return Reply(200, row["raw"], b"message/rfc822")


def _mail_captures(call: Call) -> list[MailCapture]:
    return [one for one in call.parts.road.upstreams.values() if isinstance(one, MailCapture)]


async def _captured_one(call: Call) -> dict[str, Any]:
    for upstream in _mail_captures(call):
        row = await upstream.captured_one(call.account_id, call.params["id"])
        if row is not None:
            return row
    raise Problem("not_found", "There is no such captured mail; the oldest make room for new ones.")


def _parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)


def _mail(row: dict[str, Any], mail: EmailMessage) -> CapturedMail:
    return CapturedMail(**_mail_fields(row, mail))


def _mail_fields(row: dict[str, Any], mail: EmailMessage) -> dict[str, Any]:
    return {
        "id": row["id"],
        "message_id": row["message_id"],
        "mail_from": row["mail_from"],
        "recipients": list(row["recipients"]),
        "subject": _clean(dict(_headers(mail)).get("Subject", "")),
        "size_octets": len(row["raw"]),
        "received_at": moment(row["received_ms"]),
    }


def _mail_details(row: dict[str, Any]) -> CapturedMailDetails:
    mail = _parsed(row["raw"])
    shown: dict[str, str] = {}
    files: list[CapturedPart] = []
    for part in mail.walk():
        kind = part.get_content_type()
        if part.is_multipart():
            continue
        if kind in ("text/plain", "text/html") and part.get_filename() is None and kind not in shown:
            shown[kind] = _text(part)
        else:
            files.append(_file(part))
    return CapturedMailDetails(
        **_mail_fields(row, mail),
        headers=_headers(mail),
        text=shown.get("text/plain"),
        html=shown.get("text/html"),
        attachments=files,
        raw=row["raw"],
    )


def _headers(mail: EmailMessage) -> list[tuple[str, str]]:
    """The fields decoded; one that the library cannot read is shown as it stands."""
    fields = []
    for name, raw in mail.raw_items():
        try:
            value = str(mail.policy.header_fetch_parse(name, raw))
        except Exception:  # noqa: BLE001 - the library raises what it likes on odd input; it is only shown
            value = str(raw)
        fields.append((_clean(name), _clean(value)))
    return fields


def _text(part: Any) -> str:
    octets = part.get_payload(decode=True) or b""
    charset = part.get_content_charset("utf-8")
    try:
        text = octets.decode(charset, "replace")
    except (LookupError, ValueError):
        text = octets.decode("latin-1")
    return str(text[:_SHOWN_MAX])


def _file(part: Any) -> CapturedPart:
    content_id = part.get("Content-ID")
    filename = part.get_filename()
    return CapturedPart(
        filename=None if filename is None else _clean(filename),
        content_type=part.get_content_type(),
        content_id=None if content_id is None else _clean(str(content_id)),
        size_octets=len(part.get_payload(decode=True) or b""),
    )


def _clean(text: str) -> str:
    """Without the lone surrogates that stand for octets in no charset: JSON cannot hold them."""
    return text.encode("utf-8", "replace").decode()


# --- SMS ---------------------------------------------------------------------------------------------------


async def list_sms(call: Call) -> Reply:
    """A page of the account's captured SMS."""
    query = call.query(Page)
    before = cursors.decode(_SMS, call.account_id, given(query.cursor))
    items: list[CapturedSms] = []
    for upstream in call.parts.road.upstreams.values():
        if isinstance(upstream, SmsCapture):
            items += await _sms_of(call, upstream)
    items.sort(key=lambda one: (one.received_at, one.id), reverse=True)
    places = [one.id for one in items]
    start = places.index(before) + 1 if before in places else 0
    shown = items[start : start + query.limit]
    more = len(items) > start + query.limit
    cursor = cursors.encode(_SMS, call.account_id, shown[-1].id) if more else None
    return json_reply(CapturedSmsList(items=shown, next=cursor))


async def _sms_of(call: Call, upstream: SmsCapture) -> list[CapturedSms]:
    received = {normalise(one.message_ids[0]): one for one in upstream.messages() if one.message_ids}
    query = select(sms_part.c.upstream_id, sms_part.c.message_id).where(
        sms_part.c.upstream == upstream.name,
        sms_part.c.upstream_id.in_(received),
        sms_part.c.account_id == call.account_id,
    )

    def own(tx: Tx) -> dict[str, str]:
        return {row["upstream_id"]: row["message_id"] for row in tx.mappings(query)}

    owners = await call.parts.services.store.read(own)
    return [
        CapturedSms(
            id=upstream_id,
            message_id=message_id,
            sender=received[upstream_id].source_addr,
            to=f"+{received[upstream_id].destination_addr.removeprefix('+')}",
            text=received[upstream_id].text,
            parts=received[upstream_id].parts,
            complete=received[upstream_id].complete,
            received_at=received[upstream_id].time,
        )
        for upstream_id, message_id in owners.items()
    ]


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
        answer_example=examples.page(examples.CAPTURED_MAIL),
        problems=(400,),
    ),
    Operation(
        id="getCapturedMail",
        method="GET",
        path="/v1/sandbox/mail/{id}",
        handler=get_mail,
        tag="Sandbox",
        summary="A captured mail, taken apart",
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
    Operation(
        id="listCapturedSms",
        method="GET",
        path="/v1/sandbox/sms",
        handler=list_sms,
        tag="Sandbox",
        summary="Captured SMS, the newest first",
        scope="messages:read",
        query=Page,
        answer=CapturedSmsList,
        answer_example=examples.page(examples.CAPTURED_SMS),
        problems=(400,),
    ),
)
