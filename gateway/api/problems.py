"""Problem details (RFC 9457): every error of the API, its type, its status, and what to do about it.

A handler raises `Problem`; `of_error` translates what the services and the store raise. The set of reasons is
bounded; each has its explanation at /docs/problems. Details are public text: nothing of our inside is told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.accounts.auth import AuthRefused
from gateway.accounts.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.api.pointers import FieldError, of_path
from gateway.credits.orders import OrderError
from gateway.messages.accept import KeyInUse
from gateway.messages.model import Verdict
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.idempotency import KeyReused

CONTENT_TYPE = b"application/problem+json"
_BASE = "/docs/problems#"
_RETRY_S = 1
_RETRY_FAILED_S = 5

Header = tuple[bytes, bytes]
CLOSE: Header = (b"connection", b"close")
"""With an answer, after which the connection ends."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem: its status, its title, and what to do."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    # --- the request as such ---
    "invalid_json": Kind(400, "Not valid JSON", "Send one JSON value in UTF-8."),
    "bad_request": Kind(400, "Bad request", "Correct the request; `detail` says what is wrong with it."),
    "invalid_cursor": Kind(400, "Unknown cursor", "Use `next` of the same list as it was given, or none."),
    "unauthorized": Kind(401, "No valid API key", "Send Authorization: Bearer with a key of this account."),
    "not_found": Kind(404, "Not found", "Check the path and the id; ids of other accounts are not found."),
    "method_not_allowed": Kind(405, "Method not allowed", "Use one of the methods in Allow."),
    "request_timeout": Kind(408, "The request came too slowly", "Send it again, faster or smaller."),
    "too_large": Kind(413, "Too large", "Send less at once; `detail` names the limit."),
    "field_too_large": Kind(413, "A field of the mail is too large", "Shorten what `errors` points to."),
    "address_too_long": Kind(414, "The address is too long", "Send fewer or shorter parameters."),
    "unsupported_media_type": Kind(415, "Not JSON", "Send Content-Type: application/json, not compressed."),
    "header_too_large": Kind(431, "The header is too large", "Send fewer or shorter header fields."),
    # --- what the account may do ---
    "insufficient_credits": Kind(402, "Not enough credits", "Buy credits or turn on auto-recharge."),
    "scope_missing": Kind(403, "The key may not do this", "Use a key with the scope that `detail` names."),
    "cross_site": Kind(
        403, "Another site's request", "Call the API from your server; a browser must not do it for a page."
    ),
    "suspended": Kind(403, "The account is suspended", "Ask the operator of this gateway."),
    "closed": Kind(403, "The account is closed", "Ask the operator of this gateway for a new one."),
    "limit_reached": Kind(403, "The account has as many as it may", "Delete what is not used."),
    "sender_not_allowed": Kind(
        403, "The sender is not allowed", "Add and verify the sender's domain under /v1/domains."
    ),
    "conflict": Kind(409, "Does not fit the state of things", "Look at the resource, then decide again."),
    "idempotency_key_in_use": Kind(
        409, "The same key is in use", "A request with this Idempotency-Key is running; try again soon."
    ),
    # --- values ---
    "invalid": Kind(422, "Invalid values", "Correct the fields that `errors` points to."),
    "idempotency_key_reused": Kind(
        422, "The key was used before", "Use a new Idempotency-Key for a new payload."
    ),
    "bad_sender": Kind(422, "The sender is not an address", "Correct `from`."),
    "bad_header": Kind(422, "The mail's header is faulty", "Correct what `detail` names."),
    "bad_structure": Kind(422, "The mail has too many parts", "Send fewer parts, nested less deeply."),
    "bad_number": Kind(422, "Not a phone number", "Write it in international form, such as +41791234567."),
    "bad_text": Kind(422, "The text cannot be sent", "Take out what `detail` names."),
    "empty_text": Kind(422, "The text is empty", "Write at least one character."),
    "too_long": Kind(422, "The text is too long", "Shorten it, or send it as several messages."),
    "sender_name": Kind(
        422, "The sender cannot be used", "Use an approved SenderName or number (see /v1/sendernames)."
    ),
    "no_recipients": Kind(422, "No recipient", "Name at least one recipient."),
    "no_route": Kind(422, "No route to a recipient", "Ask the operator whether it can be served."),
    "card-number": Kind(422, "A card number in the text", "Take it out: it is sensitive personal data."),
    "iban": Kind(422, "A bank account's number in the text", "Take it out: it is sensitive personal data."),
    "not_accepted": Kind(422, "Not accepted", "`detail` says why."),
    "none_accepted": Kind(422, "No item was accepted", "Each of `items` has its own problem."),
    # --- load and faults ---
    "rate_limited": Kind(429, "Too many requests", "Wait for Retry-After seconds."),
    "slow_down": Kind(429, "Too many failed logins", "Wait for Retry-After seconds, then use a valid key."),
    "internal_error": Kind(500, "A fault of ours", "Try again; if it stays, tell the operator X-Request-Id."),
    "busy": Kind(503, "Busy", "Nothing was stored. Try again after Retry-After seconds."),
    "store_failed": Kind(503, "The database refused", "Nothing was stored. Try again later."),
}


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
        reason: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Sequence[Header] = (),
        retry_after_s: float = 0.0,
    ) -> None:
        self.reason = reason
        self.kind = KINDS[reason]
        self.detail = detail or self.kind.advice
        self.errors = list(errors)
        self.headers = list(headers)
        if retry_after_s > 0:
            # Rounded up: who comes back then is served (RFC 9110 section 10.2.3 has whole seconds).
            self.headers.append((b"retry-after", b"%d" % -(-retry_after_s // 1)))
        super().__init__(f"{reason}: {self.detail}")

    def below(self, root: str) -> None:
        """Moves the pointers below `root`: the fault is in a part of the body."""
        self.errors = [FieldError(pointer=root + one.pointer, detail=one.detail) for one in self.errors]

    @property
    def details(self) -> ProblemDetails:
        """The body of the answer."""
        return ProblemDetails(
            type=f"{_BASE}{self.reason}",
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            reason=self.reason,
            errors=self.errors,
        )


def invalid(path: str, detail: str) -> Problem:
    """A 422 that names the field at `path` (`to[3]`, `headers.X-Campaign`)."""
    return Problem("invalid", f"{path}: {detail}", errors=[FieldError(pointer=of_path(path), detail=detail)])


def of_verdict(verdict: Verdict) -> Problem:
    """The problem of a submission that was refused."""
    reason = verdict.refused or ""
    detail = verdict.detail or ""
    errors = [FieldError(pointer=of_path(verdict.field), detail=detail)] if verdict.field else []
    return Problem(reason if reason in KINDS else "not_accepted", detail, errors=errors)


def of_error(error: Exception) -> Problem | None:
    """The problem that an error of the services or the store stands for; None: a fault of ours."""
    if isinstance(error, Problem):
        return error
    for kind, translate in _TRANSLATIONS.items():
        if isinstance(error, kind):
            return translate(error)
    return None


_AUTH_REASONS = {"slow_down": "slow_down", "busy": "busy", "suspended": "suspended", "closed": "closed"}


def of_auth(error: AuthRefused, *, basic: bool = False) -> Problem:
    """The problem of a key that is not taken; `basic`: it came as HTTP Basic, which is asked for again.

    Nobody else is: a browser would ask its user for a password, and send it with every request from then on,
    other sites' requests among them.
    """
    reason = _AUTH_REASONS.get(error.reason, "unauthorized")
    challenge = b'Basic realm="gateway"' if basic else b'Bearer realm="gateway"'
    if error.reason != "missing" and not basic:  # RFC 6750 section 3.1: no error code when no key was sent
        challenge += b', error="invalid_token"'
    return Problem(
        reason,
        error.detail,
        headers=[(b"www-authenticate", challenge)] if reason == "unauthorized" else (),
        retry_after_s=error.retry_after_s,
    )


def _of_order(error: OrderError) -> Problem:
    text = str(error)
    field, colon, rest = text.partition(": ")
    if colon and field.isidentifier():
        return Problem("invalid", text, errors=[FieldError(pointer=f"/{field}", detail=rest)])
    return Problem("conflict", text)


def _of_invalid(error: InvalidError) -> Problem:
    field_error = FieldError(
        pointer=of_path(error.field), detail=error.detail.removeprefix(f"{error.field}: ")
    )
    return Problem("invalid", error.detail, errors=[field_error])


_TRANSLATIONS: Mapping[type[Exception], Callable[[Any], Problem]] = {
    AuthRefused: of_auth,
    NotFoundError: lambda error: Problem("not_found", error.detail),
    ConflictError: lambda error: Problem("conflict", error.detail),
    LimitError: lambda error: Problem("limit_reached", error.detail),
    InvalidError: _of_invalid,
    OrderError: _of_order,
    KeyInUse: lambda error: Problem("idempotency_key_in_use", str(error), retry_after_s=_RETRY_S),
    KeyReused: lambda error: Problem("idempotency_key_reused", f"{error} Use a new key for it."),
    StoreBusy: lambda _error: Problem("busy", retry_after_s=_RETRY_S),
    StoreFailed: lambda _error: Problem("store_failed", retry_after_s=_RETRY_FAILED_S),
}


def explained() -> list[tuple[str, int, str, str, str]]:
    """Every kind for the page about them: reason, status, phrase of HTTP, title, advice."""
    return [
        (reason, kind.status, HTTPStatus(kind.status).phrase, kind.title, kind.advice)
        for reason, kind in KINDS.items()
    ]
