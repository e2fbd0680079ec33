"""POST /v1/sms: from the fields of a request to an SMS that the shaper can judge."""

from typing import Annotated

import msgspec

from gateway.http.wire.call import Call
from gateway.messages.api.fields import (
    RECIPIENTS_MAX,
    Metadata,
    SendAt,
    Tags,
    checked_metadata,
    checked_send_at_ms,
)
from gateway.messages.model import Message, Verdict
from gateway.messages.shape.sms import SmsShaper, SmsSubmission

TEXT_MAX = 40_000  # more than 255 segments of 153 characters hold; the shaper knows the real limit
VALIDITY_MAX_S = 1_209_600  # 14 days

Number = Annotated[str, msgspec.Meta(max_length=40, examples=["+41791234567"])]


class SmsRequest(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename={"sender": "from"}
):
    """An SMS: one text to one or more numbers. `from` is an approved SenderName or number."""

    sender: Annotated[str, msgspec.Meta(max_length=40)]
    to: Number | Annotated[list[Number], msgspec.Meta(min_length=1, max_length=RECIPIENTS_MAX)]
    text: Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
    validity_s: (
        Annotated[
            int,
            msgspec.Meta(
                ge=1, le=VALIDITY_MAX_S, description="Do not deliver later than this after it is sent."
            ),
        ]
        | None
    ) = None
    tags: Tags = []
    metadata: Metadata = {}
    send_at: SendAt | None = None


async def shape(call: Call, request: SmsRequest) -> Message | Verdict:
    """The slot for acceptance. Raises Problem for what cannot become an SMS."""
    now_ms = call.clock.now_ms()
    submission = SmsSubmission(
        account_id=call.account_id,
        ingress="http",
        source=request.sender,
        recipients=[request.to] if isinstance(request.to, str) else request.to,
        text=request.text,
        validity_s=request.validity_s,
        tags=request.tags or None,
        metadata=checked_metadata(request.metadata),
        send_at_ms=checked_send_at_ms(request.send_at, now_ms),
    )
    return await call.service(SmsShaper).shape(submission, now_ms=now_ms)
