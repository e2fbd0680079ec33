"""Which problem an error stands for: those of the services and the store, and what each vertical adds."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.http.wire import kinds
from gateway.http.wire.pointers import FieldError, of_path
from gateway.http.wire.problem import Problem
from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.idempotency import KeyReused

Translations = Mapping[type[Exception], Callable[[Any], Problem]]
"""The problem that an error of a type stands for."""

_RETRY_S = 1
_RETRY_FAILED_S = 5


def problem_of(error: Exception, translations: Translations) -> Problem | None:
    """The problem that `error` stands for; None: a fault of ours."""
    if isinstance(error, Problem):
        return error
    for kind, translate in translations.items():
        if isinstance(error, kind):
            return translate(error)
    return None


def _of_invalid(error: InvalidError) -> Problem:
    field_error = FieldError(
        pointer=of_path(error.field), detail=error.detail.removeprefix(f"{error.field}: ")
    )
    return Problem(kinds.INVALID, error.detail, errors=[field_error])


EVERYWHERE: Translations = {
    NotFoundError: lambda error: Problem(kinds.NOT_FOUND, error.detail),
    ConflictError: lambda error: Problem(kinds.CONFLICT, error.detail),
    LimitError: lambda error: Problem(kinds.LIMIT_REACHED, error.detail),
    InvalidError: _of_invalid,
    KeyReused: lambda error: Problem(kinds.IDEMPOTENCY_KEY_REUSED, f"{error} Use a new key for it."),
    StoreBusy: lambda _error: Problem(kinds.BUSY, retry_after_s=_RETRY_S),
    StoreFailed: lambda _error: Problem(kinds.STORE_FAILED, retry_after_s=_RETRY_FAILED_S),
}
"""What any service may raise."""
