"""The PDUs of SMPP v3.4 as immutable values; field names and order are those of section 4.

Addresses, ids and times are `str` with one character per octet (ISO-8859-1), so that any octet survives;
message texts are `bytes`, because only `smpp.text` knows their alphabet. TLVs are (tag, value) pairs in wire
order, known or not. A value may break a limit of the specification: `smpp.pdu` checks when it encodes.
"""

from typing import ClassVar, Final, NamedTuple

import msgspec

from smpp.constants import INTERFACE_VERSION, CommandId, CommandStatus, EsmClass, Tag

Tlvs = tuple[tuple[int, bytes], ...]
_UDHI: Final = int(EsmClass.UDHI)  # a plain integer: an IntFlag takes a microsecond to mask one
_PAYLOAD: Final = int(Tag.MESSAGE_PAYLOAD)


class Field(NamedTuple):
    """One mandatory parameter: `text` is a C-octet string whose limit includes the NUL (section 3.1),
    `octet` one byte, `counted` an sm_length followed by that many octets.
    """

    name: str
    kind: str
    limit: int = 1
    fault: CommandStatus = CommandStatus.ESME_RINVPARLEN


_SYSTEM_ID: Final = Field("system_id", "text", 16, CommandStatus.ESME_RINVSYSID)
_PASSWORD: Final = Field("password", "text", 9, CommandStatus.ESME_RINVPASWD)
_MESSAGE_ID: Final = Field("message_id", "text", 65, CommandStatus.ESME_RINVMSGID)
_SERVICE_TYPE: Final = Field("service_type", "text", 6, CommandStatus.ESME_RINVSERTYP)
_SCHEDULE: Final = Field("schedule_delivery_time", "text", 17, CommandStatus.ESME_RINVSCHED)
_VALIDITY: Final = Field("validity_period", "text", 17, CommandStatus.ESME_RINVEXPIRY)
_FINAL_DATE: Final = Field("final_date", "text", 17)
_SHORT_MESSAGE: Final = Field("short_message", "counted", 254, CommandStatus.ESME_RINVMSGLEN)


def _octets(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "octet") for name in names)


def _source(limit: int) -> tuple[Field, ...]:
    address = Field("source_addr", "text", limit, CommandStatus.ESME_RINVSRCADR)
    return (*_octets("source_addr_ton", "source_addr_npi"), address)


def _destination(limit: int) -> tuple[Field, ...]:
    address = Field("destination_addr", "text", limit, CommandStatus.ESME_RINVDSTADR)
    return (*_octets("dest_addr_ton", "dest_addr_npi"), address)


class Pdu(msgspec.Struct, frozen=True, gc=False):
    """What every PDU has. `sequence_number` is 0 until the session that sends it gives it one."""

    sequence_number: int = 0
    command_id: ClassVar[CommandId]
    LAYOUT: ClassVar[tuple[Field, ...]] = ()

    @property
    def status(self) -> int:
        """command_status: always 0 in a request."""
        return 0


class Response(Pdu, frozen=True, gc=False):
    """An answer; `command_status` is a plain integer, because peers use values of their own."""

    command_status: int = 0

    @property
    def status(self) -> int:
        return self.command_status


class _Bind(Pdu, frozen=True, gc=False):
    system_id: str = ""
    password: str = ""
    system_type: str = ""
    interface_version: int = INTERFACE_VERSION
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""
    LAYOUT: ClassVar[tuple[Field, ...]] = (
        _SYSTEM_ID,
        _PASSWORD,
        Field("system_type", "text", 13, CommandStatus.ESME_RINVSYSTYP),
        *_octets("interface_version", "addr_ton", "addr_npi"),
        Field("address_range", "text", 41, CommandStatus.ESME_RINVPARLEN),
    )


class BindTransmitter(_Bind, frozen=True, gc=False):
    """Section 4.1.1."""

    command_id: ClassVar[CommandId] = CommandId.BIND_TRANSMITTER


class BindReceiver(_Bind, frozen=True, gc=False):
    """Section 4.1.3."""

    command_id: ClassVar[CommandId] = CommandId.BIND_RECEIVER


class BindTransceiver(_Bind, frozen=True, gc=False):
    """Section 4.1.5."""

    command_id: ClassVar[CommandId] = CommandId.BIND_TRANSCEIVER


Bind = BindTransmitter | BindReceiver | BindTransceiver


class _BindResp(Response, frozen=True, gc=False):
    system_id: str = ""
    tlvs: Tlvs = ()
    LAYOUT: ClassVar[tuple[Field, ...]] = (_SYSTEM_ID,)


class BindTransmitterResp(_BindResp, frozen=True, gc=False):
    """Section 4.1.2."""

    command_id: ClassVar[CommandId] = CommandId.BIND_TRANSMITTER_RESP


class BindReceiverResp(_BindResp, frozen=True, gc=False):
    """Section 4.1.4."""

    command_id: ClassVar[CommandId] = CommandId.BIND_RECEIVER_RESP


class BindTransceiverResp(_BindResp, frozen=True, gc=False):
    """Section 4.1.6."""

    command_id: ClassVar[CommandId] = CommandId.BIND_TRANSCEIVER_RESP


class Outbind(Pdu, frozen=True, gc=False):
    """Section 4.1.7."""

    system_id: str = ""
    password: str = ""
    command_id: ClassVar[CommandId] = CommandId.OUTBIND
    LAYOUT: ClassVar[tuple[Field, ...]] = (_SYSTEM_ID, _PASSWORD)


class Unbind(Pdu, frozen=True, gc=False):
    """Section 4.2.1."""

    command_id: ClassVar[CommandId] = CommandId.UNBIND


class UnbindResp(Response, frozen=True, gc=False):
    """Section 4.2.2."""

    command_id: ClassVar[CommandId] = CommandId.UNBIND_RESP


class GenericNack(Response, frozen=True, gc=False):
    """Section 4.3.1."""

    command_id: ClassVar[CommandId] = CommandId.GENERIC_NACK


class ShortMessage(Pdu, frozen=True, gc=False):
    """The fields that submit_sm and deliver_sm share (sections 4.4.1 and 4.6.1).

    A `short_message` of more than 254 octets goes out as message_payload; `payload` finds it in either place.
    """

    service_type: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()
    LAYOUT: ClassVar[tuple[Field, ...]] = (
        _SERVICE_TYPE,
        *_source(21),
        *_destination(21),
        *_octets("esm_class", "protocol_id", "priority_flag"),
        _SCHEDULE,
        _VALIDITY,
        *_octets("registered_delivery", "replace_if_present_flag", "data_coding", "sm_default_msg_id"),
        _SHORT_MESSAGE,
    )

    @property
    def payload(self) -> bytes:
        """The message octets, UDH included, from short_message or else message_payload."""
        return self.short_message or tlv(self, _PAYLOAD) or b""

    @property
    def udhi(self) -> bool:
        """True if the payload starts with a user data header (section 5.2.12, bit 6)."""
        return bool(self.esm_class & _UDHI)


class SubmitSm(ShortMessage, frozen=True, gc=False):
    """Section 4.4.1."""

    command_id: ClassVar[CommandId] = CommandId.SUBMIT_SM


class DeliverSm(ShortMessage, frozen=True, gc=False):
    """Section 4.6.1."""

    command_id: ClassVar[CommandId] = CommandId.DELIVER_SM


class _MessageIdResp(Response, frozen=True, gc=False):
    message_id: str = ""
    tlvs: Tlvs = ()
    LAYOUT: ClassVar[tuple[Field, ...]] = (_MESSAGE_ID,)


class SubmitSmResp(_MessageIdResp, frozen=True, gc=False):
    """Section 4.4.2."""

    command_id: ClassVar[CommandId] = CommandId.SUBMIT_SM_RESP


class DeliverSmResp(_MessageIdResp, frozen=True, gc=False):
    """Section 4.6.2; message_id is unused and sent as NULL."""

    command_id: ClassVar[CommandId] = CommandId.DELIVER_SM_RESP


class SubmitMulti(Pdu, frozen=True, gc=False):
    """Section 4.5.1, its body left raw: nothing here sends it, and a server only has to refuse it."""

    body: bytes = b""
    command_id: ClassVar[CommandId] = CommandId.SUBMIT_MULTI


class SubmitMultiResp(_MessageIdResp, frozen=True, gc=False):
    """Section 4.5.2; `tlvs` stays empty, the list of failed addresses is not read."""

    no_unsuccess: int = 0
    command_id: ClassVar[CommandId] = CommandId.SUBMIT_MULTI_RESP
    LAYOUT: ClassVar[tuple[Field, ...]] = (_MESSAGE_ID, *_octets("no_unsuccess"))


class DataSm(Pdu, frozen=True, gc=False):
    """Section 4.7.1; the message travels in message_payload."""

    service_type: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    esm_class: int = 0
    registered_delivery: int = 0
    data_coding: int = 0
    tlvs: Tlvs = ()
    command_id: ClassVar[CommandId] = CommandId.DATA_SM
    LAYOUT: ClassVar[tuple[Field, ...]] = (
        *(_SERVICE_TYPE, *_source(65), *_destination(65)),
        *_octets("esm_class", "registered_delivery", "data_coding"),
    )

    @property
    def payload(self) -> bytes:
        """The message octets, UDH included."""
        return tlv(self, _PAYLOAD) or b""

    @property
    def udhi(self) -> bool:
        """As in `ShortMessage`."""
        return bool(self.esm_class & _UDHI)


class DataSmResp(_MessageIdResp, frozen=True, gc=False):
    """Section 4.7.2."""

    command_id: ClassVar[CommandId] = CommandId.DATA_SM_RESP


class QuerySm(Pdu, frozen=True, gc=False):
    """Section 4.8.1."""

    message_id: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    command_id: ClassVar[CommandId] = CommandId.QUERY_SM
    LAYOUT: ClassVar[tuple[Field, ...]] = (_MESSAGE_ID, *_source(21))


class QuerySmResp(Response, frozen=True, gc=False):
    """Section 4.8.2."""

    message_id: str = ""
    final_date: str = ""
    message_state: int = 0
    error_code: int = 0
    command_id: ClassVar[CommandId] = CommandId.QUERY_SM_RESP
    LAYOUT: ClassVar[tuple[Field, ...]] = (_MESSAGE_ID, _FINAL_DATE, *_octets("message_state", "error_code"))


class CancelSm(Pdu, frozen=True, gc=False):
    """Section 4.9.1."""

    service_type: str = ""
    message_id: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: str = ""
    command_id: ClassVar[CommandId] = CommandId.CANCEL_SM
    LAYOUT: ClassVar[tuple[Field, ...]] = (_SERVICE_TYPE, _MESSAGE_ID, *_source(21), *_destination(21))


class CancelSmResp(Response, frozen=True, gc=False):
    """Section 4.9.2."""

    command_id: ClassVar[CommandId] = CommandId.CANCEL_SM_RESP


class ReplaceSm(Pdu, frozen=True, gc=False):
    """Section 4.10.1."""

    message_id: str = ""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    command_id: ClassVar[CommandId] = CommandId.REPLACE_SM
    LAYOUT: ClassVar[tuple[Field, ...]] = (
        _MESSAGE_ID,
        *_source(21),
        _SCHEDULE,
        _VALIDITY,
        *_octets("registered_delivery", "sm_default_msg_id"),
        _SHORT_MESSAGE,
    )


class ReplaceSmResp(Response, frozen=True, gc=False):
    """Section 4.10.2."""

    command_id: ClassVar[CommandId] = CommandId.REPLACE_SM_RESP


class EnquireLink(Pdu, frozen=True, gc=False):
    """Section 4.11.1."""

    command_id: ClassVar[CommandId] = CommandId.ENQUIRE_LINK


class EnquireLinkResp(Response, frozen=True, gc=False):
    """Section 4.11.2."""

    command_id: ClassVar[CommandId] = CommandId.ENQUIRE_LINK_RESP


class AlertNotification(Pdu, frozen=True, gc=False):
    """Section 4.12.1; it has no response."""

    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: str = ""
    esme_addr_ton: int = 0
    esme_addr_npi: int = 0
    esme_addr: str = ""
    tlvs: Tlvs = ()
    command_id: ClassVar[CommandId] = CommandId.ALERT_NOTIFICATION
    LAYOUT: ClassVar[tuple[Field, ...]] = (
        *_source(65),
        *_octets("esme_addr_ton", "esme_addr_npi"),
        Field("esme_addr", "text", 65),
    )


def tlv(pdu: Pdu, tag: int) -> bytes | None:
    """The value of the first TLV with `tag`, or None."""
    tlvs: Tlvs = getattr(pdu, "tlvs", ())
    for number, value in tlvs:
        if number == tag:
            return value
    return None
