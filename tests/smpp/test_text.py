"""Alphabets, segments and headers against TS 23.038 and TS 23.040; nothing is lost on any way."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import gsm
from smpp.concatenation import Concatenation, Reassembler, header, parse_user_data, user_data
from smpp.constants import DataCoding, EsmClass, Tag
from smpp.pdu import DataSm, DeliverSm
from smpp.text import Alphabet, TextError, TextTooLong, decode, segments, split

GSM_TEXT = st.text("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./09:;<=>?¡AZÄÖÑÜ§¿azäöñüà\f^{}\\[~]|€")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=700)


def joined(text: str, **options: object) -> str:
    """The text as a handset puts it together from the parts."""
    parts = split(text, reference=7, **options)  # type: ignore[arg-type]  # keywords of the test's own choice
    octets = b"".join(parse_user_data(p).octets if parts.udhi else p for p in parts.parts)
    return decode(octets, parts.data_coding, alphabet=options.get("alphabet", Alphabet.GSM))  # type: ignore[arg-type]  # keywords of the test's own choice


@given(GSM_TEXT)
def test_gsm_text_survives(text: str) -> None:
    octets = gsm.DEFAULT.encode(text)
    assert octets is not None
    assert gsm.DEFAULT.decode(octets) == text


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("@", b"\x00"),
        ("_", b"\x11"),
        ("§", b"\x5f"),
        ("à", b"\x7f"),
        ("€", b"\x1be"),
        ("[~]", b"\x1b<\x1b=\x1b>"),
    ],
)
def test_gsm_octets_of_the_standard(text: str, octets: bytes) -> None:
    assert gsm.DEFAULT.encode(text) == octets


@pytest.mark.parametrize("text", ["`", "ç", "\t", "“", "ê", "😀", "a\u0301b`"])
def test_character_outside_gsm_makes_the_whole_text_ucs2(text: str) -> None:
    assert gsm.DEFAULT.encode(text) is None
    assert split(text).data_coding == DataCoding.UCS2
    assert joined(text) == text


@given(st.binary())
def test_any_octets_decode_as_gsm(octets: bytes) -> None:
    gsm.DEFAULT.decode(octets)


def test_unknown_escape_shows_the_basic_character_and_a_last_escape_a_space() -> None:
    assert gsm.DEFAULT.decode(b"\x1bAb\x1b") == "Ab "
    assert gsm.DEFAULT.decode(b"a\xffb") == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("€" * 153, 3),  # 76 pairs fit 153 septets, the odd one stays empty
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 67, 3),  # 33 pairs fit 67 units
        ("a" * 153 * 255, 255),
        ("ж" * 67 * 255, 255),
    ],
)
def test_segment_counts(text: str, count: int) -> None:
    assert segments(text) == split(text).count == count
    assert joined(text) == text


@pytest.mark.parametrize(("text", "count"), [("a" * 304, 2), ("a" * 305, 3), ("ж" * 132, 2), ("ж" * 133, 3)])
def test_sixteen_bit_reference_leaves_one_unit_less(text: str, count: int) -> None:
    assert segments(text, reference_octets=2) == count
    assert joined(text, reference_octets=2) == text


@pytest.mark.parametrize("text", ["a" * (153 * 255 + 1), "ж" * (67 * 255 + 1)])
def test_more_than_255_segments_is_a_clear_error(text: str) -> None:
    with pytest.raises(TextTooLong, match="255"):
        split(text)
    with pytest.raises(TextTooLong, match="255"):
        segments(text)


def test_half_of_a_surrogate_pair_is_a_clear_error() -> None:
    with pytest.raises(TextError, match="character 2"):
        split("a\ud800")


@given(ANY_TEXT, st.sampled_from([1, 2]), st.sampled_from(Alphabet))
def test_no_character_is_lost_and_the_count_agrees(text: str, octets: int, alphabet: Alphabet) -> None:
    parts = split(text, reference=300, reference_octets=octets, alphabet=alphabet)
    assert segments(text, reference_octets=octets, alphabet=alphabet) == parts.count
    back = joined(text, reference_octets=octets, alphabet=alphabet)
    assert back == text or back == unicodedata.normalize("NFC", text)


@given(st.integers(0, 4), st.text("a€", min_size=150, max_size=400))
def test_an_escape_pair_is_never_split(shift: int, text: str) -> None:
    parts = split("b" * shift + text)
    for part in parts.parts:
        octets = parse_user_data(part).octets if parts.udhi else part
        assert not octets.endswith(b"\x1b")
        assert len(octets) <= (153 if parts.udhi else 160)


@given(st.integers(0, 3), st.text("ж😀", min_size=60, max_size=200))
def test_a_surrogate_pair_is_never_split(shift: int, text: str) -> None:
    parts = split("ж" * shift + text)
    for part in parts.parts:
        octets = parse_user_data(part).octets if parts.udhi else part
        octets.decode("utf-16-be")
        assert len(octets) <= (134 if parts.udhi else 140)


def test_decomposed_letter_is_the_same_letter() -> None:
    parts = split("cafe\u0301")
    assert (parts.data_coding, parts.parts) == (DataCoding.DEFAULT, (b"caf\x05",))


def test_default_alphabet_of_the_upstream_decides_the_octets() -> None:
    assert split("é@").parts == (b"\x05\x00",)
    assert split("é@", alphabet=Alphabet.LATIN1).parts == (b"\xe9@",)
    assert split("é@", alphabet=Alphabet.ASCII).data_coding == DataCoding.UCS2
    assert split("ç", alphabet=Alphabet.LATIN1).data_coding == DataCoding.UCS2
    assert split("[" * 81, alphabet=Alphabet.LATIN1).count == 2  # the SMSC will need 162 septets
    assert decode(b"\xe9@", 0, alphabet=Alphabet.LATIN1) == "é@"


def test_headers_of_8_and_16_bit() -> None:
    assert split("a" * 161, reference=0x1FF).parts[1] == bytes.fromhex("050003ff0202") + b"a" * 8
    wide = split("a" * 161, reference=0x1FF, reference_octets=2).parts[0]
    assert wide.startswith(bytes.fromhex("06080401ff0201"))


@pytest.mark.parametrize(
    ("data_coding", "octets", "text"),
    [
        (0x01, b"A", "A"),
        (0x03, b"\xe9", "é"),
        (0x06, b"\xb6", "Ж"),
        (0x08, b"\x04\x16", "Ж"),
        (0x08, b"\x04\x16\x04", "Ж\ufffd"),
        (0x04, b"\xff\x00", "ÿ\x00"),
        (0x09, b"A", "A"),
        (0x10, b"\x00", "@"),
        (0x18, b"\x04\x16", "Ж"),
        (0xF0, b"\x00", "@"),
        (0xF5, b"\xe9", "é"),
        (0xE0, b"\x04\x16", "Ж"),
        (0xC8, b"\x00", "@"),
    ],
)
def test_every_data_coding_has_a_reading(data_coding: int, octets: bytes, text: str) -> None:
    assert decode(octets, data_coding) == text


@given(st.binary(), st.integers(0, 255), st.booleans())
def test_any_octets_decode_with_any_data_coding(octets: bytes, data_coding: int, udhi: bool) -> None:
    decode(octets, data_coding, udhi=udhi)


def test_extra_header_elements_are_kept_and_do_not_hide_the_concatenation() -> None:
    payload = bytes.fromhex("0b0504158100000003aa0201") + b"text"
    data = parse_user_data(payload)
    assert data.octets == b"text"
    assert data.concatenation == Concatenation(0xAA, 2, 1)
    assert data.elements[0] == (5, bytes.fromhex("15810000"))
    assert decode(payload, 0, udhi=True) == "text"


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x40short", b"\x05\x00\x03\x01\x00\x00x", b"\x05\x00\x03\x01\x02\x03x", b"\x02\x00\x09x"],
)
def test_broken_header_is_no_concatenation_and_no_error(payload: bytes) -> None:
    assert parse_user_data(payload).concatenation is None


@pytest.mark.parametrize("total", [b"\1\0", b"", b"\0\0\3"])
def test_sar_tlvs_of_another_size_are_no_part(total: bytes) -> None:
    """256 parts fit into no user data header."""
    sar = (
        (Tag.SAR_MSG_REF_NUM, b"\x01\x02"),
        (Tag.SAR_TOTAL_SEGMENTS, total),
        (Tag.SAR_SEGMENT_SEQNUM, b"\1"),
    )
    assert user_data(DeliverSm(short_message=b"x", tlvs=sar)).concatenation is None


def test_sar_tlvs_tell_the_part_and_udhi_goes_first() -> None:
    sar = (
        (Tag.SAR_MSG_REF_NUM, b"\x01\x02"),
        (Tag.SAR_TOTAL_SEGMENTS, b"\3"),
        (Tag.SAR_SEGMENT_SEQNUM, b"\2"),
    )
    assert user_data(DeliverSm(short_message=b"x", tlvs=sar)).concatenation == Concatenation(0x102, 3, 2)
    by_payload = DataSm(esm_class=EsmClass.UDHI, tlvs=(*sar, (Tag.MESSAGE_PAYLOAD, b"\x05\0\3\x09\2\1x")))
    assert user_data(by_payload).concatenation == Concatenation(9, 2, 1)
    assert user_data(DeliverSm(short_message=b"x")).concatenation is None


@given(st.permutations(range(1, 6)), st.sampled_from([1, 2]))
def test_parts_are_joined_in_any_order(order: list[int], octets: int) -> None:
    reassembler, results = Reassembler(), []
    for sequence in order:
        head = header(Concatenation(5, 5, sequence), reference_octets=octets)
        data = parse_user_data(head + str(sequence).encode())
        assert data.concatenation is not None
        results.append(reassembler.add(("src", "dst"), data.concatenation, data.octets, 0.0))
    assert results == [None] * 4 + [b"12345"]
    assert len(reassembler) == 0


def test_repeated_part_changes_nothing() -> None:
    reassembler = Reassembler()
    assert reassembler.add(("a",), Concatenation(1, 2, 1), b"x", 0.0) is None
    assert reassembler.add(("a",), Concatenation(1, 2, 1), b"other", 0.0) is None
    assert reassembler.add(("a",), Concatenation(1, 2, 2), b"y", 0.0) == b"xy"


def test_same_reference_from_another_source_is_another_message() -> None:
    reassembler = Reassembler()
    reassembler.add(("a",), Concatenation(1, 2, 1), b"x", 0.0)
    assert reassembler.add(("b",), Concatenation(1, 2, 2), b"y", 0.0) is None


def test_unfinished_message_is_handed_back_when_its_time_is_over() -> None:
    reassembler = Reassembler(ttl_s=10)
    reassembler.add(("a",), Concatenation(1, 3, 3), b"z", 0.0)
    reassembler.add(("a",), Concatenation(1, 3, 1), b"x", 5.0)
    assert reassembler.expire(9.9) == []
    (given_up,) = reassembler.expire(10.0)
    assert given_up.octets == b"xz"
    assert len(reassembler) == 0


def test_unfinished_messages_are_bounded_and_the_oldest_is_handed_back() -> None:
    reassembler = Reassembler(limit=2)
    for reference in range(3):
        reassembler.add(("a",), Concatenation(reference, 2, 1), b"%d" % reference, 0.0)
    assert len(reassembler) == 2
    assert [message.octets for message in reassembler.expire(0.0)] == [b"0"]


def test_a_heap_of_combining_marks_is_sent_as_it_stands() -> None:
    """Composing takes time by the square of its length (UAX #15 section 13: no writing has 31 in a row)."""
    for heap in ("\u0327\u0301" * 300, "\u0f73" * 600, "e" + "\u0301\u0327" * 400):
        assert b"".join(part[6:] for part in split(heap).parts) == heap.encode("utf-16-be")
    usual = "e\u0301" * 600
    assert split(usual).parts[1][6:] == gsm.DEFAULT.encode("é" * 153)
