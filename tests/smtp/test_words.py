"""Encoded words of others: the same characters as the standard library shows, in bounded time and memory."""

from __future__ import annotations

import encodings
from email.header import Header, decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp.encode import text_words
from smtp.words import charset, hides_control, readable
from tests.smtp.cost import assert_linear

TEXTS = [
    "Grüße aus Köln",
    "日本語の件名です。とても長い件名なので分割されます。",
    "Привет, мир! " * 8,
    "Hello",
    "😀 " * 30,
]
CHARSETS = ["utf-8", "iso-8859-1", "koi8-r", "iso-2022-jp", "gb2312", "windows-1252", "shift_jis", "big5"]


def library(text: str) -> str:
    return str(make_header(decode_header(text)))


@pytest.mark.parametrize("text", TEXTS)
def test_sane_subjects_are_read_as_the_library_reads_them(text: str) -> None:
    written = [text_words(text)]
    for name in CHARSETS:
        try:
            written.append(Header(text, name).encode().replace("\n", ""))
        except UnicodeError:
            continue
    for subject in written:
        assert readable(subject, 1000) == library(subject)
        assert readable(subject, 5) == library(subject)[:5]


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=200))
def test_what_we_write_is_read_back(text: str) -> None:
    assert readable(text_words(text), 1000) == text or "=?" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from here", "Re: Grüße from here"),
        ("=?utf-8?q?a_b?= \t =?UTF-8?B?Yw==?=", "a bc"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        ("=?utf-8*de?q?=C3=BC?=", "ü"),
        ("=?utf-8?b?w7w?=", "ü"),
        ("=?utf-8?q?a=00=0Ab?=", "a\ufffd\ufffdb"),
        ("=?nonsense?q?a?= b", "=?nonsense?q?a?= b"),
        ("=?punycode?q?a?=", "=?punycode?q?a?="),
        ("=?utf-8?q?unended", "=?utf-8?q?unended"),
        ("a =? b ?= c", "a =? b ?= c"),
    ],
)
def test_words_are_decoded_or_stand_as_they_came(text: str, shown: str) -> None:
    assert readable(text, 500) == shown


def test_a_charset_nobody_knows_is_not_remembered() -> None:
    before = len(encodings._cache)
    assert [charset(f"unheard-of-{number}") for number in range(100)] == [None] * 100
    readable("=?unheard-of-x?q?a?=", 10)
    assert len(encodings._cache) == before


@pytest.mark.parametrize(
    "pumped",
    ["=?utf-8?q?a?= ", "=?utf-8?q??=", "=?utf-8?q?", "=?", "?=", "=?utf-8?b?AAAA", "=?utf-8?q?=00?="],
)
def test_words_take_linear_time_and_the_kept_ones_none(pumped: str) -> None:
    assert_linear(lambda times: (readable(pumped * times, 10 * times), hides_control(pumped * times)), 1000)
    assert len(readable(pumped * 100_000, 500)) <= 500
