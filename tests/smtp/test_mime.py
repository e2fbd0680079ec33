"""The parts of a mail: counted in one pass, in steps, and refused beyond the limits."""

from __future__ import annotations

from email import message_from_bytes
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp import headers
from smtp.header_error import StructureError
from smtp.limits import DEFAULT, MailLimits
from smtp.mime import Scanner, boundary_of, media_type, structure
from tests.smtp.cost import assert_linear

HEAD = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"


def flat(parts: int, body: bytes = b"x") -> bytes:
    return HEAD + b"".join(b"--b\r\n\r\n" + body + b"\r\n" for _ in range(parts)) + b"--b--\r\n"


def nested(depth: int) -> bytes:
    kinds = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n" % level for level in range(depth)]
    edges = [b"--b%d\r\n" % level for level in range(depth)]
    lines = [piece for pair in zip(kinds, edges, strict=True) for piece in pair]
    return b"From: a@b.example\r\n" + b"".join(lines) + b"\r\nx\r\n"


def judge(raw: bytes, limits: MailLimits = DEFAULT) -> int:
    """Judges to the end; how many steps that took."""
    fields, body_start = headers.parse(raw)
    steps = structure(raw, body_start, headers.find(fields, "content-type"), limits)
    return 0 if steps is None else sum(1 for _ in steps)


def scanned(raw: bytes, limits: MailLimits = DEFAULT) -> Scanner:
    fields, body_start = headers.parse(raw)
    field = headers.find(fields, "content-type")
    content_type = b"" if field is None else field.raw.partition(b":")[2]
    scanner = Scanner(raw, body_start=body_start, content_type=content_type, limits=limits)
    while not scanner.over:
        scanner.step()
    return scanner


def bodies(raw: bytes) -> list[bytes]:
    return [raw[part.body_start : part.body_end] for part in scanned(raw).parts]


def test_a_thousand_parts_are_taken_and_one_more_is_not() -> None:
    for body in (b"x", b"x" * 1000):
        judge(flat(1000, body))
        for many in (1001, 100_000 if len(body) == 1 else 1002):
            with pytest.raises(StructureError, match="more than 1000 parts") as caught:
                judge(flat(many, body))
            assert (caught.value.reply.code, caught.value.reply.enhanced) == (554, "5.6.0")


def test_fifty_multiparts_inside_one_another_are_taken_and_one_more_is_not() -> None:
    judge(nested(50))
    for depth in (51, 3000):
        with pytest.raises(StructureError, match="more than 50 deep"):
            judge(nested(depth))


def test_a_body_that_is_no_multipart_is_not_looked_at() -> None:
    assert judge(b"From: a@b.example\r\nContent-Type: text/plain\r\n\r\n" + b"--b\r\n" * 100_000) == 0
    assert judge(b"From: a@b.example\r\n\r\n" + b"--b\r\n" * 100_000) == 0
    assert judge(flat(40)) == 0


@pytest.mark.parametrize(
    "line", [b"--\r\n", b"--c\r\n", b"--bb\r\n", b"--b x\r\n", b"---\r\n", b"--" + b" " * 400]
)
def test_lines_that_only_look_like_delimiters_take_many_short_steps(line: bytes) -> None:
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=c0\r\n\r\n"
    assert_linear(lambda times: judge(HEAD + inner + line * times), 2000)
    many = HEAD + inner + line * (2_000_000 // len(line))
    assert judge(many) >= len(many) // 262_144


def test_delimiters_are_whole_lines_and_blanks_behind_them_do_not_count() -> None:
    raw = (
        HEAD
        + b"preamble\r\n--b \t\r\n\r\none --b\r\n --b\r\n--bb\r\n--b\r\n\r\ntwo\r\n"
        + b"--b--  \r\nepilogue\r\n--b\r\n"
    )
    assert bodies(raw) == [b"one --b\r\n --b\r\n--bb", b"two"]


def test_an_outer_delimiter_ends_what_is_inside() -> None:
    inner = (
        b"--b\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\none\r\n--i\r\n\r\ntwo\r\n"
    )
    assert bodies(HEAD + inner + b"--b\r\n\r\nthree\r\n--i\r\nstill three") == [
        b"one",
        b"two",
        b"three\r\n--i\r\nstill three",
    ]


def test_a_boundary_of_a_multipart_around_is_no_boundary_inside() -> None:
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n"
    assert len(scanned(HEAD + inner).parts) == 2


def test_limits_of_a_scan_stop_it_and_keep_what_was_read() -> None:
    scanner = scanned(flat(2000))
    assert scanner.too_many
    assert len(scanner.parts) == 1000
    scanner = scanned(nested(3000))
    assert scanner.too_deep
    assert scanner.parts


@pytest.mark.parametrize(
    ("content_type", "kind", "boundary"),
    [
        (b"", "text/plain", b""),
        (b" TEXT/HTML; charset=x", "text/html", b""),
        (b"text/plain; boundary=b", "text/plain", b""),
        (b' Multipart/Mixed;\r\n\tBoundary="a \\"b"; x=y', "multipart/mixed", b'a "b'),
        (b"multipart/mixed; boundary = b ; x", "multipart/mixed", b"b"),
        (b"multipart/mixed; x=y", "multipart/mixed", b""),
        (b"multipart/mixed; boundary=" + b"b" * 500, "multipart/mixed", b""),
        (b"nonsense", "text/plain", b""),
    ],
)
def test_a_content_type_is_read(content_type: bytes, kind: str, boundary: bytes) -> None:
    assert (media_type(content_type), boundary_of(content_type)) == (kind, boundary)


@pytest.mark.parametrize("pumped", [b"; boundary ", b"; ", b"boundary=", b'; boundary="\\', b" ", b"\r\n "])
def test_a_content_type_takes_linear_time(pumped: bytes) -> None:
    assert_linear(lambda times: boundary_of(b"multipart/mixed" + pumped * times), 1000)


Tree = str | list["Tree"]
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.text("ab-\n", max_size=12), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=12
)


def built(tree: Tree) -> MIMEText | MIMEMultipart:
    if isinstance(tree, str):
        return MIMEText(tree)
    mail = MIMEMultipart()
    for branch in tree:
        mail.attach(built(branch))
    return mail


@given(TREES)
def test_the_leaves_are_those_of_the_standard_library(tree: Tree) -> None:
    mail = built(tree)
    mail["From"] = "a@b.example"
    raw = mail.as_bytes().replace(b"\n", b"\r\n")
    theirs = [part for part in message_from_bytes(raw).walk() if not part.is_multipart()]
    assert bodies(raw) == [str(part.get_payload()).encode() for part in theirs]
