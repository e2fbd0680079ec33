"""Who an SMS may come from, and what is submitted in which country (R22, R23, R25)."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.countries import Confidence, Country, CountryTable, CountryTableError, Names, parse
from policy.data import shipped_countries
from policy.sender_name import Decision, Npi, Ton, Why, check_form, check_name, decide
from policy.verdict import ACCEPT, Reason, Refuse

FALLBACK = "+41791112233"


def entry(names: Names, confidence: Confidence) -> Country:
    """An entry of the table."""
    return Country(names=names, confidence=confidence, as_of=date(2026, 11, 1))


TABLE = CountryTable(
    {
        "FR": entry(Names.FREE, Confidence.SURE),
        "US": entry(Names.NOT_ALLOWED, Confidence.SURE),
        "BE": entry(Names.NOT_ALLOWED, Confidence.LESS_SURE),
        "IN": entry(Names.REGISTRATION, Confidence.SURE),
        "GB": entry(Names.REGISTRATION, Confidence.LESS_SURE),
    }
)
APPROVED = {"Acme", "+41790000000", "12345"}


def ask(requested: str, country: str, **more: Any) -> Decision:
    """A decision with this table and these approved senders."""
    return decide(requested, country, table=TABLE, approved=APPROVED, **more)


@pytest.mark.parametrize("name", ["A", "Acme", "ACME2026", "2cool4you", "abcdefghij"])
def test_r22_letters_and_digits_make_a_sender_name(name: str) -> None:
    """R22: at most 10 alphanumeric characters."""
    assert check_name(name) is ACCEPT


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "is empty"),
        ("Acme Ltd", "has a space in it"),
        ('Ac"me', "has '\"' in it"),
        ("Acme!", "has '!' in it"),
        ("Zürich", "has 'ü' in it"),
        ("Асме", "has 'А' in it"),  # Cyrillic letters that look like Acme
        ("Acme\n", "has '\\n' in it"),
        ("Acme\0", "has '\\x00' in it"),
        ("٣abc", "has '٣' in it"),
        ("123456", "has no letter"),
        ("abcdefghijk", "has 11 characters"),
    ],
)
def test_r22_anything_else_is_refused_with_what_is_wrong(name: str, text: str) -> None:
    """R22: no spaces, quotes or specials, and no eleventh character."""
    verdict = check_name(name)
    assert isinstance(verdict, Refuse)
    assert verdict.reason is Reason.SENDER_NAME
    assert verdict.text == f"the sender {text}"
    assert verdict.advice


def test_r22_the_limit_is_configuration() -> None:
    """R22: GSM allows 11."""
    assert check_name("abcdefghijk", 11) is ACCEPT
    assert isinstance(check_name("abcde", 4), Refuse)


@given(st.text(max_size=14))
def test_r22_a_name_is_taken_exactly_when_the_rule_says_so(name: str) -> None:
    """R22, over any text."""
    good = 1 <= len(name) <= 10 and name.isascii() and name.isalnum() and any(sign.isalpha() for sign in name)
    assert (check_name(name) is ACCEPT) == good


@pytest.mark.parametrize("sender", ["+41791234567", "12345", "Acme"])
def test_r22_a_phone_number_is_the_other_allowed_form(sender: str) -> None:
    """R22: a name or a number."""
    assert check_form(sender) is ACCEPT


@pytest.mark.parametrize("sender", ["0791234567", "+41 79 123 45 67", "+0791234567", "+4179", "12", "٣٣٣"])
def test_a_number_that_is_none_is_refused(sender: str) -> None:
    assert isinstance(check_form(sender), Refuse)


SENT_AS_NAME = ("name", "Acme", Ton.ALPHANUMERIC, Npi.UNKNOWN)
SENT_AS_FALLBACK = ("number", "41791112233", Ton.INTERNATIONAL, Npi.E164)
REJECTED = ("reject", "", Ton.UNKNOWN, Npi.UNKNOWN)


@pytest.mark.parametrize(
    ("country", "fallback", "sent", "why"),
    [
        ("FR", FALLBACK, SENT_AS_NAME, Why.AS_REQUESTED),
        ("ZZ", FALLBACK, SENT_AS_NAME, Why.AS_REQUESTED),
        ("US", FALLBACK, SENT_AS_FALLBACK, Why.COUNTRY),
        ("US", "", REJECTED, Why.COUNTRY),
        ("BE", FALLBACK, SENT_AS_FALLBACK, Why.COUNTRY),
        ("BE", "", SENT_AS_NAME, Why.COUNTRY),
        ("IN", FALLBACK, SENT_AS_FALLBACK, Why.REGISTRATION),
        ("IN", "", SENT_AS_NAME, Why.REGISTRATION),
        ("GB", FALLBACK, SENT_AS_NAME, Why.REGISTRATION),
        ("GB", "", SENT_AS_NAME, Why.REGISTRATION),
    ],
)
def test_r25_the_country_decides_what_an_approved_name_becomes(
    country: str, fallback: str, sent: tuple[str, str, Ton, Npi], why: Why
) -> None:
    """R25: delivery comes first; what was asked for stays on record."""
    decision = ask("Acme", country, fallback_number=fallback)
    assert (decision.action, decision.source, decision.ton, decision.npi) == sent
    assert (decision.why, decision.requested) == (why, "Acme")
    assert (decision.verdict is ACCEPT) == (sent is not REJECTED)


def test_r25_a_name_registered_in_the_country_goes_out_there() -> None:
    """R25: registration."""
    decision = ask("Acme", "IN", fallback_number=FALLBACK, registered=True)
    assert (decision.action, decision.why) == ("name", Why.AS_REQUESTED)


def test_r25_a_route_that_takes_numbers_only_gets_the_fallback_number_or_nothing() -> None:
    """R25: a country/route table decides."""
    with_fallback = ask("Acme", "FR", fallback_number=FALLBACK, names_on_route=False)
    without = ask("Acme", "FR", names_on_route=False)
    assert (with_fallback.source, with_fallback.why) == ("41791112233", Why.ROUTE)
    assert (without.action, without.why) == ("reject", Why.ROUTE)


@pytest.mark.parametrize("country", ["FR", "US", "IN", "ZZ"])
def test_an_approved_number_goes_out_everywhere_as_international(country: str) -> None:
    decision = ask("+41790000000", country, names_on_route=False)
    assert (decision.action, decision.source) == ("number", "41790000000")
    assert (decision.ton, decision.npi) == (1, 1)


def test_an_approved_short_code_goes_out_with_ton_3() -> None:
    decision = ask("12345", "US")
    assert (decision.source, decision.ton, decision.npi) == ("12345", 3, 0)


@pytest.mark.parametrize(
    ("requested", "advice"),
    [
        ("Other", "ask for its approval, or use an approved one"),
        ("ACME", "write it as approved: Acme"),
        ("+41790000001", "ask for its approval, or use an approved one"),
    ],
)
def test_r23_a_sender_that_is_not_approved_is_rejected(requested: str, advice: str) -> None:
    """R23: validated before use."""
    decision = ask(requested, "FR", fallback_number=FALLBACK)
    assert (decision.action, decision.why, decision.advice) == ("reject", Why.NOT_APPROVED, advice)


def test_r23_numbers_may_be_let_through_without_approval() -> None:
    """R23: configuration, and the operator's own fallback number always."""
    assert ask("+41790000001", "FR", numbers_need_approval=False).action == "number"
    assert ask("Other", "FR", numbers_need_approval=False).why is Why.NOT_APPROVED
    assert ask(FALLBACK, "FR", fallback_number=FALLBACK).why is Why.AS_REQUESTED


def test_a_sender_of_the_wrong_form_is_rejected_before_anything_else() -> None:
    decision = ask("Acme Ltd", "FR", fallback_number=FALLBACK)
    assert (decision.action, decision.why) == ("reject", Why.FORM)
    verdict = decision.verdict
    assert isinstance(verdict, Refuse)
    assert str(verdict) == "the sender has a space in it; use only the letters A to Z and digits"


def test_no_sender_at_all_is_the_fallback_number_or_a_rejection() -> None:
    assert ask("", "FR", fallback_number=FALLBACK).source == "41791112233"
    assert ask("", "FR").why is Why.NONE_REQUESTED


@given(
    st.sampled_from(["", "Acme", "ACME", "Acme Ltd", "12345", "+41790000000", "x" * 11]),
    st.sampled_from(["FR", "US", "BE", "IN", "GB", "ZZ"]),
    st.sampled_from(["", FALLBACK]),
    st.booleans(),
    st.booleans(),
)
def test_r25_every_decision_is_whole(
    requested: str, country: str, fallback: str, registered: bool, on_route: bool
) -> None:
    """R25: something that can be submitted, or a rejection that says why."""
    decision = ask(
        requested, country, fallback_number=fallback, registered=registered, names_on_route=on_route
    )
    assert decision.requested == requested
    if decision.action == "reject":
        assert decision.text
        assert decision.advice
        assert not decision.source
    else:
        assert decision.source
        assert (decision.ton is Ton.ALPHANUMERIC) == (decision.action == "name")
        assert "+" not in decision.source


def test_the_shipped_table_says_what_is_known_of_countries() -> None:
    """R25: data with its date and confidence."""
    table = shipped_countries()
    assert table.of("US") == entry(Names.NOT_ALLOWED, Confidence.SURE)
    assert table.of("IN") == entry(Names.REGISTRATION, Confidence.SURE)
    assert table.of("BR") == entry(Names.NOT_ALLOWED, Confidence.LESS_SURE)
    for code in ("CH", "IT", "ES"):
        assert table.of(code) is not None
    assert len(table.entries) > 50


def test_an_operators_table_is_laid_over_the_shipped_one() -> None:
    own = parse('CH = { names = "registration", confidence = "sure", as_of = 2027-01-31 }')
    table = own.over(shipped_countries())
    row = table.of("CH")
    assert row is not None
    assert (row.names, row.as_of) == (Names.REGISTRATION, date(2027, 1, 31))
    assert table.of("US") == shipped_countries().of("US")


def test_a_table_with_faults_names_them_all() -> None:
    text = """
    ch = { names = "free", confidence = "sure", as_of = 2026-11-01 }
    FR = { names = "fre", confidence = "sure", as_of = 2026-11-01 }
    DE = { names = "free", confidence = "sure", as_of = "yesterday" }
    IT = { names = "free" }
    """
    with pytest.raises(CountryTableError) as caught:
        parse(text)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["ch", "FR", "DE", "IT"]
    with pytest.raises(CountryTableError):
        parse("CH = ")
