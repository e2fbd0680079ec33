"""Times on the wire: RFC 3339 in UTC; inside, epoch milliseconds."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""An RFC 3339 time with its offset."""


def moment(at_ms: int) -> datetime:
    """The time of `at_ms` (epoch milliseconds)."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def moment_or_none(at_ms: int | None) -> datetime | None:
    """The same, None for None."""
    return None if at_ms is None else moment(at_ms)


def epoch_ms(at: datetime | None) -> int | None:
    """Epoch milliseconds of an aware time, None for None."""
    return None if at is None else int(at.timestamp() * 1000)
