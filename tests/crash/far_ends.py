"""The two far ends, as the harnesses see them: something that listens, takes, dies and comes back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol


class FarEnd(Protocol):
    """A mail sink or an SMSC on 127.0.0.1."""

    @property
    def port(self) -> int:
        """Where it listens; the same after each start."""
        ...

    async def start(self) -> None:
        """Listens."""

    async def die(self) -> None:
        """Drops everything, in the middle of whatever goes on; remembers what it took."""

    async def close(self) -> None:
        """Ends for good."""


@dataclass(frozen=True, slots=True)
class FarEnds:
    """Both."""

    mail: FarEnd
    smsc: FarEnd

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From the first start to the last death."""
        try:
            await self.mail.start()
            await self.smsc.start()
            yield
        finally:
            await self.mail.close()
            await self.smsc.close()
