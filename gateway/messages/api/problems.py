"""What the API answers to a message that is not accepted, by the reason that its verdict gives."""

from gateway.http.gate.translate import Translations
from gateway.http.wire import kinds
from gateway.http.wire.kinds import Kind
from gateway.http.wire.pointers import FieldError, of_path
from gateway.http.wire.problem import Problem
from gateway.messages.accept.acceptor import KeyInUse
from gateway.messages.model import Verdict
from policy.verdict import Reason

_RETRY_S = 1

FIELD_TOO_LARGE = Kind(
    Reason.FIELD_TOO_LARGE, 413, "A field of the mail is too large", "Shorten what `errors` points to."
)
INSUFFICIENT_CREDITS = Kind(
    Reason.INSUFFICIENT_CREDITS, 402, "Not enough credits", "Buy credits or turn on auto-recharge."
)
SENDER_NOT_ALLOWED = Kind(
    Reason.SENDER_NOT_ALLOWED,
    403,
    "The sender is not allowed",
    "Add and verify the sender's domain under /v1/domains.",
)
BAD_SENDER = Kind(Reason.BAD_SENDER, 422, "The sender is not an address", "Correct `from`.")
BAD_HEADER = Kind(Reason.BAD_HEADER, 422, "The mail's header is faulty", "Correct what `detail` names.")
BAD_STRUCTURE = Kind(
    Reason.BAD_STRUCTURE, 422, "The mail has too many parts", "Send fewer parts, nested less deeply."
)
BAD_NUMBER = Kind(
    Reason.BAD_NUMBER, 422, "Not a phone number", "Write it in international form, such as +41791234567."
)
BAD_TEXT = Kind(Reason.BAD_TEXT, 422, "The text cannot be sent", "Take out what `detail` names.")
EMPTY_TEXT = Kind(Reason.EMPTY_TEXT, 422, "The text is empty", "Write at least one character.")
TOO_LONG = Kind(Reason.TOO_LONG, 422, "The text is too long", "Shorten it, or send it as several messages.")
SENDER_NAME = Kind(
    Reason.SENDER_NAME,
    422,
    "The sender cannot be used",
    "Use an approved SenderName or number (see /v1/sendernames).",
)
NO_RECIPIENTS = Kind(Reason.NO_RECIPIENTS, 422, "No recipient", "Name at least one recipient.")
NO_ROUTE = Kind(Reason.NO_ROUTE, 422, "No route to a recipient", "Ask the operator whether it can be served.")
CARD_NUMBER = Kind(
    Reason.CARD_NUMBER, 422, "A card number in the text", "Take it out: it is sensitive personal data."
)
IBAN = Kind(
    Reason.IBAN, 422, "A bank account's number in the text", "Take it out: it is sensitive personal data."
)
NOT_ACCEPTED = Kind("not_accepted", 422, "Not accepted", "`detail` says why.")
NONE_ACCEPTED = Kind("none_accepted", 422, "No item was accepted", "Each of `items` has its own problem.")

EVERY = (
    FIELD_TOO_LARGE,
    INSUFFICIENT_CREDITS,
    SENDER_NOT_ALLOWED,
    BAD_SENDER,
    BAD_HEADER,
    BAD_STRUCTURE,
    BAD_NUMBER,
    BAD_TEXT,
    EMPTY_TEXT,
    TOO_LONG,
    SENDER_NAME,
    NO_RECIPIENTS,
    NO_ROUTE,
    CARD_NUMBER,
    IBAN,
    NOT_ACCEPTED,
    NONE_ACCEPTED,
)

_BY_REASON = {kind.reason: kind for kind in (*EVERY, *kinds.EVERY)}


def of_verdict(verdict: Verdict) -> Problem:
    """The problem of a submission that was refused."""
    detail = verdict.detail or ""
    errors = [FieldError(pointer=of_path(verdict.field), detail=detail)] if verdict.field else []
    return Problem(kind_of(verdict.refused), detail, errors=errors)


def kind_of(reason: str | None) -> Kind:
    """The kind that a verdict's reason stands for."""
    return _BY_REASON.get(reason or "", NOT_ACCEPTED)


TRANSLATIONS: Translations = {
    KeyInUse: lambda error: Problem(kinds.IDEMPOTENCY_KEY_IN_USE, str(error), retry_after_s=_RETRY_S),
}
