"""What a policy answers: `Accept`, or `Refuse` with a reason, a text for the client, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a submission is refused, in the words that clients see and metrics count: a bounded set.

    Each door says it in its own way: a problem over HTTP, a reply over SMTP, a command_status over SMPP.
    """

    INSUFFICIENT_CREDITS = "insufficient_credits"
    """The balance does not cover the whole price (R12)."""
    RATE = "rate"
    """The account sends faster than it may (R29)."""
    NO_RECIPIENTS = "no_recipients"
    NO_ROUTE = "no_route"
    """No upstream serves the recipient."""
    CARD_NUMBER = "card-number"  # written so since the first release
    """The text has a payment card's number in it (R32)."""
    IBAN = "iban"
    """The text has a bank account's number in it (R32)."""

    BAD_SENDER = "bad_sender"
    """The sender of a mail is no address."""
    SENDER_NOT_ALLOWED = "sender_not_allowed"
    """The sender of a mail is of no verified domain of the account."""
    BAD_HEADER = "bad_header"
    BAD_STRUCTURE = "bad_structure"
    FIELD_TOO_LARGE = "field_too_large"

    BAD_NUMBER = "bad_number"
    """The recipient's number is none that an SMS can go to."""
    SENDER_NAME = "sender_name"
    """The sender of an SMS is not allowed: its form (R22), its approval (R23), or the country (R25)."""
    EMPTY_TEXT = "empty_text"
    BAD_TEXT = "bad_text"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Accept:
    """Nothing stands against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Refused; `text` and `advice` may be shown to the client, and hold nothing that is not the client's."""

    reason: Reason
    text: str
    advice: str

    def __str__(self) -> str:
        """The text and the advice as one line."""
        return f"{self.text}; {self.advice}"


Judgement = Accept | Refuse

ACCEPT = Accept()
"""The one `Accept` there needs to be."""
