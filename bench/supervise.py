"""A nanny for one server: `python -m bench.supervise COMMAND…` runs it and loses none of its CPU time.

Every process that the command leaves behind becomes a child of this one (PR_SET_CHILD_SUBREAPER) and is
waited for, so that its time stands in this process's own account of dead children. SIGTERM and SIGINT are
passed on, and SIGTERM comes by itself when the harness dies. When the command has ended, or has not 20 s
after the signal, whatever is left running is killed by its id.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 20


def children() -> list[int]:
    """The live children of this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def reap() -> None:
    """Wait for every child that there is."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def kill_rest(_signal: int = 0, _frame: object = None) -> None:
    """SIGKILL to whatever is left."""
    for pid in children():
        os.kill(pid, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run the command to its end; its exit code."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) or prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    pid = os.posix_spawnp(command[0], command, os.environ)

    def pass_on(number: int, _frame: object) -> None:
        signal.alarm(_PATIENCE_S)
        os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    signal.signal(signal.SIGALRM, kill_rest)
    status = 0
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            break
    kill_rest()
    reap()
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
