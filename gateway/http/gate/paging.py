"""Lists by pages: which page is asked for, and how one of one item looks in the description."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

PAGE_MAX = 100

T = TypeVar("T")

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str, msgspec.Meta(max_length=1000, description="`next` of the page before.")]


def given(value: T | UnsetType) -> T | None:
    """A parameter of the address, None when it was not given."""
    return None if isinstance(value, UnsetType) else value


class Page(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which page of a list."""

    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 50


def one_of(item: Any) -> dict[str, Any]:
    """A list of one item, as an example."""
    return {"items": [item], "next": None}
