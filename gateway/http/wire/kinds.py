"""The kinds of problems that HTTP itself and every resource can answer. A vertical adds its own.

Each is explained at /docs/problems; a client reads its `reason`, which therefore never changes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem (RFC 9457): its reason, its status, its title, and what to do."""

    reason: str
    status: int
    title: str
    advice: str


INVALID_JSON = Kind("invalid_json", 400, "Not valid JSON", "Send one JSON value in UTF-8.")
BAD_REQUEST = Kind(
    "bad_request", 400, "Bad request", "Correct the request; `detail` says what is wrong with it."
)
INVALID_CURSOR = Kind(
    "invalid_cursor", 400, "Unknown cursor", "Use `next` of the same list as it was given, or none."
)
UNAUTHORIZED = Kind(
    "unauthorized", 401, "No valid API key", "Send Authorization: Bearer with a key of this account."
)
NOT_FOUND = Kind(
    "not_found", 404, "Not found", "Check the path and the id; ids of other accounts are not found."
)
METHOD_NOT_ALLOWED = Kind("method_not_allowed", 405, "Method not allowed", "Use one of the methods in Allow.")
REQUEST_TIMEOUT = Kind(
    "request_timeout", 408, "The request came too slowly", "Send it again, faster or smaller."
)
TOO_LARGE = Kind("too_large", 413, "Too large", "Send less at once; `detail` names the limit.")
ADDRESS_TOO_LONG = Kind(
    "address_too_long", 414, "The address is too long", "Send fewer or shorter parameters."
)
UNSUPPORTED_MEDIA_TYPE = Kind(
    "unsupported_media_type", 415, "Not JSON", "Send Content-Type: application/json, not compressed."
)
HEADER_TOO_LARGE = Kind(
    "header_too_large", 431, "The header is too large", "Send fewer or shorter header fields."
)
SCOPE_MISSING = Kind(
    "scope_missing", 403, "The key may not do this", "Use a key with the scope that `detail` names."
)
CROSS_SITE = Kind(
    "cross_site",
    403,
    "Another site's request",
    "Call the API from your server; a browser must not do it for a page.",
)
LIMIT_REACHED = Kind("limit_reached", 403, "The account has as many as it may", "Delete what is not used.")
CONFLICT = Kind(
    "conflict", 409, "Does not fit the state of things", "Look at the resource, then decide again."
)
IDEMPOTENCY_KEY_IN_USE = Kind(
    "idempotency_key_in_use",
    409,
    "The same key is in use",
    "A request with this Idempotency-Key is running; try again soon.",
)
INVALID = Kind("invalid", 422, "Invalid values", "Correct the fields that `errors` points to.")
IDEMPOTENCY_KEY_REUSED = Kind(
    "idempotency_key_reused", 422, "The key was used before", "Use a new Idempotency-Key for a new payload."
)
RATE_LIMITED = Kind("rate_limited", 429, "Too many requests", "Wait for Retry-After seconds.")
INTERNAL_ERROR = Kind(
    "internal_error", 500, "A fault of ours", "Try again; if it stays, tell the operator X-Request-Id."
)
BUSY = Kind("busy", 503, "Busy", "Nothing was stored. Try again after Retry-After seconds.")
STORE_FAILED = Kind("store_failed", 503, "The database refused", "Nothing was stored. Try again later.")

EVERY = (
    INVALID_JSON,
    BAD_REQUEST,
    INVALID_CURSOR,
    UNAUTHORIZED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    ADDRESS_TOO_LONG,
    UNSUPPORTED_MEDIA_TYPE,
    HEADER_TOO_LARGE,
    SCOPE_MISSING,
    CROSS_SITE,
    LIMIT_REACHED,
    CONFLICT,
    IDEMPOTENCY_KEY_IN_USE,
    INVALID,
    IDEMPOTENCY_KEY_REUSED,
    RATE_LIMITED,
    INTERNAL_ERROR,
    BUSY,
    STORE_FAILED,
)
"""All of them."""
