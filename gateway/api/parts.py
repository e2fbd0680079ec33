"""What every handler works with: the services, the road, the configuration and the limits of one process."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.schema import Settings
from gateway.api.rate import Buckets
from gateway.road import Road
from smtp.data import Budget

if TYPE_CHECKING:
    from gateway.services import Services

Readiness = Callable[[], Awaitable[Mapping[str, str]]]
"""Every check by name: "ok", or else what is wrong."""

BODIES_AT_ONCE = 8
"""How many bodies of the largest size may be held in memory at once (A6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """See the module."""

    services: "Services"
    road: Road
    settings: Settings
    readiness: Readiness
    budget: Budget
    buckets: Buckets = field(default_factory=Buckets)
