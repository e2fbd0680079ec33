"""The loop's watchdog: whatever keeps the event loop from turning for 250 ms is logged with its stack.

A Python thread could not tell: it does not run while the interpreter's lock is held. So the loop sets an
alarm (SIGALRM) again and again; if it does not come to that in time, `faulthandler` writes down, in the
handler of the signal, where the loop is, and the loop reads that when it turns again. If it never does, the
stack goes to stderr when whoever watches over the process (the supervisor, systemd) ends it with SIGABRT.

`faulthandler.dump_traceback_later` would be simpler, but its thread reads the frames of a loop that may be
running: it ended one process in ten that had stood still with a segmentation fault (CPython 3.11).

Once a second the watch calls `beat`, by which they know that the loop turns. It tells nothing of the store: a
database that is away makes nobody silent.
"""

import asyncio
import faulthandler
import signal
from collections.abc import Callable
from tempfile import TemporaryFile

import structlog

log = structlog.get_logger(__name__)

STALL_S = 0.25
_TURN_S = 0.05
_BEAT_S = 1.0
_STACK_CHARS = 4000


class LoopWatch:
    """Watches the event loop. `observe` is told how long each stall was, in seconds; `beat` gets the
    seconds since it was last called.
    """

    def __init__(
        self, observe: Callable[[float], None], beat: Callable[[float], None] = lambda _s: None
    ) -> None:
        self._observe = observe
        self._beat = beat
        self._stack = TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `stop`
        self._timer: asyncio.TimerHandle | None = None
        self._turned_s = self._beaten_s = 0.0
        self._telling = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to watch `loop`, of the main thread, which runs or is about to."""
        faulthandler.enable()
        faulthandler.register(signal.SIGALRM, file=self._stack, all_threads=False)
        self._turned_s = self._beaten_s = loop.time()
        self._beat(0.0)
        self._arm(loop)

    def tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stalls are told of from now on. The start of a program is one, and keeps nobody waiting."""
        self._telling = True
        self._turned_s = loop.time()

    def stop(self) -> None:
        """Watches no more."""
        if self._timer is not None:
            self._timer.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.unregister(signal.SIGALRM)
        self._stack.close()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        signal.setitimer(signal.ITIMER_REAL, STALL_S)
        self._timer = loop.call_later(_TURN_S, self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        away_s = now_s - self._turned_s
        self._turned_s = now_s
        if away_s > STALL_S:
            signal.setitimer(signal.ITIMER_REAL, 0)
            stack = self._read()
            if self._telling:
                self._observe(away_s)
                log.warning("event_loop_stalled", stall_s=round(away_s, 3), stack=stack)
        if now_s - self._beaten_s >= _BEAT_S:
            self._beat(now_s - self._beaten_s)
            self._beaten_s = now_s
        self._arm(loop)

    def _read(self) -> str:
        """The stack of the loop as the alarm found it, innermost call first, one line."""
        self._stack.seek(0)
        text = self._stack.read().decode("utf-8", "replace")
        self._stack.seek(0)
        self._stack.truncate()
        calls = [line.strip() for line in text.splitlines() if line.startswith("  File ")]
        return " < ".join(calls)[:_STACK_CHARS]
