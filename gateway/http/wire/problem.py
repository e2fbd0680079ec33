"""Problem details (RFC 9457): every error of the API, its type, its status, and what to do about it.

Whoever refuses raises `Problem` with a kind (`kinds`, and each vertical's own). Details are public text:
nothing of our inside is told.
"""

from collections.abc import Sequence

import msgspec

from gateway.http.wire import kinds
from gateway.http.wire.kinds import Kind
from gateway.http.wire.pointers import FieldError, of_path

CONTENT_TYPE = b"application/problem+json"
_BASE = "/docs/problems#"

Header = tuple[bytes, bytes]
CLOSE: Header = (b"connection", b"close")
"""With an answer, after which the connection ends."""


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457). `reason` is the last word of `type`; `errors` point at what is wrong."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    errors: list[FieldError] = []


class Problem(Exception):
    """An answer that says no. `headers` go with it; `retry_after_s` becomes Retry-After."""

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Sequence[Header] = (),
        retry_after_s: float = 0.0,
    ) -> None:
        self.kind = kind
        self.detail = detail or kind.advice
        self.errors = list(errors)
        self.headers = list(headers)
        if retry_after_s > 0:
            # Rounded up: who comes back then is served (RFC 9110 section 10.2.3 has whole seconds).
            self.headers.append((b"retry-after", b"%d" % -(-retry_after_s // 1)))
        super().__init__(f"{kind.reason}: {self.detail}")

    def below(self, root: str) -> None:
        """Moves the pointers below `root`: the fault is in a part of the body."""
        self.errors = [FieldError(pointer=root + one.pointer, detail=one.detail) for one in self.errors]

    @property
    def details(self) -> ProblemDetails:
        """The body of the answer."""
        return ProblemDetails(
            type=f"{_BASE}{self.kind.reason}",
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            reason=self.kind.reason,
            errors=self.errors,
        )


def invalid(path: str, detail: str) -> Problem:
    """A 422 that names the field at `path` (`to[3]`, `headers.X-Campaign`)."""
    return Problem(
        kinds.INVALID, f"{path}: {detail}", errors=[FieldError(pointer=of_path(path), detail=detail)]
    )
