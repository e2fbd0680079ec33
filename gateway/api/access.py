"""The gate: which key is asking, what it may do, and whether its account is within its rate (R28, R29).

Keys come as `Authorization: Bearer KEY`, as HTTP Basic with the key for user or password (`curl -u KEY:`), or
as `X-API-Key`. Raises `Problem`.
"""

import base64
import binascii

from gateway.accounts.auth import AuthRefused, Principal
from gateway.accounts.secrets import key_prefix
from gateway.api import problems
from gateway.api.call import Call
from gateway.api.operation import ANY_KEY, Operation
from gateway.api.parts import Parts
from gateway.api.problems import Problem

# What a browser says of requests that no other site has a hand in (Fetch Metadata section 2.4); who is no
# browser says nothing. A browser may know a key by Basic, and would send it along for any page.
_OWN_SITE = frozenset({b"none", b"same-origin"})


class Gate:
    """What every request with a key passes."""

    def __init__(self, parts: Parts) -> None:
        self._authenticator = parts.services.authenticator
        self._buckets = parts.buckets
        self._monotonic_s = parts.services.clock.monotonic_s
        self._rate_per_s = parts.settings.http.rate_per_s

    def passes(self, call: Call, operation: Operation) -> bool:
        """Lets in whose key was good a moment ago, without a look-up; False: `admit` decides."""
        if call.headers.get(b"sec-fetch-site", b"none") not in _OWN_SITE:
            raise Problem("cross_site")
        principal = self._authenticator.known(_field(call))
        if principal is not None:
            self._let_in(call, operation, principal)
        return principal is not None

    async def admit(self, call: Call, operation: Operation) -> None:
        """Sets the call's principal, or raises."""
        field = _field(call)
        try:
            principal = await self._authenticator.api_field(field, _key(field), call.peer)
        except AuthRefused as refused:
            raise problems.of_auth(refused, basic=_is_basic(field)) from None
        self._let_in(call, operation, principal)

    def _let_in(self, call: Call, operation: Operation, principal: Principal) -> None:
        call.let_in(principal)
        rate_per_s = principal.account.rate_per_s or self._rate_per_s
        if rate_per_s > 0:
            bucket = self._buckets.take(principal.account_id, rate_per_s, self._monotonic_s())
            call.rate_fields = bucket.fields
            if not bucket.allowed:
                raise Problem(
                    "rate_limited",
                    f"This account may make {int(bucket.limit)} requests a second. "
                    "Wait for Retry-After seconds.",
                    retry_after_s=max(bucket.next_s, 0.001),
                )
        scope = operation.scope
        if scope != ANY_KEY and not principal.allows(scope):
            raise Problem(
                "scope_missing",
                f"This key lacks the scope {scope}. Use another key, or have one made with it.",
            )


def _field(call: Call) -> bytes:
    headers = call.headers
    return headers.get(b"authorization") or headers.get(b"x-api-key") or b""


def _key(field: bytes) -> str | None:
    value = field.decode("latin-1").strip()
    return (_of_basic(value[6:]) if _is_basic(field) else value) or None


def _is_basic(field: bytes) -> bool:
    return field[:6].lower() == b"basic "


def _of_basic(encoded: str) -> str:
    """The key in Basic credentials (RFC 7617); what is not readable is handed on, to be refused as it is."""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        return "Basic"
    return user if key_prefix(user) is not None else password or user or "Basic"
