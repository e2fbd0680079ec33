"""The bell between the dispatcher and the queue's keeper: there is something to claim, or room for it."""

import asyncio


class Bell:
    """One per process, given to both."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self._after: int | None = None  # so many settled deliveries; None: nothing waits for room

    def ring(self) -> None:
        """There is something to claim."""
        self.rung.set()

    def settled(self, deliveries: int) -> None:
        """The memory of so many was given back."""
        if self._after is not None:
            self._after -= deliveries
            if self._after <= 0:
                self._after = None
                self.ring()

    def ring_after(self, deliveries: int | None) -> None:
        """Rings once so many have given their memory back; None: they are not waited for."""
        self._after = deliveries
