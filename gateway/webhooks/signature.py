"""Signatures by Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

The secret is shown as base64 behind `whsec_`.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Callable

PREFIX = "whsec_"
SECRET_OCTETS = 32  # the specification asks for 24 to 64


def make_secret(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A new secret, as it is shown to the receiver."""
    return PREFIX + base64.b64encode(random_bytes(SECRET_OCTETS)).decode()


def headers(secret: str, delivery_id: str, body: bytes, timestamp_s: int) -> dict[str, str]:
    """webhook-id, webhook-timestamp and webhook-signature for one try."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b"%b.%d.%b" % (delivery_id.encode(), timestamp_s, body)
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{signature}",
    }
