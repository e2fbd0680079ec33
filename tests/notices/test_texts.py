"""The texts of notices: every kind in five languages, none left untranslated (R8)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from string import Formatter

import pytest

from gateway.accounts.service import LANGUAGES
from gateway.credits.notices import LOW
from gateway.credits.terms import PRODUCTS
from gateway.notices.rendering import read, render
from gateway.verticals import NOTICE_KINDS
from tests.support.cli import environment

ROOT = Path(__file__).parents[2]
TRANSLATED = [language for language in LANGUAGES if language != "en"]
DATA = {"product": "mail", "balance": 12_345, "below": 20_000}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_there_are_at_least_five_languages() -> None:
    assert set(LANGUAGES) >= {"en", "es", "fr", "it", "pt"}


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("kind", NOTICE_KINDS)
def test_every_text_is_translated_with_the_same_placeholders(kind: str, language: str) -> None:
    one = NOTICE_KINDS[kind]
    catalogue = read(one.catalogues, language)
    for text in one.texts():
        found = catalogue.get(text)
        assert found is not None, text
        assert isinstance(found.string, str)
        assert found.string, text
        assert not found.fuzzy, text
        assert placeholders(found.string) == placeholders(text), found.string


@pytest.mark.parametrize("kind", NOTICE_KINDS)
@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_outlives_its_text(kind: str, language: str) -> None:
    one = NOTICE_KINDS[kind]
    texts = {
        text
        for other in NOTICE_KINDS.values()
        if other.catalogues == one.catalogues
        for text in other.texts()
    }
    assert {message.id for message in read(one.catalogues, language) if message.id} == texts


@pytest.mark.parametrize(
    ("language", "subject", "sentence"),
    [
        ("en", "Low balance of credits for mail: 12,345", "has fallen to 12,345, below the limit of 20,000."),
        ("pt", "Saldo baixo de créditos de e-mail: 12.345", "caiu para 12.345, abaixo do limite de 20.000."),
        ("es", "Saldo bajo de créditos de correo: 12.345", "a 12.345, por debajo del límite de 20.000."),
        ("it", "Saldo basso di crediti per le e-mail: 12.345", "sceso a 12.345, sotto il limite di 20.000."),
        (
            "fr",
            "Solde faible de crédits pour les e-mails\u00a0: 12\u202f345",
            "descendu à 12\u202f345, sous la limite de 20\u202f000.",
        ),
    ],
)
def test_each_language_writes_its_numbers_in_its_own_way(language: str, subject: str, sentence: str) -> None:
    text = render(LOW, language, DATA, account="Shop")
    assert text.subject == subject
    assert sentence in text.body.replace("\n", " ")
    assert "Shop" in text.body
    assert max(map(len, text.body.splitlines())) <= 72


def test_every_product_has_a_word() -> None:
    assert set(LOW.words["product"]) == set(PRODUCTS)


def test_the_name_of_an_account_is_no_pattern() -> None:
    assert "{balance} {0}" in render(LOW, "en", DATA, account="{balance} {0}").body


def test_data_that_a_text_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        render(LOW, "en", {"product": "mail"}, account="Shop")


def test_what_is_not_translated_stays_english(tmp_path: Path) -> None:
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
    (tmp_path / "pt.po").write_text(f'{head}\n#, fuzzy\nmsgid "mail"\nmsgstr "correio"\n')
    text = render(replace(LOW, catalogues=tmp_path), "pt", DATA, account="Shop")
    assert text.subject == "Low balance of credits for mail: 12.345"


def test_only_who_renders_pays_for_babel() -> None:
    code = "import sys, gateway.daemon, gateway.cli.app; sys.exit('babel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0
