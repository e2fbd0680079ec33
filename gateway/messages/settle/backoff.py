"""How long to wait before the next attempt."""

import math


def next_delay_s(attempt: int, first_s: float, factor: float, max_s: float, jitter: float, u: float) -> float:
    """Seconds to wait after attempt number `attempt` (the first is 1).

    The wait is `first_s` and grows by `factor` with every attempt, up to `max_s`. A share of it, at random
    but at most `jitter`, is taken off, so that what failed together does not come back together; `u` is the
    caller's random number, 0 <= u < 1.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt}: the first is 1")
    if first_s <= 0 or max_s < first_s or factor < 1 or not 0 <= jitter <= 1 or not 0 <= u < 1:
        raise ValueError(f"{first_s=} {factor=} {max_s=} {jitter=} {u=}: out of range")
    # Compared as logarithms: factor ** attempt overflows long before the attempts end.
    steps = attempt - 1
    capped = factor > 1 and steps * math.log(factor) >= math.log(max_s / first_s)
    whole_s = max_s if capped else min(max_s, first_s * factor**steps)
    return whole_s * (1 - jitter * u)
