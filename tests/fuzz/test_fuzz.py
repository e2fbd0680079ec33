"""Every target under hypothesis, with few examples (`make fuzz` runs them for longer), and the corpus."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import http
from tests.fuzz.octets import Octets
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
# A target that stores messages or opens a session costs more than one that parses.
_EXAMPLES = {
    "api_bodies": 60,
    "api_queries": 60,
    "http_wire": 80,
    "smtp_submission": 120,
    "dkim_messages": 80,
}
_USUAL = 150


@pytest.fixture(scope="module", autouse=True)
def _api_is_stopped() -> Iterator[None]:
    yield
    http.close()


@pytest.mark.parametrize("name", TARGETS)
def test_any_octets_end_in_a_verdict(name: str) -> None:  # A7
    target = TARGETS[name]

    @settings(
        max_examples=_EXAMPLES.get(name, _USUAL),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=300))
    def run(data: bytes) -> None:
        target(data)

    run()


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_what_once_failed_does_not_fail_again(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_octets_that_end_are_no_error() -> None:
    octets = Octets(b"")
    assert octets.number(7) == 0
    assert octets.choice("ab") == "a"
    assert octets.sized() == b""
    assert octets.words([b"x"]) == b""
    assert octets.cut().pieces(b"stream") == [b"stream"]


@pytest.mark.parametrize("seed", [b"\1\2\3", b"\0", b"\xff\x80", b""])
def test_pieces_make_the_stream(seed: bytes) -> None:
    stream = bytes(range(256)) * 3
    pieces = Octets(seed).cut().pieces(stream)
    assert b"".join(pieces) == stream
    assert all(pieces)
