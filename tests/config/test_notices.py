"""`[notices]`: from whom notices come, and in which language."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import Settings, differences
from config.kinds import is_author
from smtp.address import parse_mailbox
from tests.config.conftest import Faults, Loader


def test_the_sender_of_notices_is_the_key_from(load_text: Loader, faults_of: Faults) -> None:
    settings = load_text('[notices]\nfrom = "Gateway <notices@example.org>"\nlanguage = "pt"')
    assert (settings.notices.from_, settings.notices.language) == ("Gateway <notices@example.org>", "pt")
    assert (Settings().notices.from_, Settings().notices.language) == ("", "en")
    assert {"notices.from", "notices.language"} <= set(differences(Settings(), settings))
    assert faults_of('[notices]\nfrom_ = "a@example.org"') == [
        "notices.from_: unknown key, did you mean from?"
    ]
    assert faults_of('[notices]\nlanguage = "de"') == [
        'notices.language: "de" is not one of "en", "es", "fr", "it", "pt"'
    ]


@pytest.mark.parametrize(
    "text",
    [
        "notices@example.org",
        "<a@example.org>",
        "Shop <a@example.org>",
        '"Shop, Ltd" <a@b-c.example.org>',
        "Jörg Müller <a@example.org>",
        "a.b+c@xn--bcher-kva.example",
        "root@localhost",
    ],
)
def test_an_address_with_or_without_a_name_is_taken(load_text: Loader, text: str) -> None:
    assert load_text(f"[notices]\nfrom = '{text}'").notices.from_ == text


@pytest.mark.parametrize(
    "text",
    [
        "nobody",
        "@example.org",
        "a@",
        "a b@example.org",
        "a@example.org, b@example.org",
        "a@@example.org",
        "Shop, Ltd <a@example.org>",
        "a@example.org>",
        "<a@example.org",
        "a <b <c@example.org>",
        "a@[1.2.3.4]",
        "a@1.2.3.4",
        "a@example.org.",
        "a@-b.example",
        "a@b-.example",
        "a@b_c.example",
        ".a@example.org",
        "a..b@example.org",
        "ä@example.org",
        "a@bücher.example",
        "x" * 65 + "@example.org",
        "n" * 201 + "<a@b.c>",
    ],
)
def test_what_is_not_one_address_is_refused(faults_of: Faults, text: str) -> None:
    (fault,) = faults_of(f"[notices]\nfrom = '{text}'")
    assert fault.startswith(
        "notices.from: must be an address such as notices@example.org, or Name <notices@example.org>, not "
    )


def test_a_line_end_in_it_is_refused() -> None:
    assert not is_author("a\r\nBcc: b <c@example.org>")
    assert not is_author("a@example.org\n")


@given(
    st.text(max_size=30).map(lambda name: f"{name}<a@example.org>")
    | st.tuples(st.text(max_size=12), st.text(max_size=12)).map("@".join)
    | st.from_regex(r"[!-~]{1,10}@[a-z0-9.-]{1,10}", fullmatch=True)
)
@example('" <a@example.org>')
def test_what_is_taken_is_one_mailbox_to_the_mail_library_too(text: str) -> None:
    if is_author(text):
        assert str(parse_mailbox(text).mailbox) == text.rpartition("<")[2].removesuffix(">").replace(
            *_domain_in_small_letters(text)
        )


def _domain_in_small_letters(text: str) -> tuple[str, str]:
    domain = text.rpartition("@")[2].removesuffix(">")
    return f"@{domain}", f"@{domain.lower()}"
