"""Cursors of lists: opaque, bound to their list and account, recognised when they were altered.

A cursor holds the key of the last row shown. Its checksum is no secret: every list is filtered by account
anyway, so that a forged cursor shows nothing but another page of one's own.
"""

import base64
import binascii
from hashlib import blake2b

from gateway.http.wire import kinds
from gateway.http.wire.problem import Problem

_SUM_OCTETS = 6
_LONGEST = 1000


def encode(listing: str, account_id: str, last: str) -> str:
    """The cursor that continues `listing` behind the row with the key `last`."""
    octets = last.encode()
    return base64.urlsafe_b64encode(_sum(listing, account_id, octets) + octets).decode().rstrip("=")


def decode(listing: str, account_id: str, cursor: str | None) -> str | None:
    """The key behind which to continue; None for no cursor. Raises Problem 400 for one that is not ours."""
    if cursor is None:
        return None
    try:
        octets = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        last = octets[_SUM_OCTETS:]
        if len(cursor) <= _LONGEST and _sum(listing, account_id, last) == octets[:_SUM_OCTETS]:
            return last.decode()
    except (ValueError, binascii.Error):
        pass
    raise Problem(kinds.INVALID_CURSOR, "This cursor is not one of this list. Start again without a cursor.")


def _sum(listing: str, account_id: str, last: bytes) -> bytes:
    return blake2b(
        b"%b\0%b\0%b" % (listing.encode(), account_id.encode(), last), digest_size=_SUM_OCTETS
    ).digest()
