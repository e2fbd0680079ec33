"""What every handler works with: the services, the road, the configuration and the limits of one process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from config.schema import Settings
from gateway.api.readers import Readers
from gateway.peers import Networks
from gateway.rate import Buckets
from gateway.road import Road
from gateway.services import Services
from smtp.data import Budget


class Readiness(Protocol):
    """What /readyz asks."""

    async def checks(self) -> Mapping[str, bool]:
        """Each check by name; ready only if all are true."""
        ...


BODIES_AT_ONCE = 8
"""How many bodies of the largest size may be held in memory at once (A6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """See the module."""

    services: Services
    road: Road
    settings: Settings
    readiness: Readiness
    budget: Budget
    proxies: Networks = field(default_factory=Networks)
    """Whose word about the client is believed."""
    buckets: Buckets = field(default_factory=Buckets)
    readers: Readers = field(default_factory=Readers)
