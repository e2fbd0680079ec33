"""What the process asks of its allocator and of its garbage collector, for a long life and large mail."""

import ctypes
import gc

_M_MMAP_THRESHOLD = -3  # mallopt(3), glibc
_LARGE_OCTETS = 1 << 20
_THRESHOLDS = (20_000, 20, 20)


def return_large_blocks() -> None:
    """Has every block of 1 MiB and more given back to the system when it is freed.

    glibc raises that size by itself after the first large block, and then keeps what large mails left behind,
    in pieces: several times what was ever in use at once. Elsewhere there is nothing to ask for.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_OCTETS)


def collect_seldom() -> None:
    """After the start: what is there now stays, and is looked at no more; the rest is looked at seldom.

    Messages die by their reference counts. With Python's own thresholds (700, 10, 10) the search for cycles,
    of which there are few, takes a tenth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
