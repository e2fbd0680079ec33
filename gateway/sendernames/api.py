"""/v1/sendernames: senders of SMS, requested with two documents and decided by the operator (R22–R24)."""

from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec

from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import one_of
from gateway.http.gate.times import moment, moment_or_none
from gateway.http.wire.call import NO_CONTENT, Call, Reply, json_reply
from gateway.sendernames import examples
from gateway.sendernames.service import Document, DocumentKind, SenderName, SenderNames

DocumentWord = Literal["company_registration", "identity"]
_Name = Annotated[str, msgspec.Meta(max_length=100)]


class DocumentField(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"media": "content_type"}
):
    """A document that proves the name: a PDF, PNG or JPEG of at most 5 MiB."""  # R23

    kind: DocumentWord
    filename: Annotated[str, msgspec.Meta(max_length=200)]
    media: Literal["application/pdf", "image/png", "image/jpeg"]
    content: Annotated[bytes, msgspec.Meta(description="Base64 (RFC 4648 section 4).")]


_Documents = Annotated[list[DocumentField], msgspec.Meta(max_length=2)]


class SenderNameRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A sender to be approved; with both documents it goes to the operator, else it stays a draft."""

    name: _Name
    documents: _Documents = []


class ResendRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A draft or a rejected request again, changed, free of charge. Old documents stay."""  # R24

    name: _Name | None = None
    documents: _Documents = []


class SenderNameAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A requested sender. `note` says why it was rejected; `documents` which are there."""

    name: str
    status: Literal["draft", "pending", "approved", "rejected"]
    note: str | None
    documents: list[DocumentWord]
    created_at: datetime
    decided_at: datetime | None


class SenderNameList(msgspec.Struct, frozen=True, kw_only=True):
    """All of the account's, by name."""

    items: list[SenderNameAnswer]
    next: str | None


_REQUEST = msgspec.json.Decoder(SenderNameRequest)
_RESEND = msgspec.json.Decoder(ResendRequest)


async def list_sendernames(call: Call) -> Reply:
    """All requests."""
    found = await call.service(SenderNames).list(call.account_id)
    return json_reply(SenderNameList(items=[_answer(one) for one in found], next=None))


async def request_sendername(call: Call) -> Reply:
    """A new request."""
    request = await call.json(_REQUEST)
    one = await call.service(SenderNames).request(
        call.account_id, request.name, [_document(item) for item in request.documents]
    )
    return json_reply(_answer(one), 201, [_location(one)])


async def get_sendername(call: Call) -> Reply:
    """One request."""
    return json_reply(_answer(await call.service(SenderNames).get(call.account_id, _name(call))))


async def resend_sendername(call: Call) -> Reply:
    """A changed request."""
    request = await call.json(_RESEND)
    one = await call.service(SenderNames).resend(
        call.account_id,
        _name(call),
        new_name=request.name,
        documents=[_document(item) for item in request.documents],
    )
    return json_reply(_answer(one), 200, [_location(one)])


async def delete_sendername(call: Call) -> Reply:
    """Takes a request and its documents away."""
    await call.service(SenderNames).delete(call.account_id, _name(call))
    return Reply(NO_CONTENT)


def _name(call: Call) -> str:
    return call.params["name"]


def _location(one: SenderName) -> tuple[bytes, bytes]:
    return b"location", f"/v1/sendernames/{quote(one.name, safe='')}".encode("ascii")


def _document(item: DocumentField) -> Document:
    return Document(
        kind=DocumentKind(item.kind), filename=item.filename, content_type=item.media, data=item.content
    )


def _answer(one: SenderName) -> SenderNameAnswer:
    return SenderNameAnswer(
        name=one.name,
        status=one.status.value,
        note=one.note,
        documents=[kind.value for kind in one.documents],
        created_at=moment(one.created_ms),
        decided_at=moment_or_none(one.decided_ms),
    )


_NAMES = {"name": "The SenderName or number."}

OPERATIONS = (
    Operation(
        id="listSenderNames",
        method="GET",
        path="/v1/sendernames",
        handler=list_sendernames,
        tag="SenderNames",
        summary="All requested senders of SMS",
        scope="sendernames:read",
        answer=SenderNameList,
        answer_example=one_of(examples.SENDERNAME),
    ),
    Operation(
        id="requestSenderName",
        method="POST",
        path="/v1/sendernames",
        handler=request_sendername,
        tag="SenderNames",
        summary="Request a sender for SMS",
        scope="sendernames:write",
        description="With both documents (company registration, and identity of who signs) it goes to the "
        "operator; without them it stays a draft.",
        body=SenderNameRequest,
        body_examples={"with documents": {"name": "ACME", "documents": examples.DOCUMENTS}},
        status=201,
        answer=SenderNameAnswer,
        answer_example=examples.SENDERNAME,
        problems=(409,),
    ),
    Operation(
        id="getSenderName",
        method="GET",
        path="/v1/sendernames/{name}",
        handler=get_sendername,
        tag="SenderNames",
        summary="One requested sender",
        scope="sendernames:read",
        params=_NAMES,
        answer=SenderNameAnswer,
        answer_example=examples.SENDERNAME,
        problems=(404,),
    ),
    Operation(
        id="deleteSenderName",
        method="DELETE",
        path="/v1/sendernames/{name}",
        handler=delete_sendername,
        tag="SenderNames",
        summary="Take a sender and its documents away",
        scope="sendernames:write",
        params=_NAMES,
        status=204,
        problems=(404,),
    ),
    Operation(
        id="resendSenderName",
        method="POST",
        path="/v1/sendernames/{name}/resend",
        handler=resend_sendername,
        tag="SenderNames",
        summary="Send a draft or a rejected request again",
        scope="sendernames:write",
        description="Free of charge. Documents that are not sent again stay as they are.",
        params=_NAMES,
        body=ResendRequest,
        body_examples={"changed": {"name": "ACME2"}},
        answer=SenderNameAnswer,
        answer_example=examples.SENDERNAME,
        problems=(404, 409),
    ),
)
