"""What may not be sent and can be detected: payment card numbers and bank account numbers (R32).

A card number is 13 to 19 digits (ISO/IEC 7812-1), together or in the groups that cards show, whose first
digit is a payment industry's and whose last is right by Luhn. An IBAN (ISO 13616) has its country's length
and a remainder of 1 modulo 97. Both checks begin with one look that ordinary text fails within a
microsecond. Time is linear in the text, and a text with more than 1,000 candidates counts as one that holds
what is looked for: a tenth of random digits is right by Luhn, a hundredth by MOD 97.
"""

import re
from collections.abc import Callable, Collection

from policy.engine import Channel, Submission
from policy.verdict import ACCEPT, Judgement, Reason, Refuse

_DIGITS = b"0123456789"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = bytes(
    ord("9") if octet in _DIGITS else ord("A") if octet in _LETTERS else ord(".") for octet in range(256)
)
"""Translates a text to its shape: 9 for each digit, A for each letter."""

_CANDIDATES_MAX = 1000

_CARD_START = re.compile(
    r"(?<![0-9])(?=[2-6][0-9]{3}(?:[0-9]{9}|[ -][0-9]{4}[ -][0-9]{4}[ -]|[ -][0-9]{6}[ -]|[0-9]{2}[ -]))"
)
"""Where a card's number may begin. First digits of travel, banking and merchandising (ISO/IEC 7812-1 section
4): an EAN or ISBN begins with 9, a time in milliseconds with 1, and neither is taken for a card."""
_CARDS = tuple(
    re.compile(rf"{digits}(?![0-9])")
    for digits in (
        r"[0-9]{13,19}",
        r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,4}",
        r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,3}",
        r"[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}",
        r"[0-9]{6}[ -][0-9]{13}",
    )
)
"""How cards group their digits: so a table of phone numbers is not taken for cards."""
_ALONE = bytes(range(10))
_DOUBLED = bytes(2 * digit - 9 * (digit > 4) for digit in range(10))
_VALUES, _DOUBLED_VALUES = (bytes(48) + values + bytes(198) for values in (_ALONE, _DOUBLED))
"""What a digit's octet adds to Luhn's sum where it stands alone, and where it counts twice."""

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
_COUNTRIES = "|".join(
    f"[{first}{first.lower()}][{seconds}{seconds.lower()}]"
    for first, seconds in (
        (first, "".join(country[1] for country in _LENGTHS if country[0] == first))
        for first in sorted({country[0] for country in _LENGTHS})
    )
)
_IBAN = re.compile(
    r"(?=[A-Za-z]{2}[0-9]{2})(?<![0-9A-Za-z])"
    rf"(?=((?:{_COUNTRIES})[0-9]{{2}}(?: ?[0-9A-Za-z]){{11,30}}))"
)


def has_card_number(text: str) -> bool:
    """Whether a payment card's number is in the text."""
    if b"9999999999999" not in text.encode("utf-8", "replace").translate(_SHAPE, b" -"):
        return False
    starts = enumerate(_CARD_START.finditer(text))
    return any(number >= _CANDIDATES_MAX or _is_card(text, found.start()) for number, found in starts)


def has_iban(text: str) -> bool:
    """Whether a bank account's IBAN is in the text."""
    if b"AA99" not in text.encode("utf-8", "replace").translate(_SHAPE):
        return False
    return any(
        number >= _CANDIDATES_MAX or _is_iban(found[1].replace(" ", "").upper())
        for number, found in enumerate(_IBAN.finditer(text))
    )


def sensitive_numbers(
    *, cards: Collection[Channel], ibans: Collection[Channel]
) -> Callable[[Submission], Judgement]:
    """The policy that refuses card numbers and IBANs in the texts of the channels given (R32)."""

    def policy(submission: Submission) -> Judgement:
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


def _is_card(text: str, start: int) -> bool:
    """Whether a card's number stands at `start`, in one of the groupings that cards have."""
    found = (form.match(text, start) for form in _CARDS)
    return any(_luhn(one[0].encode().translate(None, b" -")) for one in found if one is not None)


def _luhn(digits: bytes) -> bool:
    """Whether the last digit is right (ISO/IEC 7812-1 annex B)."""
    alone, doubled = digits[::-2].translate(_VALUES), digits[-2::-2].translate(_DOUBLED_VALUES)
    return (sum(alone) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Whether the text starts with an IBAN of its country's length (ISO 13616, ISO 7064 MOD 97-10)."""
    length = _LENGTHS.get(text[:2], 0)
    if not length or len(text) < length:
        return False
    turned = text[4:length] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1
