"""TOML within limits: a text of some size, no key with endless dots, no number with endless digits.

`parse(text)` raises `tomllib.TOMLDecodeError`, and nothing else. The standard library's reader takes time by
the square of a key's parts, and gives up on deep nesting and long numbers in ways of its own.
"""

import tomllib
from typing import Any

OCTETS_MAX = 1_048_576
_DOTS_MAX = 1000  # in one line, where a key stands whole (TOML 1.0, "Keys")


def parse(text: str) -> dict[str, Any]:
    """The tables of the text."""
    if len(text) > OCTETS_MAX:
        raise tomllib.TOMLDecodeError(f"is larger than {OCTETS_MAX} octets")
    if text.count(".") > _DOTS_MAX:
        for number, line in enumerate(text.split("\n"), 1):
            if line.count(".") > _DOTS_MAX:
                raise tomllib.TOMLDecodeError(f"More than {_DOTS_MAX} dots (at line {number}, column 1)")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python reads no number of more than 4300 digits
        raise tomllib.TOMLDecodeError("holds a number of too many digits") from None
    except RecursionError:
        raise tomllib.TOMLDecodeError("is nested too deeply") from None
