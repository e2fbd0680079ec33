"""What the writer keeps in memory of what it has read, until something says that it may have changed.

It is emptied with the caches (`gateway.store.cache`: our own changes at once, other processes' within half a
second) and by every rollback, since what was read before one may never have been committed.
"""

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Remembered:
    """Values by the look that reads them; each look bounds what it answers."""

    def __init__(self) -> None:
        self._held: dict[Any, Any] = {}

    def ask(self, look: Callable[[Any], T], tx: Any) -> T:
        """What `look(tx)` answered the last time, or answers now."""
        held = self._held  # `forget` leaves it: what is read meanwhile is not kept
        if look not in held:
            held[look] = look(tx)
        found: T = held[look]
        return found

    def forget(self) -> None:
        """Has every look ask the database again; from any thread."""
        self._held = {}
