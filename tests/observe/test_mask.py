"""What must not stand in a log does not stand in it, whatever dress it comes in."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.logs.mask import REMOVED, mask_event, mask_phone, mask_text


def masked(**fields: Any) -> dict[str, Any]:
    """`fields` after the mask."""
    return mask_event(None, "info", fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("550 no mailbox bob.smith@example.org here", "550 no mailbox …@example.org here"),
        ('<o\'brien@x.example>,"a b"@y.example', "<…@x.example>,…@y.example"),
        ("bounces+user=example.net@list.example", "…@list.example"),
        ("GET /v1/messages?to=bob%40example.org", "GET …@example.org"),
        ("grüße@exämple.org", "…@exämple.org"),
        ("root@[192.0.2.1]", "…@[192.0.2.1]"),
        ("to +41 79 123 45 67 now", "to +41…67 now"),
        ("call 0041791234567", "call +41…67"),
        ("+1 (415) 555-2671.", "+1…71."),
        ("sms_41791234567 and x-+353851234567", "sms_…67 and x-+353…67"),
        ("key gw_abcdefghijkl_0123456789abcdefghjkmnpq", f"key {REMOVED}"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: {REMOVED}"),
        ("login password='x y' failed", f"login {REMOVED} failed"),
        ("[SQL: INSERT …]\n[parameters: ('Dear Bob', 1)]\nmore", "[SQL: INSERT …]\n[parameters removed]"),
    ],
)
def test_personal_data_and_secrets_are_masked(text: str, expected: str) -> None:
    assert mask_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "delivery_deferred",
        "451 4.7.1 Greylisted, try again in 300 seconds",
        "127.0.0.1:2775 and 192.168.100.200",
        "2026-11-21T20:55:00.123456Z 2026-11-21T20:55:00+00:00",
        "01hzz0000000000000000000ab",
        "550e8400-e29b-41d4-a716-44665544abcd",
        "took 0.123456789 s",
    ],
)
def test_what_is_no_personal_data_stays(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "key",
    ["password", "smtp_password", "secret", "auth_token", "Authorization", "X-Api-Key", "content", "body"],
)
def test_values_under_telling_keys_are_removed(key: str) -> None:
    assert masked(**{key: "hunter2"}) == {key: REMOVED}
    assert masked(headers={key: b"hunter2"}) == {"headers": {key: REMOVED}}


def test_keys_that_only_sound_alike_keep_their_values() -> None:
    fields = {"content_type": "text/plain", "credential_id": "x", "tokens_left": 3, "passed": True}
    assert masked(**fields) == fields


def test_structures_are_masked_through_and_through() -> None:
    found = masked(
        to=["a@b.example", {"phone": "+41791234567"}], raw_octets=b"Dear Bob", error=KeyError("a@b.example")
    )
    assert found == {
        "to": ["…@b.example", {"phone": "+41…67"}],
        "raw_octets": "[8 octets]",
        "error": "…@b.example'",
    }


def test_an_endless_structure_and_an_object_without_a_text_do_no_harm() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("a@b.example")

    endless: list[Any] = []
    endless.append(endless)
    found = masked(endless=endless, odd=Odd())
    assert "a@b.example" not in str(found)
    assert found["odd"] == "[Odd: RuntimeError]"


def test_a_number_of_an_unknown_country_keeps_two_digits() -> None:
    assert mask_phone("+999123456789") == "…89"
    assert mask_phone("0791234567") == "…67"


@given(
    st.from_regex(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{6,30}", fullmatch=True),
    st.sampled_from([" ", "<", "=", ",", "(", "'"]),
)
def test_no_local_part_comes_through(local: str, before: str) -> None:
    assert local not in mask_text(f"x{before}{local}@example.org, y")


@given(st.from_regex(r"[1-9][0-9]{8,13}", fullmatch=True), st.sampled_from(["+", "00", ""]))
def test_no_phone_number_comes_through(digits: str, prefix: str) -> None:
    assert digits[3:-2] not in mask_text(f"to {prefix}{digits}: failed")


@pytest.mark.parametrize(
    "text", ["a" * 100_000 + "@", "+4" * 50_000, '"' * 100_000 + "@x", "1 " * 50_000, "token" * 20_000]
)
def test_a_hostile_text_is_masked_in_little_time(text: str) -> None:
    started_s = time.perf_counter()
    mask_text(text)
    assert time.perf_counter() - started_s < 0.5
