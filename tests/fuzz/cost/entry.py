"""What is measured: an entry point for foreign octets, and what it may cost."""

from collections.abc import Callable
from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One parser. `run` takes any octets and returns; what it raises is a finding."""

    name: str
    run: Callable[[bytes], object]
    tokens: tuple[bytes, ...]
    """What its grammar is made of; each is repeated, and paired with each other."""
    nested: tuple[tuple[bytes, bytes], ...] = ()
    """What opens and closes; each pair is nested."""
    before: bytes = b""
    after: bytes = b""
    reach_octets: int = 64 * KIB
    """As many as a door lets through to it; beyond, it is fed only to see that it refuses cheaply."""
    call_ms: float = 5.0
    """CPU of one call: whoever parses on the event loop keeps all others waiting for so long."""
    memory_multiple: float = 32.0
    """Octets of memory at the peak for each octet of input, besides `judge.MEMORY_FLOOR_OCTETS`."""
    compared_from_octets: int = 0
    """Growth is judged from this size on: below it, a part of the work grows with the input to its bound."""
    in_tests: bool = True
    """Whether `make test` feeds it as well."""
