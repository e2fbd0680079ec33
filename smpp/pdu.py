"""SMPP v3.4 PDUs to octets and back, and a byte stream to frames; sans-IO and stateless but for `Splitter`.

`encode(pdu)` gives a whole PDU, `decode(frame)` a value of `smpp.operations` (re-exported here). The one
error is `PduError`; it carries command_status, command_id and sequence_number so that a session can answer.

Strict in what a limit of the specification protects (C-octet strings with their NUL, sm_length, TLV
lengths), tolerant where strictness would lose a result: a response may lack its body or the NUL of its
message_id, and a deliver_sm may carry both short_message and message_payload. Text encodings, states and
sequence numbers are not judged here.
"""

from collections.abc import Callable
from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from smpp.constants import (
    HEADER_OCTETS,
    MAX_SHORT_MESSAGE_OCTETS,
    MAX_TLVS,
    RESPONSE_BIT,
    CommandStatus,
    EsmClass,
    Tag,
)
from smpp.framing import PduError, Splitter
from smpp.operations import (
    AlertNotification,
    Bind,
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    Field,
    GenericNack,
    Outbind,
    Pdu,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    Response,
    ShortMessage,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    Tlvs,
    Unbind,
    UnbindResp,
    tlv,
)

__all__ = [
    "AlertNotification", "Bind", "BindReceiver", "BindReceiverResp", "BindTransceiver", "BindTransceiverResp",
    "BindTransmitter", "BindTransmitterResp", "CancelSm", "CancelSmResp", "DataSm", "DataSmResp", "DeliverSm",
    "DeliverSmResp", "EnquireLink", "EnquireLinkResp", "GenericNack", "Outbind", "Pdu", "PduError", "QuerySm",
    "QuerySmResp", "ReplaceSm", "ReplaceSmResp", "Response", "ShortMessage", "Splitter", "SubmitMulti",
    "SubmitMultiResp", "SubmitSm", "SubmitSmResp", "Tlvs", "Unbind", "UnbindResp", "decode", "encode",
    "request_class", "response_class", "tlv",
]  # fmt: skip

_HEADER: Final = Struct(">IIII")
_TLV_HEADER: Final = Struct(">HH")
_PAYLOAD: Final = int(Tag.MESSAGE_PAYLOAD)
_UDHI: Final = int(EsmClass.UDHI)  # a plain integer: an IntFlag takes a microsecond to mask one
_SAR_TAGS: Final = frozenset({Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM})


# --- encoding ---------------------------------------------------------------------------------------------


def encode(pdu: Pdu, sequence_number: int | None = None) -> bytes:
    """The PDU's octets, with `sequence_number` instead of its own if given. Raises PduError."""
    if sequence_number is None:
        sequence_number = pdu.sequence_number
    try:
        body = _ENCODERS.get(type(pdu), _encode_body)(pdu)
        return _HEADER.pack(HEADER_OCTETS + len(body), pdu.command_id, pdu.status, sequence_number) + body
    except PduError as error:
        error.command_id, error.sequence_number = pdu.command_id, sequence_number
        raise
    except (ValueError, OverflowError, TypeError, struct_error) as error:
        raise PduError(
            f"{pdu.command_id.name.lower()} holds a value that does not fit its field: {error}",
            command_id=pdu.command_id,
            sequence_number=sequence_number,
        ) from error


def _encode_short_message(pdu: ShortMessage) -> bytes:
    """submit_sm and deliver_sm, the hot path: one format, one encode, then the message octets."""
    message, tlvs = pdu.short_message, pdu.tlvs
    if len(message) > MAX_SHORT_MESSAGE_OCTETS:
        # Section 4.4.1, note 3: a longer message goes in message_payload, and sm_length is 0.
        _refuse_second_payload(tlvs)
        tlvs, message = (*tlvs, (_PAYLOAD, message)), b""
    service_type, source, destination = pdu.service_type, pdu.source_addr, pdu.destination_addr
    schedule, validity = pdu.schedule_delivery_time, pdu.validity_period
    if (
        len(service_type) > 5
        or len(source) > 20
        or len(destination) > 20
        or len(schedule) > 16
        or len(validity) > 16
        or "\0" in f"{service_type}{source}{destination}{schedule}{validity}"
    ):
        raise _first_fault(pdu)
    body = (
        f"{service_type}\0{chr(pdu.source_addr_ton)}{chr(pdu.source_addr_npi)}{source}\0"
        f"{chr(pdu.dest_addr_ton)}{chr(pdu.dest_addr_npi)}{destination}\0"
        f"{chr(pdu.esm_class)}{chr(pdu.protocol_id)}{chr(pdu.priority_flag)}{schedule}\0{validity}\0"
        f"{chr(pdu.registered_delivery)}{chr(pdu.replace_if_present_flag)}"
        f"{chr(pdu.data_coding)}{chr(pdu.sm_default_msg_id)}{chr(len(message))}"
    ).encode("latin-1")
    if not tlvs:
        return body + message
    if message:
        _refuse_second_payload(tlvs)
    if pdu.esm_class & _UDHI and any(tag in _SAR_TAGS for tag, _ in tlvs):
        raise PduError("sar_* and a user data header exclude each other", command_status=0xC1)
    return body + message + _encode_tlvs(tlvs)


def _refuse_second_payload(tlvs: Tlvs) -> None:
    for tag, _ in tlvs:
        if tag == _PAYLOAD:
            raise PduError(
                "short_message and message_payload exclude each other",
                command_status=CommandStatus.ESME_ROPTPARNOTALLWD,
            )


def _first_fault(pdu: Pdu) -> PduError:
    """The PduError of the first text field that breaks its limit."""
    for field in pdu.LAYOUT:
        if field.kind == "text":
            try:
                _encode_text(getattr(pdu, field.name), field)
            except PduError as error:
                return error
    return PduError("a field breaks its limit")  # pragma: no cover - the caller has seen one


def _encode_text(value: str, field: Field) -> bytes:
    if len(value) >= field.limit or "\0" in value:
        raise PduError(
            f"{field.name} takes at most {field.limit - 1} octets without NUL", command_status=field.fault
        )
    return value.encode("latin-1") + b"\0"


def _encode_tlvs(tlvs: Tlvs) -> bytes:
    return b"".join([_TLV_HEADER.pack(tag, len(value)) + value for tag, value in tlvs])


def _encode_message_id(pdu: SubmitSmResp | DeliverSmResp) -> bytes:
    """The usual answers, on the hot path too. A refusal has no body (section 4.4.2)."""
    if pdu.tlvs:
        return _encode_body(pdu)
    message_id = pdu.message_id
    if len(message_id) > 64 or "\0" in message_id:
        raise _first_fault(pdu)
    return b"" if pdu.command_status and not message_id else message_id.encode("latin-1") + b"\0"


def _encode_body(pdu: Pdu) -> bytes:
    """Every other PDU, by its layout. A refusal has no body (sections 4.1.2, 4.4.2)."""
    if isinstance(pdu, SubmitMulti):
        return pdu.body
    if pdu.status and not getattr(pdu, "message_id", "") and not getattr(pdu, "tlvs", ()):
        return b""
    pieces = []
    for field in pdu.LAYOUT:
        value = getattr(pdu, field.name)
        if field.kind == "text":
            pieces.append(_encode_text(value, field))
        elif field.kind == "octet":
            pieces.append(bytes((value,)))
        else:
            if len(value) > field.limit:
                raise PduError(f"{field.name} is over {field.limit} octets", command_status=field.fault)
            pieces.append(bytes((len(value),)) + value)
    return b"".join(pieces) + _encode_tlvs(getattr(pdu, "tlvs", ()))


_ENCODERS: Final[dict[type[Pdu], Callable[[Any], bytes]]] = {
    SubmitSm: _encode_short_message,
    DeliverSm: _encode_short_message,
    SubmitSmResp: _encode_message_id,
    DeliverSmResp: _encode_message_id,
}


# --- decoding ---------------------------------------------------------------------------------------------


def decode(frame: bytes) -> Pdu:
    """The PDU in one whole frame, as `Splitter` yields it. Raises PduError."""
    if len(frame) < HEADER_OCTETS:
        raise PduError(f"a frame of {len(frame)} octets has no header", framing=True)
    length, command_id, command_status, sequence_number = _HEADER.unpack_from(frame)
    if length != len(frame):
        raise PduError(f"command_length {length} in a frame of {len(frame)} octets", framing=True)
    try:
        return _DECODERS.get(command_id, _refuse_unknown)(frame, command_status, sequence_number)
    except PduError as error:
        error.command_id, error.sequence_number = command_id, sequence_number
        raise
    except (ValueError, IndexError, struct_error) as error:
        # A NUL that is not there, or an octet beyond the end: the body is shorter than its layout.
        raise PduError(
            "the body ends too early", command_id=command_id, sequence_number=sequence_number
        ) from error


def _refuse_unknown(frame: bytes, _status: int, _sequence_number: int) -> Pdu:
    raise PduError(
        f"command_id 0x{frame[4:8].hex().upper()} is unknown", command_status=CommandStatus.ESME_RINVCMDID
    )


def _decode_short_message(cls: type[ShortMessage]) -> Callable[[bytes, int, int], Pdu]:
    """The hot path's decoder: five searches for NUL, no loop."""
    refuses_both = cls is SubmitSm

    def decode_one(frame: bytes, _status: int, sequence_number: int) -> Pdu:
        text = frame.decode("latin-1")
        index = text.index
        service_end = index("\0", 16)
        source_end = index("\0", service_end + 3)
        dest_end = index("\0", source_end + 3)
        schedule_end = index("\0", dest_end + 4)
        validity_end = index("\0", schedule_end + 1)
        message = validity_end + 6
        registered, replace, coding, default_id, sm_length = frame[validity_end + 1 : message]
        end = message + sm_length
        esm_class, protocol_id, priority = frame[dest_end + 1 : dest_end + 4]
        pdu = cls(
            sequence_number,
            text[16:service_end],
            frame[service_end + 1],
            frame[service_end + 2],
            text[service_end + 3 : source_end],
            frame[source_end + 1],
            frame[source_end + 2],
            text[source_end + 3 : dest_end],
            esm_class,
            protocol_id,
            priority,
            text[dest_end + 4 : schedule_end],
            text[schedule_end + 1 : validity_end],
            registered,
            replace,
            coding,
            default_id,
            frame[message:end],
            _decode_tlvs(frame, end) if end < len(frame) else (),
        )
        if (
            service_end > 21
            or source_end - service_end > 23
            or dest_end - source_end > 23
            or schedule_end - dest_end > 20
            or validity_end - schedule_end > 17
        ):
            raise _first_fault(pdu)
        if end > len(frame) or end - message > MAX_SHORT_MESSAGE_OCTETS:
            raise PduError("sm_length is wrong", command_status=CommandStatus.ESME_RINVMSGLEN)
        if refuses_both and pdu.tlvs and end > message:
            _refuse_second_payload(pdu.tlvs)
        return pdu

    return decode_one


def _decode_tlvs(frame: bytes, position: int) -> Tlvs:
    """Section 3.2.4: every TLV up to the end of the frame, known or not; no more than anybody sends, since
    each takes some hundred octets of memory.
    """
    tlvs: list[tuple[int, bytes]] = []
    end = len(frame)
    while position < end:
        if end - position < 4:
            raise PduError("octets after the last TLV", command_status=CommandStatus.ESME_RINVOPTPARSTREAM)
        tag, length = _TLV_HEADER.unpack_from(frame, position)
        position += 4
        if length > end - position:
            raise PduError(f"TLV 0x{tag:04X} is longer than the PDU", command_status=0xC2)
        if len(tlvs) >= MAX_TLVS:
            raise PduError(f"more than {MAX_TLVS} TLVs", command_status=CommandStatus.ESME_RINVOPTPARSTREAM)
        tlvs.append((tag, frame[position : position + length]))
        position += length
    return tuple(tlvs)


def _decode_message_id(
    cls: type[SubmitSmResp | DeliverSmResp | DataSmResp],
) -> Callable[[bytes, int, int], Pdu]:
    """Tolerant: an unreadable tail must not turn an answer into an unknown outcome."""

    def decode_one(frame: bytes, status: int, sequence_number: int) -> Pdu:
        end = frame.find(0, HEADER_OCTETS)
        if end < 0:
            end = len(frame)
        tlvs: Tlvs = ()
        if end + 1 < len(frame):
            try:
                tlvs = _decode_tlvs(frame, end + 1)
            except PduError:
                tlvs = ()
        return cls(sequence_number, status, frame[HEADER_OCTETS:end].decode("latin-1"), tlvs)

    return decode_one


def _decode_layout(cls: type[Pdu]) -> Callable[[bytes, int, int], Pdu]:
    """Every other PDU, by its layout."""
    is_response, has_tlvs = issubclass(cls, Response), "tlvs" in cls.__struct_fields__

    def decode_one(frame: bytes, status: int, sequence_number: int) -> Pdu:
        values: dict[str, object] = {"sequence_number": sequence_number}
        if is_response:
            values["command_status"] = status
            if len(frame) == HEADER_OCTETS:
                return cls(**values)  # type: ignore[arg-type]  # the layout names the fields
        position = HEADER_OCTETS
        for field in cls.LAYOUT:
            values[field.name], position = _decode_field(frame, position, field)
        if has_tlvs and position < len(frame):
            values["tlvs"] = _decode_tlvs(frame, position)
        return cls(**values)  # type: ignore[arg-type]  # the layout names the fields

    return decode_one


def _decode_field(frame: bytes, position: int, field: Field) -> tuple[str | int | bytes, int]:
    if field.kind == "octet":
        return frame[position], position + 1
    if field.kind == "text":
        end = frame.index(0, position)
        if end - position >= field.limit:
            raise PduError(f"{field.name} is over {field.limit} octets", command_status=field.fault)
        return frame[position:end].decode("latin-1"), end + 1
    start, end = position + 1, position + 1 + frame[position]
    if end > len(frame) or frame[position] > field.limit:
        raise PduError("sm_length is wrong", command_status=field.fault)
    return frame[start:end], end


def _decode_submit_multi(frame: bytes, _status: int, sequence_number: int) -> Pdu:
    return SubmitMulti(sequence_number, frame[HEADER_OCTETS:])


_BY_LAYOUT: Final[tuple[type[Pdu], ...]] = (
    BindTransmitter, BindReceiver, BindTransceiver, Outbind, Unbind, EnquireLink, DataSm, QuerySm, CancelSm,
    ReplaceSm, AlertNotification,
)  # fmt: skip
_RESPONSES_BY_LAYOUT: Final[tuple[type[Response], ...]] = (
    BindTransmitterResp, BindReceiverResp, BindTransceiverResp, UnbindResp, EnquireLinkResp, QuerySmResp,
    CancelSmResp, ReplaceSmResp, SubmitMultiResp,
)  # fmt: skip
_WITH_MESSAGE_ID: Final[tuple[type[SubmitSmResp | DeliverSmResp | DataSmResp], ...]] = (
    SubmitSmResp, DeliverSmResp, DataSmResp,
)  # fmt: skip
_DECODERS: Final[dict[int, Callable[[bytes, int, int], Pdu]]] = {
    GenericNack.command_id: _decode_layout(GenericNack),
    **{cls.command_id: _decode_layout(cls) for cls in _BY_LAYOUT},
    **{cls.command_id: _decode_layout(cls) for cls in _RESPONSES_BY_LAYOUT},
    **{cls.command_id: _decode_short_message(cls) for cls in (SubmitSm, DeliverSm)},
    **{cls.command_id: _decode_message_id(cls) for cls in _WITH_MESSAGE_ID},
    SubmitMulti.command_id: _decode_submit_multi,
}
_RESPONSES: Final[dict[int, type[Response]]] = {
    cls.command_id: cls for cls in (*_RESPONSES_BY_LAYOUT, *_WITH_MESSAGE_ID)
}


_OTHER_REQUESTS: Final[tuple[type[Pdu], ...]] = (SubmitSm, DeliverSm, SubmitMulti)
_REQUESTS: Final[dict[int, type[Pdu]]] = {cls.command_id: cls for cls in _BY_LAYOUT + _OTHER_REQUESTS}


def request_class(command_id: int) -> type[Pdu] | None:
    """The class of requests with `command_id`, or None."""
    return _REQUESTS.get(command_id)


def response_class(command_id: int) -> type[Response] | None:
    """The class that answers requests with `command_id`, or None (outbind, alert_notification, unknown)."""
    return _RESPONSES.get(command_id | RESPONSE_BIT)
