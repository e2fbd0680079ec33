"""What the store raises; each message says what to do."""


class StoreError(Exception):
    """The store cannot be opened or is not as it must be: the daemon does not start."""


class StoreBusy(Exception):
    """The writer's queue is full, or the database is away for the moment: nothing was written, try again.

    Ingress answers 451 (SMTP), 503 (HTTP) or ESME_RTHROTTLED (SMPP).
    """


class StoreFailed(Exception):
    """The write failed (disk full, I/O error) and was rolled back: nothing was written. Or a read failed."""


class StoreDamaged(StoreFailed):
    """The database is damaged and takes nothing more. Ingress answers 451, 503 or ESME_RSYSERR."""
