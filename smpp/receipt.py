"""Delivery receipts: read from deliver_sm and data_sm, and written for our own clients; pure.

SMPP v3.4, sections 5.2.12 (esm_class) and 5.3.2 (TLVs); the text form is Appendix B, which every SMSC bends
a little. TLVs are read first, then the text fills what they leave open. A broken receipt gives a `Receipt`
with little in it, never an error. Only what the SMSC marks is a receipt: a text typed by a subscriber is not.

Message ids come hex in one place and decimal in the other: store `normalise(id)`, look up `keys(id)`.
"""

import re
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import msgspec

from smpp import text as sms_text
from smpp.concatenation import user_data
from smpp.constants import EsmClass, MessageState, Tag
from smpp.pdu import DataSm, DeliverSm, SubmitSm, Tlvs, tlv

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
STAT_NAMES: Final = {
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
_LONG: Final = 8
"""From so many digits on an id may be read in another way. Read so it is a number that a counting SMSC gives
out at a tenth of its count, or at thirty times; of shorter ones that may be among the messages under way."""
_DATE_FORMATS: Final = {10: ("%y%m%d%H%M",), 12: ("%y%m%d%H%M%S", "%Y%m%d%H%M"), 14: ("%Y%m%d%H%M%S",)}


# For the usual receipt; plain integers, because an IntFlag takes a microsecond to mask or compare.
_RECEIPTED_ID: Final = int(Tag.RECEIPTED_MESSAGE_ID)
_MESSAGE_STATE: Final = int(Tag.MESSAGE_STATE)
_STATE_OF: Final = {bytes((state,)): state for state in MessageState}
_RECEIPT: Final = int(EsmClass.DELIVERY_RECEIPT)
_TYPE_MASK: Final = int(EsmClass.TYPE_MASK)
_RECEIPT_TYPES: Final = frozenset({_RECEIPT, int(EsmClass.INTERMEDIATE_NOTIFICATION)})
_USUAL: Final = re.compile(
    rb"id:[0-9A-Za-z-]+ sub:\d{3} dlvrd:\d{3} submit date:\d{10,14} done date:\d{10,14}"
    rb" stat:[A-Z]+ err:([0-9A-Za-z]{1,10}) [Tt]ext:"
)


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
    """How a peer's receipts write the ids that its submit_sm_resp gave."""

    AS_IS = "as-is"
    HEX = "hex"  # submit_sm_resp has them in decimal
    DECIMAL = "decimal"  # submit_sm_resp has them in hex


def normalise(message_id: str) -> str:
    """The id as a key: a hexadecimal one without leading zeros in small letters, any other unchanged but for
    surrounding blanks.
    """
    message_id = message_id.strip()
    if not _HEX.match(message_id):
        return message_id
    return message_id.lower().lstrip("0") or "0"


def keys(message_id: str, form: IdForm = IdForm.AS_IS) -> tuple[str, ...]:
    """What `normalise` may have made of the id that this receipt's id stands for, the likeliest first.

    AS_IS: as it stands; if it is long enough that no other message's id can be meant, the hex of its decimal
    reading and the decimal of its hex reading, too. HEX and DECIMAL are taken at their word, however short.
    """
    key = normalise(message_id)
    if form is IdForm.HEX:
        return (str(int(key, 16)) if _HEX.match(key) else key,)
    if form is IdForm.DECIMAL:
        return (f"{int(key):x}" if _is_decimal(key) else key,)
    if len(key) < _LONG or not _HEX.match(key):
        return (key,)
    from_hex = str(int(key, 16))
    return (key, f"{int(key):x}", from_hex) if key.isdecimal() else (key, from_hex)


def _is_decimal(message_id: str) -> bool:
    return bool(_HEX.match(message_id)) and message_id.isdecimal()


def is_receipt(pdu: DeliverSm | DataSm) -> bool:
    """True if the SMSC marks the PDU as a receipt, by esm_class or by receipted_message_id."""
    return pdu.esm_class & _TYPE_MASK in _RECEIPT_TYPES or tlv(pdu, _RECEIPTED_ID) is not None


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


class Told(msgspec.Struct, frozen=True, gc=False):
    """What a receipt says of a message's fate; as in `Receipt`."""

    message_id: str
    state: MessageState | None
    error: str
    final: bool


def told(pdu: DeliverSm | DataSm) -> Told | None:
    """As `parse`, without what a gateway does not ask; much faster for the usual receipt, text and TLVs."""
    given = dict(pdu.tlvs)
    id_octets, state = given.get(_RECEIPTED_ID), _STATE_OF.get(given.get(_MESSAGE_STATE, b""))
    if id_octets and state is not None and pdu.esm_class == _RECEIPT and len(given) == len(pdu.tlvs):
        found = _USUAL.match(pdu.payload)
        if found is not None:
            message_id = id_octets.partition(b"\0")[0].decode("latin-1").strip()
            if message_id:
                return Told(message_id, state, found[1].decode("ascii"), state not in _NOT_FINAL)
    receipt = parse(pdu)
    if receipt is None:
        return None
    return Told(receipt.message_id, receipt.state, receipt.error, receipt.final)


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
    stat = STAT_NAMES.get(receipt.state or MessageState.UNKNOWN, "UNKNOWN")
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
    more = tlvs(receipt.message_id, receipt.state)
    if receipt.network_error_code is not None:
        more = (*more, (int(Tag.NETWORK_ERROR_CODE), receipt.network_error_code))
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
        tlvs=more,
    )


def tlvs(message_id: str, state: int | None) -> Tlvs:
    """What every receipt says in TLVs (sections 5.3.2.12 and 5.3.2.35)."""
    of_id = (_RECEIPTED_ID, message_id.encode("latin-1", "replace") + b"\0")
    return (of_id,) if state is None else (of_id, (_MESSAGE_STATE, bytes((state,))))
