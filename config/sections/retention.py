"""`[retention]`: how long things are kept."""

from dataclasses import dataclass

from config.kinds import Count, Days, Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """`[retention]`: how long things are kept."""

    message_days: Days = 90
    event_days: Days = 90
    content_hours: Count = 0
    idempotency_h: Positive = 24
    statistics_years: Positive = 5  # R43
