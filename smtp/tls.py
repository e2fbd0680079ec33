"""TLS contexts for delivery: one that encrypts for whoever answers, one that makes sure who it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from smtp.client import Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsPolicy:
    """How a connection is protected. Without a `context`, any certificate will do.

    `implicit` starts TLS before the greeting (RFC 8314 section 3.3, port 465).
    """

    mode: Tls = Tls.OPPORTUNISTIC
    implicit: bool = False
    context: ssl.SSLContext | None = None

    @property
    def falls_back(self) -> bool:
        """Whether a failed handshake is followed by an attempt in clear (RFC 7435: some protection most of
        the time).

        Never where a context was given: whoever names one wants it used.
        """
        return self.mode is Tls.OPPORTUNISTIC and not self.implicit and self.context is None


@lru_cache(maxsize=1)
def any_certificate() -> ssl.SSLContext:
    """Encrypts and checks nothing: mail servers' certificates are often self-signed, clear is no better."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verifying(cafile: Path | None = None) -> ssl.SSLContext:
    """Checks the chain and the name (RFC 6125), against the system's authorities or those in `cafile`."""
    return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=None if cafile is None else str(cafile))
