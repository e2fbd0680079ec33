"""What may not be sent and can be detected: payment card numbers and bank account numbers (R32).

A card number is 13 to 19 digits (ISO/IEC 7812-1), together or in the groups that cards show, whose first
digit is a payment industry's and whose last is right by Luhn. An IBAN (ISO 13616) has its country's length
and a remainder of 1 modulo 97. Both checks begin with one look that ordinary text fails within a
microsecond.
"""

import re
from collections.abc import Callable, Collection

from policy.engine import Channel, Submission
from policy.verdict import ACCEPT, Reason, Refuse, Verdict

_DIGITS = b"0123456789"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = bytes(
    ord("9") if octet in _DIGITS else ord("A") if octet in _LETTERS else ord(".") for octet in range(256)
)
"""Translates a text to its shape: 9 for each digit, A for each letter."""

_RUN = re.compile(r"[0-9](?:[ -]?[0-9]){12,}")
_GROUP = re.compile(r"[0-9]+")
_INDUSTRIES = "23456"
"""First digits of travel, banking and merchandising (ISO/IEC 7812-1 section 4). An EAN or ISBN begins with 9,
a time in milliseconds with 1: neither is taken for a card."""
_GROUPINGS = {
    *((length,) for length in range(13, 20)),
    *((4, 4, 4, last) for last in (1, 2, 3, 4)),
    *((4, 4, 4, 4, last) for last in (1, 2, 3)),
    (4, 6, 5),
    (4, 6, 4),
    (6, 13),
}
"""How cards group their digits: so a table of phone numbers is not taken for cards."""

_IBAN = re.compile(r"(?<![0-9A-Za-z])(?=([A-Za-z]{2}[0-9]{2}(?: ?[0-9A-Za-z]){11,30}))")

# SWIFT's IBAN registry: the length in each country.
_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip


def has_card_number(text: str) -> bool:
    """Whether a payment card's number is in the text."""
    if b"9999999999999" not in text.encode("utf-8", "replace").translate(_SHAPE, b" -"):
        return False
    return any(_is_card(run[0]) for run in _RUN.finditer(text))


def has_iban(text: str) -> bool:
    """Whether a bank account's IBAN is in the text."""
    if b"AA99" not in text.encode("utf-8", "replace").translate(_SHAPE):
        return False
    return any(_is_iban(found[1].replace(" ", "").upper()) for found in _IBAN.finditer(text))


def sensitive_numbers(
    *, cards: Collection[Channel], ibans: Collection[Channel]
) -> Callable[[Submission], Verdict]:
    """The policy that refuses card numbers and IBANs in the texts of the channels given (R32)."""

    def policy(submission: Submission) -> Verdict:
        if submission.channel in cards and any(map(has_card_number, submission.texts)):
            return _refuse(Reason.CARD_NUMBER, "a payment card's number")
        if submission.channel in ibans and any(map(has_iban, submission.texts)):
            return _refuse(Reason.IBAN, "a bank account's number (IBAN)")
        return ACCEPT

    return policy


def _refuse(reason: Reason, what: str) -> Refuse:
    """A refusal that does not repeat what was found."""
    return Refuse(
        reason=reason,
        text=f"the text holds {what}",
        advice="take it out: sensitive personal data is not to be sent",
    )


def _is_card(run: str) -> bool:
    """Whether some groups of a run of digits are a card's number."""
    groups = _GROUP.findall(run)
    for first in range(len(groups)):
        for count in range(1, min(5, len(groups) - first) + 1):
            number = groups[first : first + count]
            if (
                number[0][0] in _INDUSTRIES
                and tuple(map(len, number)) in _GROUPINGS
                and _luhn("".join(number))
            ):
                return True
    return False


def _luhn(digits: str) -> bool:
    """Whether the last digit is right (ISO/IEC 7812-1 annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_iban(text: str) -> bool:
    """Whether the text starts with an IBAN of its country's length (ISO 13616, ISO 7064 MOD 97-10)."""
    length = _LENGTHS.get(text[:2], 0)
    if not length or len(text) < length:
        return False
    turned = text[4:length] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1
