"""What the far ends saw: every copy they took, when, and which of our processes sent it.

A copy is one mail for one recipient, or one part of an SMS for one number. Times are the harness's own
monotonic clock. The process is found by the connection's port, in /proc, so only Linux tells it (0: unknown).
"""

import contextlib
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

_SOCKET = re.compile(r"socket:\[(\d+)\]")
SENDER = "crash"
"""The local part of the envelope sender of every mail: reports come to it."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy. `answered`: the far end said that it took it, or tried to."""

    at_s: float
    pid: int
    answered: bool = True


@dataclass(slots=True)
class Seen:
    """The memory of both far ends, which outlives their deaths."""

    copies: defaultdict[tuple[str, int], list[Copy]] = field(default_factory=lambda: defaultdict(list))
    """By address (a number without its plus sign) and part, from 0."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Refused for good: a 5xx, a command_status that stays."""
    receipts: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The final states that receipts told of a number."""
    reports: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """The Message-IDs of the delivery reports about a recipient, each with its copies."""
    tries: Counter[tuple[str, int]] = field(default_factory=Counter)

    def took(self, address: str, part: int, pid: int, *, answered: bool = True) -> None:
        """One more copy, now."""
        self.copies[address, part].append(Copy(time.monotonic(), pid, answered))

    def took_report(self, content: bytes) -> None:
        """A delivery report (RFC 3464): remembers whom it is about."""
        message = message_from_bytes(content)
        for part in message.walk():
            recipient = part.get("Final-Recipient")
            if recipient is not None:
                address = recipient.partition(";")[2].strip()
                self.reports[address][str(message["Message-ID"]).strip()] += 1

    def arrived(self, address: str) -> bool:
        """Whether any part of it ever came."""
        return any(self.copies.get((address, part)) for part in range(4))


class Senders:
    """Finds which of `pids` has the other end of a connection from this machine."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def pid(self, port: int, own_port: int) -> int:
        """The process whose socket is bound to `port` and connected to `own_port`; 0 where there is none."""
        inode = _inode(port, own_port)
        if inode:
            for pid in self._pids():
                if inode in _inodes(pid):
                    return pid
        return 0


def _inode(port: int, own_port: int) -> str:
    """Of the socket, from /proc/net/tcp: `sl local_address rem_address st … uid timeout inode`."""
    local, remote = f":{port:04X}", f":{own_port:04X}"
    with contextlib.suppress(OSError), Path("/proc/net/tcp").open() as table:
        for line in table:
            fields = line.split(maxsplit=10)
            if fields[1].endswith(local) and fields[2].endswith(remote):
                return fields[9]
    return ""


def _inodes(pid: int) -> set[str]:
    found: set[str] = set()
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - hundreds of small names, at every connection
            with contextlib.suppress(OSError):
                match = _SOCKET.fullmatch(os.readlink(f"{folder}/{name}"))  # noqa: PTH115 - as above
                if match is not None:
                    found.add(match[1])
    return found
