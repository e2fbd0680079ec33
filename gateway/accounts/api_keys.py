"""API keys at the gate of HTTP: out of which field they come, and how one is refused.

Keys come as `Authorization: Bearer KEY`, as HTTP Basic with the key for user or password (`curl -u KEY:`), or
as `X-API-Key`.
"""

import base64
import binascii

from gateway.accounts.auth import Authenticator, AuthRefused, Principal
from gateway.accounts.secrets import key_prefix
from gateway.http.wire import kinds
from gateway.http.wire.kinds import Kind
from gateway.http.wire.problem import Problem

SUSPENDED = Kind("suspended", 403, "The account is suspended", "Ask the operator of this gateway.")
CLOSED = Kind("closed", 403, "The account is closed", "Ask the operator of this gateway for a new one.")
SLOW_DOWN = Kind(
    "slow_down", 429, "Too many failed logins", "Wait for Retry-After seconds, then use a valid key."
)

EVERY = (SUSPENDED, CLOSED, SLOW_DOWN)
_BY_REASON = {"busy": kinds.BUSY} | {kind.reason: kind for kind in EVERY}


class ApiKeys:
    """The `Authenticator` of the gate (`gateway.http.gate.access`)."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self.known = authenticator.known

    async def admit(self, field: bytes, peer: str) -> Principal:
        """Whom the key in `field` speaks for. Raises Problem."""
        try:
            return await self._authenticator.api_field(field, _key(field), peer)
        except AuthRefused as refused:
            raise _problem(refused, basic=_is_basic(field)) from None


def _problem(refused: AuthRefused, *, basic: bool) -> Problem:
    """The problem of a key that is not taken; `basic`: it came as HTTP Basic, which is asked for again.

    Nobody else is: a browser would ask its user for a password, and send it with every request from then on,
    other sites' requests among them.
    """
    kind = _BY_REASON.get(refused.reason, kinds.UNAUTHORIZED)
    challenge = b'Basic realm="gateway"' if basic else b'Bearer realm="gateway"'
    if refused.reason != "missing" and not basic:  # RFC 6750 section 3.1: no error code when no key was sent
        challenge += b', error="invalid_token"'
    return Problem(
        kind,
        refused.detail,
        headers=[(b"www-authenticate", challenge)] if kind is kinds.UNAUTHORIZED else (),
        retry_after_s=refused.retry_after_s,
    )


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
