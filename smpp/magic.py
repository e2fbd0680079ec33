"""Magic destination numbers of the sandbox SMSC: +882990 and six digits that choose what happens.

The range belongs to no country and no operator, so no ordinary number is magic by chance.

| +882990… | what happens |
|---|---|
| anything else | delivered: response, then a receipt DELIVRD |
| 000001 | receipt UNDELIV, err 001 |
| 000002 | receipt EXPIRED, err 002 |
| 000003 | receipt REJECTD, err 003 |
| 000004 | receipt DELETED, err 004 |
| 000005 | receipt UNKNOWN, err 005 |
| 000006 | a notification ENROUTE on the way, then DELIVRD |
| 000010 | submit_sm refused with ESME_RINVDSTADR |
| 000011 | ESME_RTHROTTLED once, the second try is taken |
| 000012 | ESME_RTHROTTLED always |
| 000013 | ESME_RSYSERR always |
| 000014 | ESME_RMSGQFUL once, the second try is taken |
| 000015 | ESME_RMSGQFUL always |
| 000020 | no response at all, no receipt |
| 000021 | response only after `late_response_s`, then the receipt |
| 000022 | receipt before the response |
| 000023 | the receipt comes twice |
| 000024 | id hexadecimal in the response, decimal in the receipt |
| 000025 | no receipt |
| 000026 | receipt by data_sm, its text in message_payload |
| 000027 | receipt of TLVs only, no text |
| 000028 | receipt of text only, no TLVs, stat in the long spelling |
| 000030 | the connection is cut in the middle of submit_sm_resp |
| 000031 | delivered, and an answer (MO) comes back |
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from smpp.constants import CommandStatus, MessageState

MAGIC_PREFIX: Final = "882990"


class Response(Enum):
    """What becomes of submit_sm_resp."""

    AT_ONCE = "at once"
    LATE = "late"
    AFTER_RECEIPT = "after the receipt"
    NEVER = "never"
    CUT = "cut"


class Form(Enum):
    """How a receipt is written."""

    USUAL = "deliver_sm, text and TLVs"
    DATA_SM = "data_sm, text in message_payload"
    TLVS = "deliver_sm, TLVs only"
    TEXT = "deliver_sm, text only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What the sandbox does with one submit_sm; the defaults are an ordinary delivery."""

    state: MessageState = MessageState.DELIVERED
    error: str = "000"
    refuse: CommandStatus = CommandStatus.ESME_ROK
    refuse_once: bool = False
    response: Response = Response.AT_ONCE
    receipts: int = 1
    form: Form = Form.USUAL
    decimal_id: bool = False
    notify: bool = False
    answer: bool = False


DELIVERED: Final = Behaviour()
BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "000001": Behaviour(state=MessageState.UNDELIVERABLE, error="001"),
    "000002": Behaviour(state=MessageState.EXPIRED, error="002"),
    "000003": Behaviour(state=MessageState.REJECTED, error="003"),
    "000004": Behaviour(state=MessageState.DELETED, error="004"),
    "000005": Behaviour(state=MessageState.UNKNOWN, error="005"),
    "000006": Behaviour(notify=True),
    "000010": Behaviour(refuse=CommandStatus.ESME_RINVDSTADR),
    "000011": Behaviour(refuse=CommandStatus.ESME_RTHROTTLED, refuse_once=True),
    "000012": Behaviour(refuse=CommandStatus.ESME_RTHROTTLED),
    "000013": Behaviour(refuse=CommandStatus.ESME_RSYSERR),
    "000014": Behaviour(refuse=CommandStatus.ESME_RMSGQFUL, refuse_once=True),
    "000015": Behaviour(refuse=CommandStatus.ESME_RMSGQFUL),
    "000020": Behaviour(response=Response.NEVER, receipts=0),
    "000021": Behaviour(response=Response.LATE),
    "000022": Behaviour(response=Response.AFTER_RECEIPT),
    "000023": Behaviour(receipts=2),
    "000024": Behaviour(decimal_id=True),
    "000025": Behaviour(receipts=0),
    "000026": Behaviour(form=Form.DATA_SM),
    "000027": Behaviour(form=Form.TLVS),
    "000028": Behaviour(form=Form.TEXT),
    "000030": Behaviour(response=Response.CUT, receipts=0),
    "000031": Behaviour(answer=True),
}


def behaviour(destination_addr: str) -> Behaviour:
    """What this number asks for."""
    number = destination_addr.removeprefix("+")
    if not number.startswith(MAGIC_PREFIX):
        return DELIVERED
    return BEHAVIOURS.get(number.removeprefix(MAGIC_PREFIX), DELIVERED)
