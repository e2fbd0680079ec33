"""Log lines on their way to a stream: in order, soon, and without anybody waiting for a reader."""

import fcntl
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.logs import sink as sink_module
from gateway.logs.sink import Sink

BOUND_S = 5.0


class Pipe:
    """A pipe with a sink at one end; it holds 4 KiB."""

    def __init__(self) -> None:
        self.out, into = os.pipe()
        self.stream = os.fdopen(into, "w")
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
        self.sink = Sink(self.stream)

    def read(self, octets: int) -> bytes:
        """So many octets from the other end."""
        found = b""
        while len(found) < octets:
            found += os.read(self.out, octets - len(found))
        return found

    def close(self) -> None:
        os.close(self.out)
        self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    one = Pipe()
    yield one
    one.close()


def test_lines_are_written_soon_and_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        sink = Sink(stream)
        for number in range(5):
            sink.put(b"%d" % number, urgent=number == 2)
            if number == 2:
                assert (tmp_path / "log").read_text() == "0\n1\n2\n"
        end_s = time.monotonic() + BOUND_S
        while (tmp_path / "log").read_text() != "0\n1\n2\n3\n4\n":
            assert time.monotonic() < end_s


def test_a_reader_that_stops_keeps_nobody_waiting_and_gets_all_in_order_later(pipe: Pipe) -> None:
    lines = [b"%03d " % number + b"x" * 200 for number in range(100)]
    started_s = time.monotonic()
    for line in lines:
        pipe.sink.put(line, urgent=True)
    assert time.monotonic() - started_s < BOUND_S  # it would never come to its end
    assert not pipe.sink.drain()
    expected = b"".join(line + b"\n" for line in lines)
    assert pipe.read(len(expected)) == expected


def test_a_line_longer_than_the_pipe_blocks_nobody(pipe: Pipe) -> None:
    line = b"x" * 10_000
    pipe.sink.put(line, urgent=True)
    assert pipe.read(len(line) + 1) == line + b"\n"


def test_what_no_longer_fits_is_lost_and_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "_WAITING_MAX_OCTETS", 10_000)
    for number in range(1000):
        pipe.sink.put(b"%04d " % number + b"x" * 95, urgent=True)
    reader = os.fdopen(os.dup(pipe.out), "rb")
    kept = []
    while not (line := reader.readline()).startswith(b"{"):
        kept.append(int(line[:4]))
    assert kept == list(range(len(kept)))
    assert 100 < len(kept) < 200
    assert line == b'{"event":"log_lines_lost","lines":%d}\n' % (1000 - len(kept))
    reader.close()


def test_a_stream_that_is_gone_stops_nobody(pipe: Pipe) -> None:
    os.close(pipe.out)
    pipe.out = os.dup(0)
    for _ in range(3):
        pipe.sink.put(b"a line", urgent=True)
    assert pipe.sink.drain()


def test_flush_waits_for_what_another_thread_writes_but_not_for_ever() -> None:
    held = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            held.wait(BOUND_S)
            return super().write(text)

    stream = Slow()
    sink = Sink(stream)
    writer = threading.Thread(target=sink.put, args=(b"first",), kwargs={"urgent": True})
    writer.start()
    sink.flush(0.01)
    held.set()
    sink.flush(BOUND_S)
    writer.join(BOUND_S)
    assert stream.getvalue() == "first\n"
