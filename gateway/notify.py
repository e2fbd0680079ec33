"""What systemd is told (sd_notify(3)): that the doors are open, that the loop turns, that the stop has begun.

Nothing is told where nobody asked: without NOTIFY_SOCKET in the environment every call does nothing.
"""

import os
import socket
from collections.abc import Mapping

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


class Notifier:
    """Sends states to the service manager; a message that cannot be sent is not sent again."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def tell(self, state: str) -> None:
        """Tells one state."""
        if self._socket is not None:
            try:
                self._socket.sendto(state.encode(), self._address)
            except OSError:
                return  # its queue is full, or it is gone: the next beat says the same
