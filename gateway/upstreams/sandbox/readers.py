"""Who reads a whole mail just now: one request of an account, and few in all (A6).

A mail of the largest size is there in several copies while it is answered, and taking it apart is the event
loop's work.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.http.wire import kinds
from gateway.http.wire.problem import Problem

_AT_ONCE = 4
_RETRY_S = 1


class Readers:
    """The readers of one process."""

    def __init__(self) -> None:
        self._accounts: set[str] = set()

    @contextmanager
    def one(self, account_id: str) -> Iterator[None]:
        """Lets one in. Raises Problem 429 where the account reads already, 503 where many do."""
        if account_id in self._accounts:
            raise Problem(
                kinds.RATE_LIMITED, "A captured mail is being read; one at a time.", retry_after_s=_RETRY_S
            )
        if len(self._accounts) >= _AT_ONCE:
            raise Problem(kinds.BUSY, "Many captured mails are being read.", retry_after_s=_RETRY_S)
        self._accounts.add(account_id)
        try:
            yield
        finally:
            self._accounts.discard(account_id)
