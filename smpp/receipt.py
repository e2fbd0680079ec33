"""Delivery receipts: read from deliver_sm and data_sm, and written for our own clients; pure.

SMPP v3.4, sections 5.2.12 (esm_class) and 5.3.2 (TLVs); the text form is Appendix B, which every SMSC bends
a little. TLVs are read first, then the text fills what they leave open. A broken receipt gives a `Receipt`
with little in it, never an error. Only what the SMSC marks is a receipt: a text typed by a subscriber is not.

Message ids come hex in one place and decimal in the other: store `normalise(id)`, look up `candidates(id)`.
"""

import re
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import msgspec

from smpp import text as sms_text
from smpp.concatenation import user_data
from smpp.constants import EsmClass, MessageState, Tag
from smpp.pdu import DataSm, DeliverSm, SubmitSm, tlv

# Appendix B, table B-2, and what the field has made of it; only the first letters count.
_STATES: Final = (
    ("DELIV", MessageState.DELIVERED),
    ("EXPIR", MessageState.EXPIRED),
    ("DELET", MessageState.DELETED),
    ("UNDEL", MessageState.UNDELIVERABLE),
    ("FAIL", MessageState.UNDELIVERABLE),
    ("ACCEP", MessageState.ACCEPTED),
    ("UNKN", MessageState.UNKNOWN),
    ("REJEC", MessageState.REJECTED),
    ("ENROU", MessageState.ENROUTE),
    ("SCHED", MessageState.SCHEDULED),
    ("SKIP", MessageState.SKIPPED),
)
_STAT_NAMES: Final = {
    MessageState.SCHEDULED: "ENROUTE",
    MessageState.ENROUTE: "ENROUTE",
    MessageState.DELIVERED: "DELIVRD",
    MessageState.EXPIRED: "EXPIRED",
    MessageState.DELETED: "DELETED",
    MessageState.UNDELIVERABLE: "UNDELIV",
    MessageState.ACCEPTED: "ACCEPTD",
    MessageState.UNKNOWN: "UNKNOWN",
    MessageState.REJECTED: "REJECTD",
    MessageState.SKIPPED: "REJECTD",
}
_NOT_FINAL: Final = frozenset({MessageState.SCHEDULED, MessageState.ENROUTE, MessageState.ACCEPTED})
_KEY: Final = re.compile(
    r"(?<![a-z0-9])(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|text):", re.IGNORECASE
)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,64}\Z")
_DATE_FORMATS: Final = {10: ("%y%m%d%H%M",), 12: ("%y%m%d%H%M%S", "%Y%m%d%H%M"), 14: ("%Y%m%d%H%M%S",)}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery receipt. `state` is None if nothing readable told it; `error` may be alphanumeric.

    Dates are the SMSC's wall clock read as UTC, because a receipt names no zone. `intermediate` marks a
    notification on the way (section 5.2.12, bit 5).
    """

    message_id: str
    state: MessageState | None = None
    error: str = ""
    network_error_code: bytes | None = None
    submitted: int | None = None
    delivered: int | None = None
    submit_date: datetime | None = None
    done_date: datetime | None = None
    text: str = ""
    intermediate: bool = False

    @property
    def final(self) -> bool:
        """True if no later receipt will change the state."""
        return self.state is not None and self.state not in _NOT_FINAL and not self.intermediate


class IdForm(Enum):
    """How a peer writes message ids in one place."""

    AS_IS = "as-is"
    HEX = "hex"
    DECIMAL = "decimal"


def normalise(message_id: str, form: IdForm = IdForm.AS_IS) -> str:
    """The id as a key. HEX and DECIMAL give the number in decimal digits, so that they meet.

    AS_IS, and an id that does not read as its form: a hexadecimal id without leading zeros in small letters,
    any other id unchanged but for surrounding blanks.
    """
    message_id = message_id.strip()
    if form is IdForm.DECIMAL and _is_decimal(message_id):
        return str(int(message_id))
    if not _HEX.match(message_id):
        return message_id
    if form is IdForm.HEX:
        return str(int(message_id, 16))
    return message_id.lower().lstrip("0") or "0"


def candidates(message_id: str) -> tuple[str, ...]:
    """The keys under which `normalise(…)` may have stored this id, the likeliest first: as it is, the hex of
    its decimal reading, the decimal of its hex reading.
    """
    keys = [normalise(message_id)]
    if _is_decimal(keys[0]):
        keys.append(f"{int(keys[0]):x}")
    if _HEX.match(keys[0]):
        keys.append(str(int(keys[0], 16)))
    return tuple(dict.fromkeys(keys))


def _is_decimal(message_id: str) -> bool:
    return bool(_HEX.match(message_id)) and message_id.isdecimal()


def is_receipt(pdu: DeliverSm | DataSm) -> bool:
    """True if the SMSC marks the PDU as a receipt, by esm_class or by receipted_message_id."""
    kind = pdu.esm_class & EsmClass.TYPE_MASK
    return (
        kind in {EsmClass.DELIVERY_RECEIPT, EsmClass.INTERMEDIATE_NOTIFICATION}
        or tlv(pdu, Tag.RECEIPTED_MESSAGE_ID) is not None
    )


def parse(pdu: DeliverSm | DataSm) -> Receipt | None:
    """The receipt in a deliver_sm or data_sm, or None if it is a message (MO)."""
    if not is_receipt(pdu):
        return None
    # An SMSC writes this text in ASCII whatever data_coding says; only UCS-2 is taken at its word.
    octets = user_data(pdu).octets
    wide = pdu.data_coding in {0x08, 0x18}
    fields = _fields(sms_text.decode(octets, pdu.data_coding) if wide else octets.decode("latin-1"))
    error_code = tlv(pdu, Tag.NETWORK_ERROR_CODE)
    state = _tlv_state(tlv(pdu, Tag.MESSAGE_STATE))
    id_octets = tlv(pdu, Tag.RECEIPTED_MESSAGE_ID) or b""
    message_id = id_octets.split(b"\0", 1)[0].decode("latin-1").strip()
    return Receipt(
        message_id=message_id or fields.get("id", ""),
        state=_text_state(fields.get("stat", "")) if state is None else state,
        error=fields.get("err", "") or _network_error(error_code),
        network_error_code=error_code,
        submitted=_number(fields.get("sub", "")),
        delivered=_number(fields.get("dlvrd", "")),
        submit_date=_date(fields.get("submitdate", "")),
        done_date=_date(fields.get("donedate", "")),
        text=fields.get("text", ""),
        intermediate=pdu.esm_class & EsmClass.TYPE_MASK == EsmClass.INTERMEDIATE_NOTIFICATION,
    )


def _fields(text: str) -> dict[str, str]:
    """Key to value; the first of a kind counts, and everything after `text:` is text."""
    fields: dict[str, str] = {}
    key, start = "", 0
    for match in _KEY.finditer(text):
        if key:
            fields.setdefault(key, text[start : match.start()].strip())
        key, start = match[1].lower().replace(" ", "").replace("_", ""), match.end()
        if key == "text":
            break
    if key:
        fields.setdefault(key, text[start:].strip())
    if "id" in fields:
        fields["id"] = fields["id"].split(" ", 1)[0].strip("\0;,")
    return fields


def _tlv_state(value: bytes | None) -> MessageState | None:
    return MessageState(value[0]) if value and value[0] <= MessageState.SKIPPED else None


def _text_state(stat: str) -> MessageState | None:
    stat = stat.upper()
    return next((state for prefix, state in _STATES if stat.startswith(prefix)), None)


def _network_error(code: bytes | None) -> str:
    """The error number of a network_error_code (section 5.3.2.31: network type, then two octets)."""
    return f"{int.from_bytes(code[1:3], 'big'):03d}" if code and len(code) == 3 else ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def _date(text: str) -> datetime | None:
    """YYMMDDhhmm, with seconds, with a four-digit year, or None."""
    if not (text.isascii() and text.isdecimal()):
        return None
    for form in _DATE_FORMATS.get(len(text), ()):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def format_text(receipt: Receipt) -> str:
    """The text of Appendix B, with at most 20 characters of the message."""
    submitted = 1 if receipt.submitted is None else receipt.submitted
    done = receipt.state is MessageState.DELIVERED
    delivered = int(done) if receipt.delivered is None else receipt.delivered
    stat = _STAT_NAMES.get(receipt.state or MessageState.UNKNOWN, "UNKNOWN")
    return (
        f"id:{receipt.message_id} sub:{submitted:03d} dlvrd:{delivered:03d}"
        f" submit date:{_format_date(receipt.submit_date)} done date:{_format_date(receipt.done_date)}"
        f" stat:{stat} err:{receipt.error or '000'} text:{receipt.text[:20]}"
    )


def _format_date(date: datetime | None) -> str:
    return date.strftime("%y%m%d%H%M") if date else "0" * 10


def deliver_sm(receipt: Receipt, submit: SubmitSm, *, with_text: bool = True) -> DeliverSm:
    """The receipt for a client's submit_sm: addresses swapped, text and TLVs (section 4.6.1)."""
    text = format_text(receipt).encode("ascii", "replace") if with_text else b""
    tlvs = [(int(Tag.RECEIPTED_MESSAGE_ID), receipt.message_id.encode("latin-1", "replace") + b"\0")]
    if receipt.state is not None:
        tlvs.append((int(Tag.MESSAGE_STATE), bytes((receipt.state,))))
    if receipt.network_error_code is not None:
        tlvs.append((int(Tag.NETWORK_ERROR_CODE), receipt.network_error_code))
    kind = EsmClass.INTERMEDIATE_NOTIFICATION if receipt.intermediate else EsmClass.DELIVERY_RECEIPT
    return DeliverSm(
        service_type=submit.service_type,
        source_addr_ton=submit.dest_addr_ton,
        source_addr_npi=submit.dest_addr_npi,
        source_addr=submit.destination_addr,
        dest_addr_ton=submit.source_addr_ton,
        dest_addr_npi=submit.source_addr_npi,
        destination_addr=submit.source_addr,
        esm_class=int(kind),
        short_message=text,
        tlvs=tuple(tlvs),
    )
