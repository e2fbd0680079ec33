"""Receipts as SMSCs really write them, and ids that are hex in one place and decimal in the other."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp.constants import EsmClass, MessageState, Tag
from smpp.pdu import DataSm, DeliverSm, SubmitSm, decode, encode
from smpp.receipt import IdForm, Receipt, deliver_sm, format_text, keys, normalise, parse, told
from tests.smpp.strategies import tlvs

FULL = (
    "id:0123456789 sub:001 dlvrd:001 submit date:2611201530 done date:2611201531"
    " stat:DELIVRD err:000 text:Hello"
)


def receipt(text: str, **fields: object) -> Receipt:
    found = parse(DeliverSm(esm_class=4, short_message=text.encode("latin-1"), **fields))  # type: ignore[arg-type]  # keywords of the test's own choice
    assert found is not None
    return found


def test_text_of_appendix_b_is_read_whole() -> None:
    assert receipt(FULL) == Receipt(
        message_id="0123456789",
        state=MessageState.DELIVERED,
        error="000",
        submitted=1,
        delivered=1,
        submit_date=datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
        done_date=datetime(2026, 11, 20, 15, 31, tzinfo=UTC),
        text="Hello",
    )


@pytest.mark.parametrize(
    ("stat", "state"),
    [
        ("DELIVRD", MessageState.DELIVERED),
        ("delivered", MessageState.DELIVERED),
        ("EXPIRED", MessageState.EXPIRED),
        ("DELETED", MessageState.DELETED),
        ("UNDELIV", MessageState.UNDELIVERABLE),
        ("UNDELIVERABLE", MessageState.UNDELIVERABLE),
        ("FAILED", MessageState.UNDELIVERABLE),
        ("ACCEPTD", MessageState.ACCEPTED),
        ("UNKNOWN", MessageState.UNKNOWN),
        ("REJECTD", MessageState.REJECTED),
        ("REJECTED", MessageState.REJECTED),
        ("ENROUTE", MessageState.ENROUTE),
        ("BANANA", None),
        ("", None),
    ],
)
def test_stat_in_every_spelling(stat: str, state: MessageState | None) -> None:
    assert receipt(f"id:1 stat:{stat} err:000").state == state


@pytest.mark.parametrize(
    ("text", "message_id", "error"),
    [
        ("id:abc stat:DELIVRD", "abc", ""),
        ("ID:ABC Stat:DELIVRD ERR:00A text:", "ABC", "00A"),
        ("stat:DELIVRD id:abc", "abc", ""),
        ("id: abc  sub:001 stat:DELIVRD err:4a1", "abc", "4a1"),
        ("id:abc submit_date:2611201530 stat:DELIVRD", "abc", ""),
        ("id:abc stat:DELIVRD err:000 text:id:evil stat:REJECTD", "abc", "000"),
        ("err:12", "", "12"),
        ("nothing of the sort", "", ""),
        ("", "", ""),
    ],
)
def test_missing_fields_case_order_and_alphanumeric_errors(text: str, message_id: str, error: str) -> None:
    found = receipt(text)
    assert (found.message_id, found.error) == (message_id, error)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2611201530", datetime(2026, 11, 20, 15, 30, tzinfo=UTC)),
        ("261120153045", datetime(2026, 11, 20, 15, 30, 45, tzinfo=UTC)),
        ("20261120153045", datetime(2026, 11, 20, 15, 30, 45, tzinfo=UTC)),
        ("202611201530", datetime(2026, 11, 20, 15, 30, tzinfo=UTC)),
        ("0000000000", None),
        ("20-11-26", None),
        ("", None),
    ],
)
def test_dates_with_and_without_seconds(date: str, expected: datetime | None) -> None:
    assert receipt(f"id:1 done date:{date} stat:DELIVRD").done_date == expected


def test_tlvs_go_before_the_text() -> None:
    found = receipt(
        "id:wrong stat:DELIVRD err:000",
        tlvs=(
            (Tag.RECEIPTED_MESSAGE_ID, b"right\0"),
            (Tag.MESSAGE_STATE, b"\x05"),
            (Tag.NETWORK_ERROR_CODE, b"\x03\x00\x22"),
        ),
    )
    assert (found.message_id, found.state) == ("right", MessageState.UNDELIVERABLE)
    assert found.network_error_code == b"\x03\x00\x22"


def test_receipt_of_tlvs_alone_by_data_sm() -> None:
    found = parse(
        DataSm(
            esm_class=4,
            tlvs=(
                (Tag.RECEIPTED_MESSAGE_ID, b"77"),
                (Tag.MESSAGE_STATE, b"\x02"),
                (Tag.NETWORK_ERROR_CODE, b"\x03\x00\x22"),
            ),
        )
    )
    assert found is not None
    assert (found.message_id, found.state, found.error) == ("77", MessageState.DELIVERED, "034")


def test_receipt_text_in_message_payload_of_data_sm() -> None:
    found = parse(DataSm(esm_class=4, tlvs=((Tag.MESSAGE_PAYLOAD, FULL.encode()),)))
    assert found is not None
    assert found.message_id == "0123456789"


def test_receipt_in_ucs2_is_read() -> None:
    found = parse(DeliverSm(esm_class=4, data_coding=8, short_message=FULL.encode("utf-16-be")))
    assert found is not None
    assert found.state == MessageState.DELIVERED


def test_unknown_state_value_in_the_tlv_falls_back_to_the_text() -> None:
    assert receipt(FULL, tlvs=((Tag.MESSAGE_STATE, b"\x63"),)).state == MessageState.DELIVERED
    assert receipt(FULL, tlvs=((Tag.MESSAGE_STATE, b""),)).state == MessageState.DELIVERED


def test_text_of_the_message_never_fills_a_missing_field() -> None:
    found = receipt("id:abc stat:DELIVRD text:err:999 sub:007")
    assert (found.error, found.submitted, found.text) == ("", None, "err:999 sub:007")


def test_message_that_only_looks_like_a_receipt_is_none() -> None:
    assert parse(DeliverSm(short_message=FULL.encode())) is None


def test_only_final_states_are_final() -> None:
    assert receipt("id:1 stat:DELIVRD").final
    assert not receipt("id:1 stat:ENROUTE").final
    assert not receipt("id:1 stat:ACCEPTD").final
    assert not receipt("id:1").final
    notification = parse(DeliverSm(esm_class=0x20, short_message=b"id:1 stat:DELIVRD"))
    assert notification is not None
    assert not notification.final


@given(st.binary(max_size=254), st.integers(0, 255), tlvs)
def test_any_octets_give_a_receipt_or_none(
    octets: bytes, data_coding: int, some: tuple[tuple[int, bytes], ...]
) -> None:
    for esm_class in (0, 4, 0x44):
        parse(DeliverSm(esm_class=esm_class, data_coding=data_coding, short_message=octets, tlvs=some))


@given(st.text(max_size=80))
def test_any_id_normalises_and_is_its_own_first_key(message_id: str) -> None:
    for form in IdForm:
        keys(message_id, form)
    assert keys(message_id)[0] == normalise(message_id)


@pytest.mark.parametrize(
    ("in_response", "in_receipt"),
    [
        ("BC614E1A", "3160493594"),
        ("00bc614e1a", "3160493594"),
        ("3160493594", "BC614E1A"),
        ("3160493594", "00BC614E1A"),
        ("0000000012", "12"),
        ("abc-1", "abc-1"),
        ("Ab-9", "Ab-9"),
    ],
)
def test_hex_in_one_place_and_decimal_in_the_other_meet(in_response: str, in_receipt: str) -> None:
    assert normalise(in_response) in keys(in_receipt)


def test_a_short_id_has_no_other_reading() -> None:
    """The SMSC's own sequence passes "10" and "16" within a few messages."""
    assert keys("16") == ("16",)
    assert keys("0012345") == ("12345",)
    assert keys("12345678") == ("12345678", "bc614e", "305419896")


@pytest.mark.parametrize(
    ("form", "in_response", "in_receipt"),
    [(IdForm.HEX, "16", "10"), (IdForm.DECIMAL, "10", "16"), (IdForm.HEX, "x-1", "x-1")],
)
def test_a_declared_form_is_the_only_one(form: IdForm, in_response: str, in_receipt: str) -> None:
    assert keys(in_receipt, form) == (normalise(in_response),)


_PIECES = ["id:12ab ", "id: ", "sub:001 dlvrd:001 ", "submit date:2611201530 done date:261120153000 "]
_PIECES += [
    "stat:DELIVRD ",
    "stat:undeliv ",
    "err:000 ",
    "err:12a ",
    "Err: ",
    "text:",
    "Text:err:9 text:",
    "x",
]
_TLVS = [(0x1E, b"12ab\0"), (0x1E, b""), (0x427, b"\x02"), (0x427, b"\x63"), (0x427, b""), (0x423, b"\3\0\7")]


@given(
    st.lists(st.sampled_from(_PIECES), max_size=7) | st.just(_PIECES[:1] + _PIECES[2:5] + ["err:1 text:"]),
    st.lists(st.sampled_from(_TLVS), max_size=3),
    st.sampled_from([0, 4, 4, 4, 0x44, 0x24, 0x20]),
)
def test_what_is_told_is_what_a_whole_reading_says(
    pieces: list[str], some: list[tuple[int, bytes]], esm_class: int
) -> None:
    pdu = DeliverSm(esm_class=esm_class, short_message="".join(pieces).encode(), tlvs=tuple(some))
    whole = parse(pdu)
    brief = told(pdu)
    assert (whole is None) == (brief is None)
    if whole is None or brief is None:
        return
    assert (brief.message_id, brief.state, brief.error, brief.final) == (
        whole.message_id,
        whole.state,
        whole.error,
        whole.final,
    )


@pytest.mark.parametrize("state", [state for state in MessageState if 1 <= state <= 8])
def test_receipt_we_write_is_read_back(state: MessageState) -> None:
    submit = SubmitSm(
        source_addr="Gateway", source_addr_ton=5, destination_addr="351912345678", dest_addr_ton=1
    )
    ours = Receipt(
        message_id="ab12",
        state=state,
        error="034",
        submitted=1,
        delivered=1,
        submit_date=datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
        done_date=datetime(2026, 11, 20, 15, 31, tzinfo=UTC),
        text="Hello",
        network_error_code=b"\x03\0\x22",
    )
    pdu = decode(encode(deliver_sm(ours, submit)))
    assert isinstance(pdu, DeliverSm)
    assert parse(pdu) == ours
    assert (pdu.source_addr, pdu.destination_addr, pdu.esm_class) == (
        "351912345678",
        "Gateway",
        EsmClass.DELIVERY_RECEIPT,
    )
    by_tlvs = parse(deliver_sm(ours, submit, with_text=False))
    assert by_tlvs is not None
    assert (by_tlvs.message_id, by_tlvs.state) == ("ab12", state)


def test_text_form_is_that_of_appendix_b() -> None:
    text = format_text(Receipt(message_id="x", state=MessageState.REJECTED, text="a" * 30))
    assert text == (
        "id:x sub:001 dlvrd:000 submit date:0000000000 done date:0000000000 stat:REJECTD err:000 text:"
        + "a" * 20
    )
