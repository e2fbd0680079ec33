"""Where in a request a fault is: JSON pointers (RFC 6901) from our own paths and from msgspec's messages."""

import re

import msgspec

_STEP = re.compile(r"\[([^\[\]]*)\]|\.?([^.\[\]]+)")
_OUR_PATH = re.compile(r"\$?(?:\[(?:[0-9]+|\.\.\.)\]|\.?[a-z_]+)*+")
"""What msgspec writes for our own fields. A client's name may look like the end of a message, too."""
_NAME_MAX = 100  # of a field's name that is shown: no field of ours is longer
_TEXT_MAX = 1000
_AT = " - at `"
_KEY_IN = "key` in `"


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: `pointer` (RFC 6901) into the body, or `#query/name` for a parameter of the address."""

    pointer: str
    detail: str


def of_path(path: str) -> str:
    """`attachments[0].filename` as `/attachments/0/filename`; what follows `headers.` is one name."""
    if path.startswith("headers."):
        return "/headers/" + _escaped(path.removeprefix("headers."))
    return "".join(f"/{_escaped(index or name)}" for index, name in _STEP.findall(path))


def of_validation(error: msgspec.ValidationError) -> FieldError:
    """What msgspec found wrong, in a text of some length: it repeats names that a client wrote."""
    text = str(error)
    head, at, path = text.rpartition(_AT)
    path = path.removeprefix(_KEY_IN).removesuffix("`")
    if at and len(path) <= _TEXT_MAX and _OUR_PATH.fullmatch(path):
        text = head
    else:
        path = ""
    pointer = of_path(path.removeprefix("$").replace("[...]", ""))
    _, named, name = text.partition(" field `")
    if named and name.endswith("`"):
        name = name[:-1]
        if len(name) > _NAME_MAX:
            return FieldError(pointer=pointer, detail="Object contains unknown field of too long a name")
        pointer += f"/{_escaped(name)}"
    return FieldError(pointer=pointer, detail=text.replace("`", "")[:_TEXT_MAX])


def path_of(pointer: str) -> str:
    """The pointer as it reads in a sentence: `to[3]`, `attachments[0].filename`."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts).lstrip(".")


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
