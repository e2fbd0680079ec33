"""The end of DATA, dot-stuffing and line ends, without a socket."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp.codes import Permanent, Reply, SmtpError
from smtp.data import Budget, ChunkReceiver, DataReceiver, LineEndings, clean, cleaning

LIMIT = 10_000


def receive(
    pieces: list[bytes], limit: int = LIMIT, budget: int = 10**6
) -> tuple[DataReceiver, bytes | None]:
    """A receiver fed with the pieces up to the end, and what followed that end."""
    receiver = DataReceiver(limit, Budget(budget), "normalise")
    rest = b""
    ended = False
    for piece in pieces:
        if ended:
            rest += piece
            continue
        result = receiver.feed(piece)
        if result is not None:
            ended, rest = True, result
    return receiver, rest if ended else None


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """The octets in pieces, cut at the given places (modulo their length)."""
    at = sorted({place % (len(octets) + 1) for place in places})
    return [octets[start:end] for start, end in zip([0, *at], [*at, len(octets)], strict=True)]


line_noise = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"QUIT"]), max_size=30).map(
    b"".join
)


@given(line_noise, st.lists(st.integers(0, 200), max_size=8))
def test_the_end_is_found_wherever_the_pieces_are_cut(noise: bytes, places: list[int]) -> None:
    stream = noise + b"\r\n.\r\nNOOP\r\n"
    # The rule, told once more the slow way: the first line that is a lone dot between two CRLF.
    found = re.search(rb"(?:\A|\r\n)\.\r\n", stream)
    assert found is not None
    receiver, rest = receive(cut(stream, places))
    assert rest == stream[found.end() :]
    whole = stream[: found.start()] + (b"\r\n" if found[0].startswith(b"\r\n") else b"")
    assert receiver.content() == clean(whole, "normalise", stuffed=True)


@example(noise=b"a.", slice_octets=1, stuffed=True, line_endings="normalise")  # a dot inside a line
@example(noise=b"\r\n.\r\n", slice_octets=1, stuffed=True, line_endings="normalise")  # CR and LF apart
@given(
    noise=line_noise,
    slice_octets=st.integers(1, 9),
    stuffed=st.booleans(),
    line_endings=st.sampled_from(["normalise", "refuse"]),
)
def test_a_message_is_cleaned_the_same_in_slices(
    noise: bytes, slice_octets: int, stuffed: bool, line_endings: LineEndings
) -> None:
    def whole() -> bytes:
        return clean(noise, line_endings, stuffed=stuffed)

    def in_slices() -> bytes:
        steps = cleaning(noise, line_endings, stuffed=stuffed, slice_octets=slice_octets)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return bytes(end.value)

    assert told(in_slices) == told(whole)


def told(text: Callable[[], bytes]) -> bytes | Reply:
    """What a message comes to, or the refusal."""
    try:
        return text()
    except SmtpError as error:
        return error.reply


@given(line_noise)
def test_cleaned_text_has_crlf_line_ends_only(noise: bytes) -> None:
    text = clean(noise, "normalise", stuffed=False)
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", text) is None
    assert clean(text, "refuse", stuffed=False) == text


@given(st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"text"]), max_size=12))
def test_stuffed_lines_come_back_as_they_were(lines: list[bytes]) -> None:
    text = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)
    receiver, rest = receive([stuffed + b".\r\n"])
    assert rest == b""
    assert receiver.content() == text


@pytest.mark.parametrize(
    ("received", "cleaned"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a b\r\n"),
        (b"a\r\r\nb\r\n", b"a \r\nb\r\n"),
        (b"a\n\r\n", b"a\r\n\r\n"),
        (b"a\n..b\r\n", b"a\r\n.b\r\n"),
        (b"a\n.\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"..\r\n", b".\r\n"),
        (b"", b""),
    ],
)
def test_normalise_makes_crlf_before_dots_come_off(received: bytes, cleaned: bytes) -> None:
    assert clean(received, "normalise", stuffed=True) == cleaned


@pytest.mark.parametrize("received", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n"])
def test_refuse_answers_bare_line_ends_with_550_560(received: bytes) -> None:
    with pytest.raises(Permanent) as caught:
        clean(received, "refuse", stuffed=True)
    assert caught.value.reply.line().startswith("550 5.6.0 Bare CR or LF")


def test_eight_bit_octets_are_left_alone() -> None:
    octets = bytes(range(0x80, 0x100)) + b"\r\n"
    assert clean(octets, "refuse", stuffed=True) == octets


def test_too_big_is_not_held_and_still_ends_at_its_dot() -> None:
    budget = Budget(10**6)
    receiver = DataReceiver(1000, budget, "normalise")
    for _ in range(100):
        assert receiver.feed(b"x" * 5000) is None
        assert len(receiver._buffer) < 16
    assert budget.used_octets == 0
    assert receiver.feed(b"\r\n.") is None
    assert receiver.feed(b"\r\nNOOP\r\n") == b"NOOP\r\n"
    with pytest.raises(Permanent) as caught:
        receiver.content()
    assert caught.value.reply.code == 552


def test_budget_is_shared_and_given_back() -> None:
    budget = Budget(150)
    first, second = (DataReceiver(LIMIT, budget, "normalise") for _ in range(2))
    first.feed(b"x" * 100)
    second.feed(b"x" * 100)
    assert (first.fault, budget.used_octets) == (None, 100)
    assert second.feed(b"\r\n.\r\n") == b""
    with pytest.raises(SmtpError) as caught:
        second.content()
    assert caught.value.reply.line().startswith("452 4.3.1")
    second.release()
    first.release()
    first.release()
    assert budget.used_octets == 0


def test_chunks_are_joined_without_looking_for_dots() -> None:
    receiver = ChunkReceiver(LIMIT, Budget(LIMIT), "refuse")
    for piece in (b"a\r", b"\n.\r", b"\n..b"):
        receiver.feed(piece)
    assert receiver.content() == b"a\r\n.\r\n..b\r\n"


@pytest.mark.parametrize(
    ("sent", "content"), [(b"", b""), (b"a", b"a\r\n"), (b"a\r", b"a\r\n"), (b"\r\n", b"\r\n")]
)
def test_last_chunk_is_completed_to_a_line(sent: bytes, content: bytes) -> None:
    receiver = ChunkReceiver(LIMIT, Budget(LIMIT), "refuse")
    receiver.feed(sent)
    assert receiver.content() == content
