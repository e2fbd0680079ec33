"""What a start needs before anything runs: store, certificate, countries; errors say what to do."""

import errno
import ssl
from datetime import UTC, datetime

from config.schema import Settings
from gateway import tls
from gateway.listeners import that_need_tls
from gateway.observe.metrics import Metrics
from gateway.store.errors import StoreError
from gateway.store.store import Store
from gateway.verticals import EVENT_LISTENERS
from policy.countries import CountryTable, CountryTableError
from policy.countries import parse as parse_countries
from policy.data import shipped_countries


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


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The doors' context; None where no door needs one and no certificate is there. Raises StartError."""
    if not any(that_need_tls(settings)) and not settings.tls.certificate.exists():
        return None
    try:
        return tls.server_context(settings.tls, now=datetime.now(UTC))
    except tls.CertificateError as error:
        raise StartError(str(error)) from error


def country_table(settings: Settings) -> CountryTable:
    """The shipped table, the operator's laid over it (R25). Raises StartError."""
    path = settings.sender_name.countries_file
    if path is None:
        return shipped_countries()
    try:
        return parse_countries(path.read_text(encoding="utf-8")).over(shipped_countries())
    except (OSError, UnicodeDecodeError, CountryTableError) as error:
        raise StartError(f"sender_name.countries_file: {path}: {error}") from error


class naming:  # noqa: N801 - reads as a word in `with naming(…)`
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
