"""Data that policies decide by, shipped with the package; each file says what it is and how old."""

from functools import cache
from importlib import resources

from policy.countries import CountryTable, parse


@cache
def shipped_countries() -> CountryTable:
    """The table of sender names by country that is shipped; read once."""
    return parse(resources.files(__name__).joinpath("countries.toml").read_text(encoding="utf-8"))
