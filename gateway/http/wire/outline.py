"""The outline of a large body, looked at before it is decoded: a little JSON can become much memory.

An empty list takes three octets there and sixty here, and a limit on a list's length is asked only when the
list is whole. So each field of the request is skipped over first (`msgspec.Raw`, 0.3 ms for a MiB): lists may
have as many members as their type says, mappings as many octets as stated here, and no field may stand twice,
for only the last one would be looked at. What remains are texts, which take at most five octets for each of
theirs. Small bodies need none of this.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType, inspect

from gateway.http.wire import kinds
from gateway.http.wire.problem import Problem, invalid

SMALL_OCTETS = 65_536
"""Up to here whatever is decoded takes two megabytes and some milliseconds."""
_ANY_MAX_OCTETS = 32_768  # a mapping of anything; metadata has at most 8,192 octets when it is written again
_TEXTS_MAX_OCTETS = 262_144  # a mapping of texts, or a list whose type sets no limit
_BETWEEN_MAX_OCTETS = 4096  # names and blanks between the values


class _Field(msgspec.Struct, frozen=True, kw_only=True):
    """What is demanded of one field."""

    name: str
    members: "msgspec.json.Decoder[Any] | None" = None
    """Reads a list of at most `most` members, each skipped over."""
    most: int = 0
    octets_max: int | None = None


class _Outline(msgspec.Struct, frozen=True, kw_only=True):
    """A request's type: how its fields are found, and what is demanded of them, in one order."""

    decoder: "msgspec.json.Decoder[Any]"
    fields: tuple[_Field, ...]


def check(kind: Any, octets: bytes | Raw) -> None:
    """Raises Problem 400 and 422 for a large body that must not be decoded, and what msgspec raises."""
    size_octets = len(memoryview(octets))
    outline = _outline(kind) if size_octets > SMALL_OCTETS else None
    if outline is None:
        return
    values = [memoryview(one) for one in msgspec.structs.astuple(outline.decoder.decode(octets))]
    if size_octets - sum(map(len, values)) > _BETWEEN_MAX_OCTETS:
        text = f"A field stands twice in the body, or it has more than {_BETWEEN_MAX_OCTETS} blanks."
        raise Problem(kinds.INVALID_JSON, text)
    for field, value in zip(outline.fields, values, strict=True):
        if field.octets_max is not None and len(value) > field.octets_max:
            raise invalid(field.name, f"must have at most {field.octets_max} octets as JSON")
        if field.members is not None and bytes(value[:1]) == b"[":
            try:
                field.members.decode(value)
            except msgspec.ValidationError:
                raise invalid(field.name, f"must have at most {field.most} members") from None


@cache
def _outline(kind: Any) -> _Outline | None:
    """None for what is no object."""
    structs = [one for one in _kinds(inspect.type_info(kind)) if isinstance(one, inspect.StructType)]
    if not structs:
        return None
    types = {field.encode_name: field.type for one in structs for field in one.fields}
    tags = {one.tag_field: inspect.StrType() for one in structs if one.tag_field is not None}
    fields = tuple(_field(name, own) for name, own in {**tags, **types}.items())
    names = {f"f{number}": field.name for number, field in enumerate(fields)}
    skipped = msgspec.defstruct(
        "Skipped", [(name, Raw, Raw(b"")) for name in names], rename=names, forbid_unknown_fields=True
    )
    return _Outline(decoder=msgspec.json.Decoder(skipped), fields=fields)


def _field(name: str, info: inspect.Type) -> _Field:
    for one in _kinds(info):
        if isinstance(one, inspect.ListType) and one.max_length is not None:
            return _Field(name=name, members=_members(one.max_length), most=one.max_length)
        if isinstance(one, inspect.ListType):
            return _Field(name=name, octets_max=_TEXTS_MAX_OCTETS)
        if isinstance(one, inspect.DictType):
            is_any = isinstance(one.value_type, inspect.AnyType)
            return _Field(name=name, octets_max=_ANY_MAX_OCTETS if is_any else _TEXTS_MAX_OCTETS)
    return _Field(name=name)


def _kinds(info: inspect.Type) -> Sequence[inspect.Type]:
    """What a value may be, without the descriptions around it."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    return (
        [kind for one in info.types for kind in _kinds(one)]
        if isinstance(info, inspect.UnionType)
        else [info]
    )


@cache
def _members(most: int) -> "msgspec.json.Decoder[Any]":
    """Reads a list member by member into a structure of so many, and gives up at the next one."""
    members = msgspec.defstruct(
        f"Members{most}",
        [(f"m{number}", Raw | UnsetType, UNSET) for number in range(most)],
        array_like=True,
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(members)
