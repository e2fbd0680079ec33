"""Card numbers and IBANs are found, and other numbers are left alone (R32)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.acceptable_use import has_card_number, has_iban, sensitive_numbers
from policy.engine import Channel, Submission, judge
from policy.verdict import ACCEPT, Reason, Refuse

VISA = "4111111111111111"
IBAN = "CH9300762011623852957"


@pytest.mark.parametrize(
    "text",
    [
        VISA,
        "my card is 4111 1111 1111 1111.",
        "card:4111-1111-1111-1111,exp 12/29",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "3782 822463 10005",
        "30569309025904",
        "6011111111111117",
        "3530 1113 3330 0000",
        "4222222222222",
        "on 2024 4111 1111 1111 1111",
        "1234 5678 4111 1111 1111 1111 0000",
        "Ünïcödé 4111111111111111 ✓",
    ],
)
def test_r32_a_card_number_is_found_however_it_is_grouped(text: str) -> None:
    """R32: Luhn-checked card numbers."""
    assert has_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Your code is 123456",
        "4111111111111112",
        "41111111111111",
        "call +41 79 123 45 67 or 079 555 44 33",
        "1700000000000 1700000000007",
        "ISBN 9783161484100",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "4111111111111111" + "0" * 10,
        "4111.1111.1111.1111",
        "123411111111111111111111",
        "٤١١١١١١١١١١١١١١١",
    ],
)
def test_other_numbers_are_no_card(text: str) -> None:
    assert not has_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        IBAN,
        "pay to CH93 0076 2011 6238 5295 7 please",
        "gb82 west 1234 5698 7654 32",
        "IBAN:NO9386011117947",
        "ab12 NO93 8601 1117 947 today",
        "MT84MALT011000012345MTLCAST001S",
        "Kontò DE89370400440532013000.",
    ],
)
def test_r32_an_iban_is_found_however_it_is_grouped(text: str) -> None:
    """R32: bank numbers."""
    assert has_iban(text)


@pytest.mark.parametrize(
    "text",
    ["", "CH9300762011623852958", "XX9300762011623852957", "room AB12 at the end of the road", "CH93007620"],
)
def test_other_texts_are_no_iban(text: str) -> None:
    assert not has_iban(text)


@given(st.text())
def test_any_text_is_searched_without_harm(text: str) -> None:
    """A7: no input ends anything; lone surrogates and NULs are text too."""
    has_card_number(text)
    has_iban(text)


@given(st.integers(3, 6), st.text(alphabet="0123456789", min_size=14, max_size=14))
def test_r32_exactly_one_check_digit_makes_a_card(first: int, middle: str) -> None:
    """R32: Luhn."""
    assert sum(has_card_number(f"{first}{middle}{digit}") for digit in range(10)) == 1


def test_lone_surrogates_do_not_stop_the_search() -> None:
    assert has_card_number(f"\udcff {VISA}")
    assert has_iban(f"\udcff {IBAN}")


def submission(channel: Channel, *texts: str) -> Submission:
    """A submission with these texts."""
    return Submission(channel=channel, sender="Acme", recipients=("+41791234567",), texts=texts)


@pytest.mark.parametrize(
    ("channel", "text", "reason"),
    [
        ("sms", VISA, Reason.CARD_NUMBER),
        ("mail", VISA, None),
        ("mail", IBAN, Reason.IBAN),
        ("sms", IBAN, None),
        ("sms", "hello", None),
    ],
)
def test_r32_texts_are_refused_in_the_channels_configured(
    channel: Channel, text: str, reason: Reason | None
) -> None:
    """R32: refused, where configured."""
    policy = sensitive_numbers(cards=["sms"], ibans=["mail"])
    verdict = judge([policy], submission(channel, "Subject", text))
    assert (verdict.reason if isinstance(verdict, Refuse) else None) == reason
    assert text not in str(verdict)


def test_policies_are_asked_in_order_until_the_first_refusal() -> None:
    first = Refuse(reason=Reason.BAD_NUMBER, text="first", advice="a")
    second = Refuse(reason=Reason.IBAN, text="second", advice="b")
    verdict = judge([lambda _: ACCEPT, lambda _: first, lambda _: second], "view")
    assert verdict is first
    assert judge([], "view") is ACCEPT
    assert judge([lambda _: ACCEPT], "view") is ACCEPT


@pytest.mark.parametrize("decoy", ["4111111111111112 ", "4111 1111 1111 1112, ", "4222-2222-2222-3, "])
def test_more_candidates_than_chance_allows_are_taken_for_a_card(decoy: str) -> None:
    """Each costs some microseconds: nobody makes us look at a hundred thousand."""
    assert not has_card_number(decoy * 1000)
    assert has_card_number(decoy * 1001)


def test_more_candidates_than_chance_allows_are_taken_for_an_iban() -> None:
    assert not has_iban("CH9300762011623852958, " * 1000)
    assert has_iban("CH9300762011623852958, " * 1001)


@pytest.mark.parametrize("token", ["4", "4 ", "4111 ", "9-", "AA99", "AA99 ", "CH93 "])
def test_a_long_run_is_searched_in_little_memory(token: str) -> None:
    """A pattern that may give back what it took keeps a hundred octets for each character."""
    text = token * (100_000 // len(token))
    tracemalloc.start()
    try:
        has_card_number(text)
        has_iban(text)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(text)
    finally:
        tracemalloc.stop()
