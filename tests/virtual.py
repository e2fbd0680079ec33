"""Time that passes only when there is nothing to do: an hour of the road in a second, the same in every run.

A `VirtualLoop` runs tasks and timers as any loop does, but jumps to the next timer instead of waiting for it,
and its connections are pipes in memory with a delay. What stands on it must read its clock, and must not use
threads, real sockets or processes.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_DELAY_S = 0.005  # one way


class _Jump(selectors.DefaultSelector):
    """Instead of waiting, time jumps."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for ever")
        self.now_s += timeout
        return []


class _Pipe(asyncio.Transport):
    """One side of a connection in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop, self._protocol = loop, protocol
        self.other: _Pipe
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closed:
            self._loop.call_later(_DELAY_S, self.other.receive, bytes(data))

    def receive(self, data: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_later(_DELAY_S, self.other.close)

    abort = close

    def pause_reading(self) -> None:
        """What comes is read all the same: nothing here floods."""

    resume_reading = pause_reading


class _Server:
    """What listens on a port of a loop."""

    def __init__(self, port: int) -> None:
        self.sockets = (self,)
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return "memory", self._port

    def close(self) -> None:
        """Nobody else connects."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module's docstring."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._listening: dict[int, Callable[[], asyncio.Protocol]] = {}

    def time(self) -> float:
        return self._jump.now_s

    async def create_server(self, factory: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # one form of many
        port = len(self._listening) + 1
        self._listening[port] = factory
        return _Server(port)

    async def create_connection(  # type: ignore[override]  # one form of many
        self, factory: Any, _host: Any = None, port: Any = None, **__: Any
    ) -> Any:
        ours, theirs = factory(), self._listening[port]()
        here, there = _Pipe(self, ours), _Pipe(self, theirs)
        here.other, there.other = there, here
        theirs.connection_made(there)
        ours.connection_made(here)
        return here, ours


class VirtualClock:
    """`gateway.clock.Clock` by the running loop."""

    def now_ms(self) -> int:
        return 1_790_000_000_000 + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def run(main: Coroutine[Any, Any, T]) -> T:
    """What `main` comes to, on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
