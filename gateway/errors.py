"""What the services of an account's own things raise; each text is for the client and says what to do.

HTTP answers 404, 409, 422 and 403 to them, the command line prints the text and exits 1.
"""


class ServiceError(Exception):
    """The base of them all: `detail` is public text."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class NotFoundError(ServiceError):
    """There is no such thing in this account; one of another account looks just the same (A7)."""


class ConflictError(ServiceError):
    """What was asked does not fit the state of the thing: it exists already, or is closed."""


class LimitError(ServiceError):
    """The account has as many as it may have."""


class InvalidError(ServiceError):
    """A value that cannot be taken; `field` names the parameter."""

    def __init__(self, field: str, detail: str) -> None:
        self.field = field
        super().__init__(f"{field}: {detail}")
