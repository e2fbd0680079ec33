"""Where in a request a fault is: JSON pointers (RFC 6901) from our own paths and from msgspec's messages."""

import re

import msgspec

_STEP = re.compile(r"\[([^\]]*)\]|\.?([^.\[\]]+)")
_AT = re.compile(r"^(?P<text>.*?)(?: - at `(?:key` in `)?(?P<path>\$?[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>.*)`", re.DOTALL)


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
    """What msgspec found wrong."""
    found = _AT.match(str(error))
    text, path = (found["text"], found["path"] or "") if found else (str(error), "")
    pointer = of_path(path.removeprefix("$").replace("[...]", ""))
    named = _FIELD.search(text)
    if named is not None:
        pointer += f"/{_escaped(named['name'])}"
    return FieldError(pointer=pointer, detail=text.replace("`", ""))


def path_of(pointer: str) -> str:
    """The pointer as it reads in a sentence: `to[3]`, `attachments[0].filename`."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    return "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts).lstrip(".")


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
