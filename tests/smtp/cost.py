"""Whether work grows no faster than its input: CPU time of a size against that of ten times the size."""

from __future__ import annotations

import time
from collections.abc import Callable

_FLOOR_S = 0.02  # below it the clock tells nothing
_FACTOR = 40  # ten times the input may take this much longer; quadratic work takes a hundred times


def assert_linear(run: Callable[[int], object], *sizes: int) -> None:
    """Runs each of the sizes and ten times it; the first of them bounds what exponential work may take."""
    for size in sizes:
        small, large = _cpu_s(run, size), _cpu_s(run, 10 * size)
        assert large <= max(_FLOOR_S, _FACTOR * small), f"{size}: {small:.4f} s, ten times it: {large:.4f} s"


def _cpu_s(run: Callable[[int], object], size: int) -> float:
    """The least of three: what else the machine does only adds."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        run(size)
        seconds.append(time.process_time() - began)
    return min(seconds)
