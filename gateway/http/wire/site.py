"""What every call of one process is answered with: the ground, and the limits that all calls share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.ground import Ground
from gateway.peers import Networks
from gateway.rate import Buckets
from smtp.data import Budget


class Readiness(Protocol):
    """What /readyz asks."""

    async def checks(self) -> Mapping[str, bool]:
        """Each check by name; ready only if all are true."""
        ...


BODIES_AT_ONCE = 8
"""How many bodies of the largest size may be held in memory at once (A6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """See the module."""

    ground: Ground
    readiness: Readiness
    budget: Budget
    proxies: Networks = field(default_factory=Networks)
    """Whose word about the client is believed."""
    buckets: Buckets = field(default_factory=Buckets)
