"""What a probe found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The result of one probe of one service; `reason` says why it failed."""

    service: str
    success: bool
    seconds: float
    at_ms: int
    reason: str = ""
