"""Ports for servers that are started here, by the benchmark and by tests."""

import random
import socket
import time

_BELOW_OUTGOING = (10_000, 32_000)  # the system gives connections ports above these

_rng = random.SystemRandom()  # processes that are seeded alike do not meet
_given: set[int] = set()


def free_port() -> int:
    """A port that is free now, below those that the system gives to outgoing connections; never one twice."""
    while True:
        port = _rng.randrange(*_BELOW_OUTGOING)
        if port in _given:
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        _given.add(port)
        return port


def wait_for_port(port: int, *, within_s: float = 30.0) -> None:
    """Returns when somebody listens there. Raises TimeoutError."""
    end = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listens on port {port}") from None
            time.sleep(0.05)
        else:
            return
