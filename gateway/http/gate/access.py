"""The gate: which key is asking, what it may do, and whether its account is within its rate (R28, R29).

Keys come in `Authorization` or in `X-API-Key`; the `Authenticator` says what they are worth. Raises
`Problem`.
"""

from typing import Protocol

from gateway.http.gate.operation import ANY_KEY, Operation
from gateway.http.wire import kinds
from gateway.http.wire.call import Call, Principal
from gateway.http.wire.problem import Problem
from gateway.http.wire.site import Site

# What a browser says of requests that no other site has a hand in (Fetch Metadata section 2.4); who is no
# browser says nothing. A browser may know a key by Basic, and would send it along for any page.
_OWN_SITE = frozenset({b"none", b"same-origin"})


class Authenticator(Protocol):
    """Who a key belongs to."""

    def known(self, field: bytes) -> Principal | None:
        """Whom the field, as it came, spoke for a moment ago, without a look-up; None: ask `admit`."""
        ...

    async def admit(self, field: bytes, peer: str) -> Principal:
        """Whom the field speaks for; `peer` is the client's IP address. Raises Problem."""
        ...


class Gate:
    """What every request with a key passes."""

    def __init__(self, site: Site, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._known = authenticator.known
        self._buckets = site.buckets
        self._monotonic_s = site.ground.clock.monotonic_s
        self._rate_per_s = site.ground.settings.http.rate_per_s

    def passes(self, call: Call, operation: Operation) -> bool:
        """Lets in whose key was good a moment ago, without a look-up; False: `admit` decides."""
        if call.headers.get(b"sec-fetch-site", b"none") not in _OWN_SITE:
            raise Problem(kinds.CROSS_SITE)
        principal = self._known(_field(call))
        if principal is not None:
            self._let_in(call, operation, principal)
        return principal is not None

    async def admit(self, call: Call, operation: Operation) -> None:
        """Sets the call's principal, or raises."""
        self._let_in(call, operation, await self._authenticator.admit(_field(call), call.peer))

    def _let_in(self, call: Call, operation: Operation, principal: Principal) -> None:
        call.let_in(principal)
        rate_per_s = principal.rate_per_s or self._rate_per_s
        if rate_per_s > 0:
            bucket = self._buckets.take(principal.account_id, rate_per_s, self._monotonic_s())
            call.rate_fields = bucket.fields
            if not bucket.allowed:
                raise Problem(
                    kinds.RATE_LIMITED,
                    f"This account may make {int(bucket.limit)} requests a second. "
                    "Wait for Retry-After seconds.",
                    retry_after_s=max(bucket.next_s, 0.001),
                )
        scope = operation.scope
        if scope != ANY_KEY and not principal.allows(scope):
            raise Problem(
                kinds.SCOPE_MISSING,
                f"This key lacks the scope {scope}. Use another key, or have one made with it.",
            )


def _field(call: Call) -> bytes:
    headers = call.headers
    return headers.get(b"authorization") or headers.get(b"x-api-key") or b""
