"""What every start shares: where the doors are, the store, and errors that say what to do."""

import errno

from config.schema import Settings
from gateway.observe.metrics import Metrics
from gateway.store.errors import StoreError
from gateway.store.store import Store
from gateway.verticals import EVENT_LISTENERS


class StartError(Exception):
    """The daemon cannot start; the text says why and what to do."""


def open_store(settings: Settings, metrics: Metrics, *, exclusive: bool = True) -> Store:
    """The store of a daemon; raises StartError."""
    try:
        return Store.open(
            settings.store.url,
            password=settings.store.password,
            batch_max=settings.store.batch_max,
            queue_max=settings.store.queue_max,
            lease_s=settings.store.lease_s,
            busy_timeout_s=settings.store.busy_timeout_s,
            exclusive=exclusive,
            listeners=EVENT_LISTENERS,
            observe=metrics.commit,
        )
    except StoreError as error:
        raise StartError(str(error)) from error


class naming:  # noqa: N801 - reads as a word in `with _naming(…)`
    """Turns the OSError of a listener into a StartError that names the key."""

    def __init__(self, key: str, host: str, port: int) -> None:
        self._key, self._host, self._port = key, host, port

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        reason = getattr(error, "socketError", error)  # Twisted wraps it in CannotListenError
        if not isinstance(reason, OSError):
            return
        where = f"{self._key}: {self._host}:{self._port}"
        if reason.errno == errno.EADDRINUSE:
            text = (
                f"{where} is in use by another program. Stop that program, or set {self._key} to a free port."
            )
        elif reason.errno in {errno.EACCES, errno.EPERM}:
            text = (
                f"{where} is not allowed for this user. Choose a port above 1023, or grant the right to bind."
            )
        else:
            text = f"{where} cannot be listened on ({reason.strerror or reason})."
        raise StartError(text) from error
