"""What the API answers to an order that cannot be taken."""

from gateway.credits.orders import OrderError
from gateway.http.gate.translate import Translations
from gateway.http.wire import kinds
from gateway.http.wire.pointers import FieldError
from gateway.http.wire.problem import Problem


def _of_order(error: OrderError) -> Problem:
    text = str(error)
    field, colon, rest = text.partition(": ")
    if colon and field.isidentifier():
        return Problem(kinds.INVALID, text, errors=[FieldError(pointer=f"/{field}", detail=rest)])
    return Problem(kinds.CONFLICT, text)


TRANSLATIONS: Translations = {OrderError: _of_order}
