"""What can go wrong under a command, as text for the operator: one line (one per fault of a configuration).

`explain` knows the exceptions of every layer below the command line; the rest is a fault of the program.
"""

import os
import sqlite3

from sqlalchemy.exc import DBAPIError

from config import ConfigError
from gateway.errors import ServiceError
from gateway.store.errors import StoreBusy, StoreError, StoreFailed
from gateway.tls import CertificateError

TRACEBACK_VARIABLE = "GATEWAY_TRACEBACK"
"""Set to 1 to have the traceback of what should never happen."""

_LOCKED = (
    "The database is locked by another program. Try again in a moment; look for a copy or backup under way."
)
_BROKEN = "Restore it from a backup, or move it away to start with an empty one."


class CliError(Exception):
    """A command that cannot be done: the text says why and what to do."""


def explain(error: BaseException) -> str | None:
    """The text for `error`, None for what nobody foresaw."""
    if _is_locked(error):
        return _LOCKED
    match error:
        case ConfigError():
            return _config(error)
        case CliError() | ServiceError() | StoreError() | CertificateError():
            return " ".join(str(error).split())
        case StoreFailed() | StoreBusy():
            return f"{error} Nothing was changed."
        case DBAPIError():
            return f"The database cannot be used ({error.orig}). {_BROKEN}"
        case sqlite3.DatabaseError():
            return f"The database cannot be used ({error}). {_BROKEN}"
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}. Check the path and its owner."
        case _:
            return None


def unforeseen(error: BaseException) -> str:
    """The line for what nobody foresaw."""
    text = " ".join(str(error).split())
    return (
        f"unexpected fault ({type(error).__name__}: {text}). This is a fault of the gateway: "
        f"please report it, with what {TRACEBACK_VARIABLE}=1 shows."
    )


def wants_traceback() -> bool:
    """Whether the operator asked for the traceback of unforeseen faults."""
    return os.environ.get(TRACEBACK_VARIABLE, "") not in {"", "0"}


def _config(error: ConfigError) -> str:
    if len(error.faults) == 1 and error.faults[0].key_path.startswith(error.source):
        return str(error.faults[0])
    return str(error)


def _is_locked(error: BaseException | None) -> bool:
    """Whether a lock that did not come free is behind it."""
    while error is not None:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return True
        error = error.__cause__
    return False
