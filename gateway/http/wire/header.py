"""What a request's header must not say twice, or not at all, and what may stand in it. Pure.

A field with two readings has one for whoever stands before us and another one for us: such a request is
refused as a whole (RFC 9112 section 3.2, RFC 9110 section 5.3). Raises Problem 400.
"""

import re
from collections.abc import Mapping

from gateway.http.wire import kinds
from gateway.http.wire.problem import Problem

MAX_OCTETS = 65_536
"""Of a request line and the fields behind it."""
FORWARDED_FOR = b"x-forwarded-for"
# With another value a second one would be another request; the other fields are not ours, or are lists.
_SINGLE = frozenset(
    {b"authorization", b"x-api-key", b"content-type", b"content-encoding", b"idempotency-key"}
)
_HOSTS_MAX, _HOST_OCTETS = 100, 256  # of those that are remembered
# RFC 3986 section 3.2.2, without user information; empty where the target has no authority.
_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.~!$&'()*+,;=_%-]+\])(?::[0-9]{0,5})?"
).fullmatch


def again(name: bytes, before: bytes, value: bytes) -> bytes:
    """What a field stands for that had the value `before` and comes once more."""
    if name == b"host" or (name in _SINGLE and value != before):
        raise Problem(kinds.BAD_REQUEST, f"The header has more than one {name.decode('ascii').title()}.")
    return before + b", " + value if name == FORWARDED_FOR else value


class Hosts(set[bytes | None]):
    """Values of Host that were found good: the usual one is looked at once."""

    def check(self, value: bytes | None) -> None:
        """A request of HTTP/1.1 says which host it asks, and says one that there could be."""
        if value is None:
            raise Problem(kinds.BAD_REQUEST, "The header has no Host.")
        if not _HOST(value):
            raise Problem(kinds.BAD_REQUEST, "Host is no name of a host.")
        if len(self) < _HOSTS_MAX and len(value) < _HOST_OCTETS:
            self.add(value)


def announces_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body follows (RFC 9112 section 6.3)."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
