"""Idempotency-Key on the wire (A4): bound to method, path and body, kept as long as is configured."""

from hashlib import sha256

from gateway.http.wire import kinds
from gateway.http.wire.call import Call
from gateway.http.wire.problem import Header, Problem
from gateway.store.idempotency import IdempotencyKey

KEY_MAX = 255
REPLAYED: Header = (b"idempotency-replayed", b"true")
_HOUR_MS = 3_600_000


def given_key(call: Call) -> str | None:
    """The Idempotency-Key as it came. Raises Problem 400 unless it is 1 to 255 printable characters."""
    octets = call.headers.get(b"idempotency-key")
    if octets is None:
        return None
    key = octets.decode("latin-1").strip()
    if not key or len(key) > KEY_MAX or not key.isascii() or not key.isprintable():
        raise Problem(
            kinds.BAD_REQUEST, f"Idempotency-Key must have 1 to {KEY_MAX} printable ASCII characters."
        )
    return key


def bound_key(call: Call, key: str | None) -> IdempotencyKey | None:
    """The key bound to this request, whose body has been read."""
    if key is None:
        return None
    target = f"{call.method} {call.path}\n".encode()
    now_ms = call.clock.now_ms()
    expires_ms = now_ms + call.settings.retention.idempotency_h * _HOUR_MS
    return IdempotencyKey(key, sha256(target + call.octets).digest(), expires_ms)
