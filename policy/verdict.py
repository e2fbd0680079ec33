"""What a policy answers: `Accept`, or `Refuse` with a reason, a text for the client, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a submission is refused: a bounded set, fit for a metric's label."""

    NUMBER = "number"
    """The recipient's number is none that an SMS can go to."""
    SENDER_NAME = "sender-name"
    """The sender of an SMS is not allowed: its form (R22), its approval (R23), or the country (R25)."""
    CARD_NUMBER = "card-number"
    """The text has a payment card's number in it (R32)."""
    IBAN = "iban"
    """The text has a bank account's number in it (R32)."""
    CREDITS = "credits"
    """The balance does not cover the whole price (R12)."""


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


Verdict = Accept | Refuse

ACCEPT = Accept()
"""The one `Accept` there needs to be."""
