"""The bell between the dispatcher and the queue's keeper: there is something to claim, or room for it."""

import asyncio


class Bell:
    """One per process, given to both."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self._after: int | None = None  # so many settlements; None: nothing waits for room

    def ring(self) -> None:
        """There is something to claim."""
        self.rung.set()

    def settled(self) -> None:
        """Memory was given back."""
        if self._after is not None:
            self._after -= 1
            if self._after <= 0:
                self._after = None
                self.ring()

    def ring_after(self, settlements: int | None) -> None:
        """Rings once so many settlements have given memory back; None: they are not waited for."""
        self._after = settlements
