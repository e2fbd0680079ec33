"""A table of countries that cannot be used is one plain error, whatever is in it."""

import pytest

from policy.countries import CountryTableError, parse


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("CH = " + "9" * 5000, "too many digits"),
        ("CH = " + "[" * 5000, "nested too deeply"),
        ("a." * 1001 + "b = 1", "More than 1000 dots"),
        ("# " + "x" * 1_048_576, "larger than"),
        ("CH = 1", "needs names"),
    ],
    ids=["digits", "depth", "dots", "size", "row"],
)
def test_a_text_that_is_no_table_is_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(CountryTableError, match=says):
        parse(text)
