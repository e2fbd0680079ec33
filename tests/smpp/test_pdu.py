"""The codec against section 4 of SMPP v3.4, against smpplib's octets, and against any octets at all."""

import contextlib
import itertools
import struct

import pytest
import smpplib.command
import smpplib.smpp
from hypothesis import given
from hypothesis import strategies as st

from smpp.constants import MAX_TLVS, CommandId, CommandStatus, EsmClass, Tag, status_name
from smpp.pdu import (
    BindTransceiver,
    BindTransceiverResp,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    GenericNack,
    Pdu,
    PduError,
    QuerySmResp,
    Splitter,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    decode,
    encode,
    response_class,
    tlv,
)
from tests.smpp.strategies import CLASSES, any_pdu

SUBMIT = SubmitSm(
    source_addr_ton=5,
    source_addr="Gateway",
    dest_addr_ton=1,
    dest_addr_npi=1,
    destination_addr="351912345678",
    registered_delivery=1,
    short_message=b"hello",
)


def frame(command_id: int, body: bytes, *, status: int = 0, sequence_number: int = 9) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command_id, status, sequence_number) + body


def refused(data: bytes) -> PduError:
    with pytest.raises(PduError) as caught:
        decode(data)
    return caught.value


def test_submit_sm_has_the_octets_of_section_4_4_1() -> None:
    assert encode(SUBMIT, 7) == (
        bytes.fromhex("00000039 00000004 00000000 00000007")
        + b"\0\x05\0Gateway\0\x01\x01351912345678\0\0\0\0\0\0\x01\0\0\0\x05hello"
    )


@given(any_pdu())
def test_every_pdu_survives_the_wire(pdu: Pdu) -> None:
    assert decode(encode(pdu)) == pdu


def test_every_command_id_of_the_specification_is_decoded() -> None:
    assert {cls.command_id for cls in CLASSES} == set(CommandId)


@given(st.binary(max_size=120), st.sampled_from(sorted(CommandId)), st.integers(0, 0xFFFFFFFF))
def test_any_body_decodes_or_raises_pdu_error(body: bytes, command_id: int, status: int) -> None:
    with contextlib.suppress(PduError):
        decode(frame(command_id, body, status=status))


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_octets_split_anywhere_parse_or_raise_pdu_error(data: bytes, cuts: list[int]) -> None:
    splitter = Splitter(max_pdu_octets=150)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    with contextlib.suppress(PduError):
        for start, end in itertools.pairwise(edges):
            for one in splitter.feed(data[start:end]):
                assert 16 <= len(one) <= 150
                with contextlib.suppress(PduError):
                    decode(one)
            assert splitter.buffered < 150


@given(st.lists(any_pdu(), max_size=6), st.data())
def test_pdus_cut_anywhere_come_out_whole_and_in_order(pdus: list[Pdu], data: st.DataObject) -> None:
    stream = b"".join(encode(pdu) for pdu in pdus)
    splitter, seen, position = Splitter(), [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        seen += [decode(one) for one in splitter.feed(stream[position : position + size])]
        position += size
    assert seen == pdus


def test_one_octet_at_a_time_gives_the_frame_at_its_last_octet() -> None:
    splitter, data = Splitter(), encode(SUBMIT, 1)
    counts = [len(list(splitter.feed(data[i : i + 1]))) for i in range(len(data))]
    assert counts == [0] * (len(data) - 1) + [1]
    assert splitter.buffered == 0


@pytest.mark.parametrize("length", [0, 15, 70_001, 0xFFFFFFFF])
def test_command_length_outside_the_limits_is_refused_after_the_good_frames(length: int) -> None:
    good = encode(EnquireLink(3))
    frames = Splitter().feed(good + struct.pack(">IIII", length, 4, 0, 77))
    assert next(frames) == good
    with pytest.raises(PduError) as caught:
        next(frames)
    assert caught.value.framing
    assert (caught.value.command_status, caught.value.sequence_number) == (CommandStatus.ESME_RINVCMDLEN, 77)


def test_command_length_alone_is_enough_to_refuse() -> None:
    with pytest.raises(PduError) as caught:
        list(Splitter().feed(b"\0\0\0\x0f"))
    assert caught.value.sequence_number == 0


def test_unknown_command_is_refused_with_its_sequence_number_and_keeps_the_framing() -> None:
    error = refused(frame(0x00000111, b"whatever"))
    assert (error.command_status, error.sequence_number) == (CommandStatus.ESME_RINVCMDID, 9)
    assert not error.framing


def test_unknown_tlv_is_kept_raw_and_known_ones_are_found() -> None:
    pdu = DeliverSm(tlvs=((0x1400, b"vendor"), (Tag.RECEIPTED_MESSAGE_ID, b"abc\0"), (0x1400, b"again")))
    back = decode(encode(pdu))
    assert back == pdu
    assert tlv(back, Tag.RECEIPTED_MESSAGE_ID) == b"abc\0"
    assert tlv(back, 0x1400) == b"vendor"
    assert tlv(back, Tag.MESSAGE_STATE) is None


@pytest.mark.parametrize(
    ("tail", "status"),
    [
        (b"\x00", CommandStatus.ESME_RINVOPTPARSTREAM),
        (b"\x04\x24\x00", CommandStatus.ESME_RINVOPTPARSTREAM),
        (b"\x04\x24\x00\x05abcd", CommandStatus.ESME_RINVPARLEN),
    ],
)
def test_broken_tlv_is_refused_with_its_own_status(tail: bytes, status: CommandStatus) -> None:
    data = encode(SUBMIT) + tail
    error = refused(struct.pack(">I", len(data)) + data[4:])
    assert error.command_status == status


@pytest.mark.parametrize(
    "response",
    [SubmitSmResp(4, 0x58), DeliverSmResp(4, 0x64), BindTransceiverResp(4, 0x0E), DataSmResp(4, 8)],
)
def test_error_response_without_a_body_is_accepted_and_sent(response: Pdu) -> None:
    data = encode(response)
    assert len(data) == 16
    assert decode(data) == response


def test_error_response_with_a_body_is_accepted_too() -> None:
    assert decode(frame(CommandId.SUBMIT_SM_RESP, b"\0", status=0x58)) == SubmitSmResp(9, 0x58)


def test_query_sm_resp_without_a_body_is_accepted() -> None:
    assert decode(frame(CommandId.QUERY_SM_RESP, b"", status=0x67)) == QuerySmResp(9, 0x67)


@pytest.mark.parametrize("body", [b"abc", b"abc\0", b"abc\0\x99"])
def test_message_id_without_nul_or_with_a_broken_tail_is_still_an_answer(body: bytes) -> None:
    assert decode(frame(CommandId.SUBMIT_SM_RESP, body)) == SubmitSmResp(9, 0, "abc")


@pytest.mark.parametrize(
    ("field", "limit", "status"),
    [
        ("service_type", 6, CommandStatus.ESME_RINVSERTYP),
        ("source_addr", 21, CommandStatus.ESME_RINVSRCADR),
        ("destination_addr", 21, CommandStatus.ESME_RINVDSTADR),
        ("schedule_delivery_time", 17, CommandStatus.ESME_RINVSCHED),
        ("validity_period", 17, CommandStatus.ESME_RINVEXPIRY),
    ],
)
def test_c_string_limit_includes_the_nul_both_ways(field: str, limit: int, status: CommandStatus) -> None:
    fits = SubmitSm(**{field: "7" * (limit - 1)})  # type: ignore[arg-type]  # each field in turn
    assert decode(encode(fits)) == fits
    with pytest.raises(PduError) as caught:
        encode(SubmitSm(**{field: "7" * limit}), 5)  # type: ignore[arg-type]  # each field in turn
    assert (caught.value.command_status, caught.value.sequence_number) == (status, 5)
    data = encode(fits).replace(b"7" * (limit - 1), b"7" * limit)
    assert refused(struct.pack(">I", len(data)) + data[4:]).command_status == status


def test_password_of_nine_characters_is_refused() -> None:
    with pytest.raises(PduError) as caught:
        encode(BindTransceiver(system_id="esme", password="123456789"))
    assert caught.value.command_status == CommandStatus.ESME_RINVPASWD


@pytest.mark.parametrize(
    "pdu",
    [
        SubmitSm(source_addr="a\0b"),
        SubmitSm(destination_addr="Ω"),
        SubmitSm(esm_class=256),
        SubmitSm(data_coding=-1),
        SubmitSmResp(message_id="a\0b"),
        SubmitSmResp(message_id="a" * 65),
        SubmitSm(sequence_number=-1),
        SubmitSm(tlvs=((0x424, b"x" * 70_000),)),
    ],
)
def test_value_that_does_not_fit_raises_pdu_error(pdu: Pdu) -> None:
    with pytest.raises(PduError):
        encode(pdu)


def test_254_octets_stay_in_short_message_and_255_move_to_message_payload() -> None:
    assert decode(encode(SubmitSm(short_message=b"x" * 254))) == SubmitSm(short_message=b"x" * 254)
    long = decode(encode(SubmitSm(short_message=b"x" * 255)))
    assert isinstance(long, SubmitSm)
    assert long.short_message == b""
    assert tlv(long, Tag.MESSAGE_PAYLOAD) == long.payload == b"x" * 255


@pytest.mark.parametrize("size", [1, 255])
def test_short_message_and_message_payload_are_never_sent_together(size: int) -> None:
    with pytest.raises(PduError) as caught:
        encode(SubmitSm(short_message=b"x" * size, tlvs=((Tag.MESSAGE_PAYLOAD, b"y"),)))
    assert caught.value.command_status == CommandStatus.ESME_ROPTPARNOTALLWD


def both_payloads(command_id: int) -> bytes:
    data = encode(SUBMIT) + struct.pack(">HH", Tag.MESSAGE_PAYLOAD, 3) + b"abc"
    return struct.pack(">II", len(data), command_id) + data[8:]


def test_submit_sm_with_both_payloads_is_refused_but_a_receipt_with_both_is_read() -> None:
    assert refused(both_payloads(CommandId.SUBMIT_SM)).command_status == CommandStatus.ESME_ROPTPARNOTALLWD
    receipt = decode(both_payloads(CommandId.DELIVER_SM))
    assert isinstance(receipt, DeliverSm)
    assert receipt.payload == b"hello"


@pytest.mark.parametrize("length", [6, 255])
def test_sm_length_beyond_the_limit_or_the_frame_is_refused(length: int) -> None:
    data = encode(SUBMIT).replace(
        b"\x05hello", bytes((length,)) + b"hello" + b"x" * (250 if length == 255 else 0)
    )
    error = refused(struct.pack(">I", len(data)) + data[4:])
    assert error.command_status == CommandStatus.ESME_RINVMSGLEN


def test_sar_and_user_data_header_are_never_sent_together() -> None:
    with pytest.raises(PduError):
        encode(SubmitSm(esm_class=EsmClass.UDHI, tlvs=((Tag.SAR_MSG_REF_NUM, b"\0\1"),)))


def test_submit_multi_is_decoded_enough_to_be_refused() -> None:
    request = decode(frame(CommandId.SUBMIT_MULTI, b"\0\1\1anything"))
    assert isinstance(request, SubmitMulti)
    assert response_class(request.command_id) is SubmitMultiResp


def test_response_class_knows_what_has_no_response() -> None:
    assert response_class(CommandId.SUBMIT_SM) is SubmitSmResp
    assert response_class(CommandId.ALERT_NOTIFICATION) is None
    assert response_class(CommandId.OUTBIND) is None


def test_status_names_cover_the_table_and_vendor_values() -> None:
    assert status_name(0x58) == "ESME_RTHROTTLED"
    assert status_name(0x400) == "0x00000400"
    assert len(CommandStatus) == 48


@pytest.mark.parametrize("data", [b"", b"\0" * 15, encode(EnquireLink(1)) + b"\0"])
def test_frame_of_the_wrong_size_raises_pdu_error(data: bytes) -> None:
    assert refused(data).framing


def test_generic_nack_has_only_a_header() -> None:
    assert encode(GenericNack(5, CommandStatus.ESME_RINVCMDID)).hex() == "00000010800000000000000300000005"


class SmpplibClient:
    """As much of smpplib's client as its codec asks for."""

    sequence = 7

    def next_sequence(self) -> int:
        return self.sequence


def test_smpplib_reads_what_we_write() -> None:
    client = SmpplibClient()
    theirs = smpplib.smpp.parse_pdu(encode(SUBMIT, 7), client=client, allow_unknown_opt_params=True)
    assert theirs.command == "submit_sm"
    assert (theirs.source_addr, theirs.destination_addr) == (b"Gateway", b"351912345678")
    assert (theirs.short_message, theirs.sequence) == (b"hello", 7)


def test_we_read_what_smpplib_writes() -> None:
    theirs = smpplib.command.SubmitSM(
        "submit_sm",
        client=SmpplibClient(),
        source_addr_ton=5,
        source_addr="Gateway",
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr="351912345678",
        registered_delivery=1,
        short_message=b"hello",
    )
    assert decode(theirs.generate()) == decode(encode(SUBMIT, 7))


def test_a_pdu_has_so_many_tlvs_and_no_more() -> None:
    many = tuple((0x1400 + number, b"") for number in range(MAX_TLVS))
    pdu = SubmitSm(1, destination_addr="41791234567", tlvs=many)
    assert decode(encode(pdu)) == pdu
    with pytest.raises(PduError) as caught:
        decode(encode(SubmitSm(1, destination_addr="41791234567", tlvs=(*many, (0x1500, b"")))))
    assert caught.value.command_status == CommandStatus.ESME_RINVOPTPARSTREAM
    # What a response says of the message must not be lost with what stands behind it.
    answer = decode(encode(SubmitSmResp(1, message_id="abc", tlvs=(*many, (0x1500, b"")))))
    assert answer == SubmitSmResp(1, message_id="abc")
