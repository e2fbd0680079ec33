"""Numbers as people write them become E.164, or are refused with what is wrong."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.phone import Number, _parse_any, _parse_usual, parse
from policy.verdict import Reason, Refuse


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+41791234567", Number("+41791234567", "CH")),
        ("0041791234567", Number("+41791234567", "CH")),
        ("+41 79 123 45 67", Number("+41791234567", "CH")),
        (" +41 (0)79 123-45.67 ", Number("+41791234567", "CH")),
        ("+41\u00a079\u00a0123\u00a045\u00a067", Number("+41791234567", "CH")),
        ("+390612345678", Number("+390612345678", "IT")),
        ("+12025550123", Number("+12025550123", "US")),
        ("+16135550123", Number("+16135550123", "CA")),
        ("+15551234567", Number("+15551234567", "US")),
        ("+447400123456", Number("+447400123456", "GB")),
        ("+447797712345", Number("+447797712345", "JE")),
        ("+88212345678", Number("+88212345678", "001")),
        ("+491512345678901", Number("+491512345678901", "DE")),  # 15 digits, the most there are
        ("+49 0151 23456789", Number("+4915123456789", "DE")),  # a 0 for calls within the country
        ("+410791234567", Number("+41791234567", "CH")),
        ("+39 06 6982", Number("+39066982", "VA")),  # a 0 that belongs to the number
        ("+2250123456789", Number("+2250123456789", "CI")),
    ],
)
def test_a_number_is_taken_however_it_is_written(text: str, number: Number) -> None:
    assert parse(text) == number


def test_a_national_number_needs_a_default_country() -> None:
    assert parse("079 123 45 67", "CH") == Number("+41791234567", "CH")
    assert parse("+33612345678", "CH") == Number("+33612345678", "FR")
    refused = parse("079 123 45 67")
    assert isinstance(refused, Refuse)
    assert refused.text == "the recipient's number has no country code"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no phone number"),
        ("Acme", "is no phone number"),
        ("+41 79 ABC", "is no phone number"),
        ("+4179123456\0", "is no phone number"),
        ("+41791234567\n+33612345678", "is no phone number"),
        ("+" + "1" * 100, "is no phone number"),
        ("+41٧٩١٢٣٤٥٦٧", "is no phone number"),
        ("41791234567", "has no country code"),
        ("+999123456789", "has no country code that exists"),
        ("+0041791234567", "has no country code that exists"),
        ("+4179", "is too short"),
        ("+417912345678901", "is too long"),
        ("+4915123456789012", "is too long"),  # 16 digits, which German plans would allow
        ("+49 1512 3456789 0123", "is too long"),
        ("004930123456789012", "is too long"),
        ("+41079123456", "has a 0 after its country code"),
        ("+41", "is no phone number"),
        ("++41791234567++", "is no phone number"),
    ],
)
def test_a_number_that_is_none_is_refused_with_the_reason(text: str, why: str) -> None:
    refused = parse(text)
    assert isinstance(refused, Refuse)
    assert (refused.reason, refused.text) == (Reason.BAD_NUMBER, f"the recipient's number {why}")
    assert "+41791234567" in refused.advice


@given(st.text(max_size=40) | st.text(alphabet="+0123456789 ()-", max_size=25))
def test_any_text_is_a_number_or_a_refusal_and_no_number_changes_when_parsed_again(text: str) -> None:
    """A7: no input, however broken, ends anything."""
    answer = parse(text)
    if isinstance(answer, Number):
        assert parse(answer.e164) == answer


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_the_glance_agrees_with_the_full_parse_in_every_country(region: str) -> None:
    examples = [
        phonenumbers.example_number_for_type(region, kind)
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    ]
    for example in filter(None, examples):
        e164 = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        seen = _parse_usual(e164)
        assert _parse_any(e164, "") == parse(e164)
        assert seen is None or seen == _parse_any(e164, "")


@given(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)),
    st.text(alphabet="0123456789", min_size=4, max_size=13),
)
def test_the_glance_never_takes_what_the_full_parse_would_change_or_refuse(code: int, rest: str) -> None:
    e164 = f"+{code}{rest}"
    seen = _parse_usual(e164) if 8 <= len(e164) <= 16 else None
    assert seen is None or seen == _parse_any(e164, "")


def test_the_usual_mobile_number_needs_only_a_glance() -> None:
    for e164 in ("+41791234567", "+12025550123", "+447400123456", "+393123456789", "+4915123456789"):
        assert _parse_usual(e164) is not None
