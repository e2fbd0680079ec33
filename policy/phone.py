"""Recipients' numbers: from what people write to E.164 (`+41791234567`), with the country.

`parse` takes `+41 79 123 45 67`, `0041791234567` and, where a default country is given, `079 123 45 67`. It
asks whether a number is possible (its country exists and its length fits), not whether it is in a range that
has been assigned: the ranges grow faster than any table of them. Rules and lengths are those of the
phonenumbers library.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, ValidationResult

from policy.verdict import Reason, Refuse

_LONGEST = 64
_LONGEST_E164 = 16  # ITU-T E.164 section 6.1: at most 15 digits, here with the "+"
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_SIGNS = re.compile(r"\+?[0-9()./ \u00a0-]+\Z")
_WHY = {
    ValidationResult.INVALID_COUNTRY_CODE: "has no country code that exists",
    ValidationResult.TOO_SHORT: "is too short",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
    ValidationResult.TOO_LONG: "is too long",
    ValidationResult.INVALID_LENGTH: "has a length that its country does not use",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is dialled from anywhere, and the country it belongs to.

    `country` is two letters (ISO 3166-1), or "001" for the networks that belong to none.
    """

    e164: str
    country: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a country code's numbers look like: enough to take the usual number without the full parse."""

    region: str
    alone: bool
    lengths: frozenset[int]
    trunk: re.Pattern[str] | None
    mobile: re.Pattern[str]


@lru_cache(maxsize=32_768)
def parse(text: str, default_country: str = "") -> Number | Refuse:
    """The number, or why it is none. Answers are remembered: a number seen lately costs next to nothing."""
    if _INTERNATIONAL.match(text):
        number = _parse_usual(text)
        if number is not None:
            return number
    return _parse_any(text, default_country)


def _parse_usual(e164: str) -> Number | None:
    """The number if a glance at its country's plan is enough to be sure; the full parse says the same."""
    for digits in (1, 2, 3):
        plan = _plan(e164[1 : 1 + digits])
        if plan is not None:
            national = e164[1 + digits :]
            fits = len(national) in plan.lengths and not (plan.trunk and plan.trunk.match(national))
            sure = plan.alone or plan.mobile.fullmatch(national)
            return Number(e164, plan.region) if fits and sure else None
    return None


@lru_cache(maxsize=1000)
def _plan(country_code: str) -> _Plan | None:
    """The plan of a country code, None where there is none; of the main country where several share it."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(country_code))
    if not regions:
        return None
    metadata = PhoneMetadata.metadata_for_region(regions[0], None)
    if metadata is None or metadata.general_desc is None or metadata.mobile is None:
        return None  # a network that belongs to no country: left to the full parse
    trunk = metadata.national_prefix_for_parsing
    return _Plan(
        region=regions[0],
        alone=len(regions) == 1,
        lengths=frozenset(metadata.general_desc.possible_length),
        trunk=re.compile(trunk) if trunk else None,
        mobile=re.compile(metadata.mobile.national_number_pattern or r"(?!)"),
    )


def _parse_any(text: str, default_country: str) -> Number | Refuse:
    """The number by the library's full parse."""
    text = text.strip()
    if not text or len(text) > _LONGEST or not _SIGNS.match(text):
        return _refuse("is no phone number")
    if text.startswith("00"):  # ITU-T E.164: the international prefix of most countries
        text = f"+{text[2:]}"
    if not text.startswith("+") and not default_country:
        return _refuse("has no country code")
    try:
        number = phonenumbers.parse(text, default_country or None)
    except phonenumbers.NumberParseException as error:
        return _refuse(_why_unparsed(error))
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != ValidationResult.IS_POSSIBLE:
        return _refuse(_WHY[possible])
    country = _country(number)
    if number.italian_leading_zero and _has_trunk_zero(country):
        return _refuse("has a 0 after its country code")
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if len(e164) > _LONGEST_E164:
        return _refuse("is too long")
    return Number(e164, country)


@lru_cache(maxsize=1000)
def _has_trunk_zero(country: str) -> bool:
    """Whether a 0 before the area code is for calls within the country alone, and no part of a number."""
    metadata = PhoneMetadata.metadata_for_region(country, None)
    return metadata is not None and metadata.national_prefix == "0"


def _country(number: PhoneNumber) -> str:
    """The country of a number; where its range is unknown, the main country of its country code."""
    region = phonenumbers.region_code_for_number(number)
    return region or phonenumbers.region_code_for_country_code(number.country_code or 0)


def _why_unparsed(error: phonenumbers.NumberParseException) -> str:
    """What is wrong with a text the library cannot read, in our words."""
    return {
        phonenumbers.NumberParseException.INVALID_COUNTRY_CODE: "has no country code that exists",
        phonenumbers.NumberParseException.TOO_LONG: "is too long",
        phonenumbers.NumberParseException.TOO_SHORT_AFTER_IDD: "is too short",
        phonenumbers.NumberParseException.TOO_SHORT_NSN: "is too short",
    }.get(error.error_type, "is no phone number")


def _refuse(why: str) -> Refuse:
    """A refusal; the number itself is not repeated, since texts of refusals reach logs."""
    return Refuse(
        reason=Reason.BAD_NUMBER,
        text=f"the recipient's number {why}",
        advice="write it with its country code, for example +41791234567",
    )
