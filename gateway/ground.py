"""The ground that all parts of one process stand on: settings, clock, store, and what was made on them.

A service is asked for by its type (`ground[Credits]`): who asks imports what it needs and nothing else, and
who makes it (`gateway.verticals`) puts it here once.
"""

from typing import Any, TypeVar

from config.schema import Settings
from gateway.clock import Clock
from gateway.dns import Dns, SystemDns
from gateway.ids import IdFactory
from gateway.store.cache import Caches
from gateway.store.store import Store

T = TypeVar("T")


class Ground:
    """See the module. Nothing here is started or stopped by it."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        *,
        dns: Dns | None = None,
        caches: Caches | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.dns: Dns = dns or SystemDns()
        self.ids = IdFactory()
        self.caches = caches or Caches(store)
        self._made: dict[type, Any] = {}

    def add(self, made: T) -> T:
        """Keeps `made`, to be asked for by its type. Raises ValueError for a second one of a type."""
        if type(made) in self._made:
            raise ValueError(f"there is a {type(made).__name__} already")
        self._made[type(made)] = made
        return made

    def find(self, wanted: type[T]) -> T | None:
        """The one of this type, None where none was made."""
        found: T | None = self._made.get(wanted)
        return found

    def __getitem__(self, wanted: type[T]) -> T:
        """The one of this type. Raises LookupError where none was made."""
        try:
            found: T = self._made[wanted]
        except KeyError:
            raise LookupError(f"no {wanted.__module__}.{wanted.__name__} was made here") from None
        return found
