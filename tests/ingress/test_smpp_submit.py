"""From submit_sm to submission: addresses, times, what passes as user data; by tables, without a socket."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingress.smpp_submit import (
    SCHEDULE_MAX_MS,
    Refusal,
    client_envelope,
    format_time,
    parse_time,
    submission_of,
)
from gateway.messages.model import SmsEnvelope, Source
from gateway.messages.receipts.client import ClientEnvelope
from gateway.messages.shape.sms import SmsSubmission
from policy.verdict import Reason
from smpp.constants import CommandStatus
from smpp.pdu import PduError, SubmitSm, decode, encode
from smpp.text import Alphabet

NOW_MS = int(datetime(2026, 9, 21, 12, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000


def submission(
    country: str = "", alphabet: Alphabet = Alphabet.GSM, **fields: Any
) -> SmsSubmission | Refusal:
    usual: dict[str, Any] = {"source_addr": "Acme", "destination_addr": "41791234567", "short_message": b"Hi"}
    return submission_of(
        SubmitSm(**{**usual, **fields}), "account", now_ms=NOW_MS, default_country=country, alphabet=alphabet
    )


def taken(**fields: Any) -> SmsSubmission:
    result = submission(**fields)
    assert isinstance(result, SmsSubmission)
    return result


def refused(**fields: Any) -> int:
    result = submission(**fields)
    assert isinstance(result, Refusal)
    return result.status


@pytest.mark.parametrize(
    ("ton", "address", "country", "wanted"),
    [
        (1, "41791234567", "", "+41791234567"),
        (1, "+41791234567", "", "+41791234567"),
        (1, "0041791234567", "", "0041791234567"),
        (0, "41791234567", "", "+41791234567"),
        (0, "+41791234567", "CH", "+41791234567"),
        (0, "0041791234567", "CH", "0041791234567"),
        (0, "0791234567", "CH", "0791234567"),
        (0, "351912345678", "CH", "+351912345678"),
        (0, "41791234567", "CH", "41791234567"),
        (0, "2025550123", "US", "2025550123"),
        (0, "41791234567", "US", "+41791234567"),
        (2, "791234567", "CH", "791234567"),
        (5, "Acme", "", "Acme"),
    ],
)
def test_the_destination_is_read_by_its_ton(ton: int, address: str, country: str, wanted: str) -> None:
    result = taken(dest_addr_ton=ton, destination_addr=address, country=country)
    assert result.recipients == (wanted,)


@pytest.mark.parametrize(
    ("ton", "address", "wanted"),
    [
        (5, "Acme", "Acme"),
        (1, "41791234567", "+41791234567"),
        (1, "+41791234567", "+41791234567"),
        (1, "0041791234567", "+41791234567"),
        (0, "41791234567", "+41791234567"),
        (0, "12345", "12345"),
        (3, "12345", "12345"),
        (0, "", ""),
    ],
)
def test_the_source_is_a_name_a_short_code_or_a_number(ton: int, address: str, wanted: str) -> None:
    assert taken(source_addr_ton=ton, source_addr=address).source == wanted


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("260921120000000+", datetime(2026, 9, 21, 12, tzinfo=UTC)),
        ("260921120000508+", datetime(2026, 9, 21, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("260921120000020-", datetime(2026, 9, 21, 17, tzinfo=UTC)),
        ("000000000500000R", datetime(2026, 9, 21, 12, 5, tzinfo=UTC)),
        ("000102030405000R", datetime(2026, 10, 23, 15, 4, 5, tzinfo=UTC)),
    ],
)
def test_times_are_absolute_with_their_zone_or_relative(text: str, at: datetime) -> None:
    assert parse_time(text, NOW_MS) == at.timestamp() * 1000


@pytest.mark.parametrize(
    "text",
    [
        "2609211200",
        "260921120000049+",
        "261321120000000+",
        "26092112000000 +",
        "260921120000000X",
        "²" * 15 + "+",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the one error it raises
        parse_time(text, NOW_MS)


@given(st.integers(min_value=946_684_800_000, max_value=4_102_444_799_000))
def test_a_formatted_time_reads_back(at_ms: int) -> None:
    assert parse_time(format_time(at_ms), 0) == at_ms // 1000 * 1000


def test_schedules_end_after_thirty_days() -> None:
    assert taken(schedule_delivery_time="000030000000000R").send_at_ms == NOW_MS + SCHEDULE_MAX_MS
    assert taken(schedule_delivery_time="000000000000000R").send_at_ms is None
    assert refused(schedule_delivery_time="000030000001000R") == CommandStatus.ESME_RINVSCHED


def test_an_absolute_validity_counts_from_now_and_a_relative_one_from_the_schedule() -> None:
    schedule = "000001000000000R"
    assert taken(validity_period="260921130000000+").validity_s == 3600
    assert taken(validity_period="000000010000000R", schedule_delivery_time=schedule).validity_s == 3600
    absolute = taken(validity_period="260922130000000+", schedule_delivery_time=schedule)
    assert absolute.validity_s == 3600
    early = refused(validity_period="260921130000000+", schedule_delivery_time=schedule)
    assert early == CommandStatus.ESME_RINVEXPIRY
    assert refused(validity_period="000000000000000R") == CommandStatus.ESME_RINVEXPIRY


@pytest.mark.parametrize(
    ("data_coding", "header", "room"),
    [(0x00, 6, 153), (0x08, 6, 134), (0x04, 6, 134), (0x10, 7, 152), (0x18, 7, 133), (0xF5, 6, 134)],
)
def test_user_data_is_one_sms_and_not_an_octet_more(data_coding: int, header: int, room: int) -> None:
    head = bytes((header - 1, 0x70, header - 3)) + b"\0" * (header - 3)
    most = head + b"x" * room
    result = taken(short_message=most, esm_class=0x40, data_coding=data_coding)
    assert (result.user_data, result.udhi, result.data_coding) == (most, True, data_coding)
    over = submission(short_message=most + b"x", esm_class=0x40, data_coding=data_coding)
    assert over == Refusal(CommandStatus.ESME_RINVMSGLEN, Reason.TOO_LONG)


def test_what_data_coding_0_means_can_be_another_alphabet() -> None:
    octets = "§é".encode("latin-1")
    assert taken(short_message=octets, alphabet=Alphabet.LATIN1).text == "§é"


def test_the_envelope_keeps_what_the_receipt_repeats_and_stays_readable_as_the_plain_one() -> None:
    plain = SmsEnvelope(
        requested_source="+41790000000", segments=2, source=Source(address="41790000000", ton=1, npi=1)
    )
    pdu = SubmitSm(
        source_addr_ton=1, source_addr_npi=1, source_addr="41790000000", dest_addr_ton=2, dest_addr_npi=8,
        destination_addr="0791234567", registered_delivery=2,
    )  # fmt: skip
    envelope = client_envelope(plain, pdu, "client")
    octets = msgspec.json.encode(envelope)
    kept = msgspec.json.decode(octets, type=ClientEnvelope)
    assert kept == envelope
    assert (kept.client, kept.failure_only) == ("client", True)
    assert kept.client_destination == Source(address="0791234567", ton=2, npi=8)
    assert msgspec.json.decode(octets, type=SmsEnvelope).source == plain.source
    unasked = client_envelope(plain, msgspec.structs.replace(pdu, registered_delivery=0), "client")
    assert unasked.client is None


@given(
    body=st.binary(max_size=300),
    coding=st.integers(0, 255),
    esm_class=st.integers(0, 255),
    times=st.tuples(st.text("0123456789R+-", max_size=16), st.text("0123456789R+-", max_size=16)),
    country=st.sampled_from(["", "CH"]),
    tlvs=st.lists(st.tuples(st.sampled_from([0x020C, 0x020E, 0x020F]), st.binary(max_size=3)), max_size=3),
)
def test_no_submit_sm_breaks_the_reading(
    body: bytes,
    coding: int,
    esm_class: int,
    times: tuple[str, str],
    country: str,
    tlvs: list[tuple[int, bytes]],
) -> None:
    pdu = SubmitSm(
        1,
        source_addr="Acme",
        destination_addr="41791234567",
        short_message=body,
        data_coding=coding,
        esm_class=esm_class,
        schedule_delivery_time=times[0],
        validity_period=times[1],
        tlvs=tuple(tlvs),
    )
    try:
        arrived = decode(encode(pdu))
    except PduError:
        return
    assert isinstance(arrived, SubmitSm)
    result = submission_of(arrived, "account", now_ms=NOW_MS, default_country=country)
    assert isinstance(result, SmsSubmission | Refusal)
    if isinstance(result, SmsSubmission) and result.user_data is not None:
        assert 0 < len(result.user_data) <= 160
