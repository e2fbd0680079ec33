"""/v1/sandbox/sms: what the SMS simulator's handsets got, for the account that sent it.

The simulator knows no accounts; whose a message is, the parts that were submitted tell.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol, runtime_checkable

import msgspec

from gateway.http.gate import cursors
from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import Page, given, one_of
from gateway.http.wire.call import Call, Reply, json_reply
from gateway.messages.ports import Upstreams
from gateway.messages.receipts import apply as receipts
from gateway.upstreams.sandbox import examples
from smpp.receipt import normalise

_SMS = "sandbox/sms"


@runtime_checkable
class SmsCapture(Protocol):
    """An upstream that keeps SMS, as `smpp.simulator.ReceivedMessage`."""

    name: str

    def messages(self) -> Sequence[Any]:
        """What the handsets would show, oldest first, of all accounts."""
        ...


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


async def list_sms(call: Call) -> Reply:
    """A page of the account's captured SMS."""
    query = call.query(Page)
    before = cursors.decode(_SMS, call.account_id, given(query.cursor))
    items: list[CapturedSms] = []
    for upstream in call.service(Upstreams).values():
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
    find = partial(receipts.submitted, upstream=upstream.name, ids=list(received), account_id=call.account_id)
    owners = await call.site.ground.store.read(find)
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


OPERATIONS = (
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
        answer_example=one_of(examples.CAPTURED_SMS),
        problems=(400,),
    ),
)
