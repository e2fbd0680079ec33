"""Where log lines end: a stream that nobody ever waits for.

Lines keep their order. An urgent one is written at once, with all that wait; the others at most 20 ms later,
many in one write, by a thread. While the other side does not read (a pipe that is full), they wait in memory,
4 MiB at most; what comes then is lost, and counted in a line of its own when there is room again. What the
system refuses to write is lost too: nothing may fail because of its log.
"""

import atexit
import os
import select
import stat
import threading
import time
from collections import deque
from typing import TextIO

_DELAY_S = 0.02
_WAITING_MAX_OCTETS = 4 << 20
_AT_EXIT_S = 2.0
_FILE_OCTETS = 1 << 20


class Sink:
    """One stream and the lines that wait for it; any thread may put one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._descriptor, self._piece_octets = _descriptor(stream)
        self._room = select.poll()
        if self._descriptor >= 0:
            self._room.register(self._descriptor, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._octets = 0
        self._lost = 0
        self._piece = b""  # what is being written
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, line: bytes, *, urgent: bool = False) -> None:
        """Takes a line (without its end)."""
        with self._lock:
            if self._octets > _WAITING_MAX_OCTETS:
                self._lost += 1
                return
            self._octets += len(line)
            self._lines.append(line)
        if urgent and self.drain():
            return
        if not self._some.is_set():
            self._some.set()
            if self._thread is None:
                self._begin()

    def drain(self) -> bool:
        """Writes as much as goes without waiting; whether that was everything."""
        if not self._writing.acquire(blocking=False):
            return False
        try:
            while self._piece or self._take():
                if not self._write():
                    return False
        finally:
            self._writing.release()
        return True

    def flush(self, timeout_s: float = _AT_EXIT_S) -> None:
        """Returns when everything is written, or after `timeout_s`."""
        end_s = time.monotonic() + timeout_s
        while not self.drain() and time.monotonic() < end_s:
            time.sleep(0.001)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        atexit.register(self.flush)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_DELAY_S)
            self._some.clear()
            while not self.drain():
                time.sleep(_DELAY_S)

    def _take(self) -> bytes:
        """The next lines, as many as go into one write."""
        taken: list[bytes] = []
        size = 0
        with self._lock:
            while self._lines and (not taken or size + len(self._lines[0]) < self._piece_octets):
                taken.append(self._lines.popleft())
                size += len(taken[-1]) + 1
            self._octets -= size - len(taken)
            if self._lost and not self._lines:
                taken.append(b'{"event":"log_lines_lost","lines":%d}' % self._lost)
                self._lost = 0
        self._piece = b"\n".join([*taken, b""]) if taken else b""
        return self._piece

    def _write(self) -> bool:
        """Whether it may go on; False where one would have to wait."""
        written = len(self._piece)
        try:
            if self._descriptor < 0:
                self.stream.write(self._piece.decode())
            elif self._room.poll(0):
                written = os.write(self._descriptor, self._piece[: self._piece_octets])
            else:
                return False
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            pass  # lost
        self._piece = self._piece[written:]
        return True


def _descriptor(stream: TextIO) -> tuple[int, int]:
    """The stream's descriptor, -1 for one in memory, and how much goes into one write.

    To a pipe that is as much as it takes whole (POSIX, write(2)): neither does the write wait, nor do the
    lines of several processes mix.
    """
    try:
        number = stream.fileno()
        return number, _FILE_OCTETS if stat.S_ISREG(os.fstat(number).st_mode) else select.PIPE_BUF
    except (OSError, ValueError):
        return -1, _FILE_OCTETS
