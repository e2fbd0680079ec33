"""Words and bodies as MIME wants them, of any length in linear time."""

from __future__ import annotations

import base64
import quopri
import re
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import encode, headers
from smtp.data import clean
from tests.smtp.cost import assert_linear


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
def test_encoded_words_cut_no_character_and_read_back(text: str) -> None:
    words = encode.encoded_words(text).split(" ")
    assert all(len(word) <= 75 for word in words)
    assert "".join(str(make_header(decode_header(word))) for word in words) == text


@given(st.text("a b\u00e9", max_size=400))
def test_a_folded_line_unfolds_to_itself_and_breaks_at_every_chance(line: str) -> None:
    folded = headers.fold(line)
    pieces = folded.split("\r\n")
    assert "".join(pieces) == line
    assert all(piece.startswith(" ") and piece.strip(" ") for piece in pieces[1:])
    for piece in pieces:
        # Where it is too long there was no chance: no blank behind a word, but at its very end.
        assert len(piece) <= 78 or re.search(r"[^ ] +[^ ]", piece) is None or piece[:78].strip(" ") == ""


@pytest.mark.parametrize(
    "text",
    ["ü x\r\n" * 30_000, ("abc =\t \r\n" + "é" * 20) * 9000, "a" * 300_000 + "é \nx", "é\n" + "b" * 120_000],
)
def test_a_large_text_is_encoded_in_pieces_and_reads_back(text: str) -> None:
    encoding, body = encode.body_text(text, forbidden="boundary")
    decoded = quopri.decodestring(body) if encoding == "quoted-printable" else base64.b64decode(body)
    expected = text.replace("\r\n", "\n")
    assert decoded.decode().replace("\r\n", "\n") == (
        expected if expected.endswith("\n") else expected + "\n"
    )
    assert max(map(len, body.split(b"\r\n"))) <= 78
    assert not headers.has_bare_line_end(body)


@pytest.mark.parametrize("octets", [0, 1, 57, 58, 57 * 1024 - 1, 57 * 1024, 57 * 1024 + 1, 200_000])
def test_base64_is_that_of_the_library(octets: int) -> None:
    content = bytes(range(256)) * (octets // 256 + 1)
    expected = base64.encodebytes(content[:octets]).replace(b"\n", b"\r\n")
    assert encode.base64_lines(content[:octets]) == expected


@pytest.mark.parametrize(
    ("octets", "long"),
    [
        (b"x" * 998, False),
        (b"x" * 999, True),
        (b"x" * 998 + b"\r\n", False),
        (b"x" * 999 + b"\r\n", True),
        (b"a\r\n" + b"x" * 998 + b"\r\n" + b"x" * 998, False),
        (b"\r\n" * 5000, False),
        (b"a\r\n" * 500 + b"x" * 999, True),
    ],
)
def test_a_line_too_long_is_seen(octets: bytes, long: bool) -> None:
    assert encode.has_long_line(octets) is long


@pytest.mark.parametrize("pumped", ["a ", " ", "a", "é", "é ", "\U0001f600"])
def test_texts_of_a_client_take_linear_time(pumped: str) -> None:
    def run(times: int) -> None:
        text = pumped * times
        headers.check_value("X", text)
        headers.fold(text)
        headers.fold(encode.text_words(text))
        encode.body_text(text, forbidden="boundary")

    assert_linear(run, 5000)


@pytest.mark.parametrize("pumped", [b"\n", b"\r", b"\r\n", b"\n\r", b".\n", b"\r\n.", b"a"])
def test_line_ends_are_cleaned_in_linear_time(pumped: bytes) -> None:
    assert_linear(lambda times: clean(pumped * times, "normalise", stuffed=True), 20_000)


@given(st.text("\r\n.a", max_size=30).map(str.encode))
def test_line_ends_are_cleaned_as_octet_by_octet(raw: bytes) -> None:
    expected = re.sub(rb"(?<!\r)\n", b"\r\n", re.sub(rb"\r(?!\n)", b" ", raw))
    assert clean(raw, "normalise", stuffed=False) == expected
