"""The gate: which key is asking, what it may do, and whether its account is within its rate (R28, R29).

Keys come as `Authorization: Bearer KEY`, as HTTP Basic with the key for user or password (`curl -u KEY:`), or
as `X-API-Key`. Raises `AuthRefused` and `Problem`.
"""

import base64
import binascii

from gateway.accounts.auth import Principal
from gateway.accounts.secrets import key_prefix
from gateway.api.call import Call
from gateway.api.operation import ANY_KEY, Operation
from gateway.api.problems import Problem


async def admit(call: Call, operation: Operation) -> None:
    """Sets the call's principal, or raises."""
    headers = call.headers
    field = headers.get(b"authorization") or headers.get(b"x-api-key") or b""
    authenticator = call.parts.services.authenticator
    principal = authenticator.known(field)
    if principal is None:
        principal = await authenticator.api_field(field, _key(field), call.peer)
    call.principal = principal
    _take_token(call, principal)
    if operation.scope != ANY_KEY:
        require(principal, operation.scope)


def require(principal: Principal, scope: str) -> None:
    """Raises Problem 403 unless the key has the scope."""
    if not principal.allows(scope):
        raise Problem(
            "scope_missing", f"This key lacks the scope {scope}. Use another key, or have one made with it."
        )


def _key(field: bytes) -> str | None:
    value = field.decode("latin-1").strip()
    return (_of_basic(value[6:]) if value[:6].lower() == "basic " else value) or None


def _of_basic(encoded: str) -> str:
    """The key in Basic credentials (RFC 7617); what is not readable is handed on, to be refused as it is."""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        return "Basic"
    return user if key_prefix(user) is not None else password or user or "Basic"


def _take_token(call: Call, principal: Principal) -> None:
    rate_per_s = principal.account.rate_per_s or call.settings.http.rate_per_s
    if rate_per_s <= 0:
        return
    now_s = call.parts.services.clock.monotonic_s()
    bucket = call.parts.buckets.take(principal.account_id, rate_per_s, now_s)
    call.rate_fields = bucket.fields
    if not bucket.allowed:
        raise Problem(
            "rate_limited",
            f"This account may make {int(bucket.limit)} requests a second. Wait for Retry-After seconds.",
            retry_after_s=max(bucket.next_s, 0.001),
        )
