"""The mailbox-list of From, Sender and their like (RFC 5322 section 3.4), read as strictly as a check needs.

A sender check that reads another address than the recipient's program shows would be no check. So whatever
two readers may read differently is refused: groups and empty elements of a list, blanks, comments or encoded
words inside an address, control characters, open or undone, in a name. What ordinary programs write is read:
names in atoms, quotes, UTF-8 or encoded words, comments around them, quoted local parts, literals.

One pass over the tokens, without recursion; no pattern gives anything back. Raises `HeaderError` with the
field's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from smtp.address import AddressError, parse_address
from smtp.header_error import HeaderError
from smtp.limits import MailLimits
from smtp.words import hides_control

_Token = tuple[str, str]  # its kind, and the octets as they stand

# What stands between the specials (RFC 5322 section 3.2.3): words, dots and blanks, "text" here.
_TOKEN = re.compile(
    r"""(?P<text>[^"(),:;<>@\[\]\\]++)
      | (?P<quoted>"(?:[^"\\]|\\.)*+")
      | (?P<literal>\[[^\[\]\\]*+\])
      | (?P<special>[,<>@(])""",
    re.VERBOSE,
)
_NO_MARKS = re.compile(rb'\\.|"(?:[^"\\]|\\.)*+"', re.DOTALL)  # what is quoted means nothing
_INNERMOST_COMMENT = re.compile(rb"\([^()]*+\)")
_IN_COMMENT = re.compile(r"[()]|\\.")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_BLANKS = " \t"


def addresses(value: str, field: str, limits: MailLimits) -> list[str]:
    """The addresses of the list, in order, as `local@domain`; at least one.

    Raises `HeaderError` for a list that is empty, ambiguous or has more than `limits.author_addresses`.
    """
    if _CONTROL.search(value):
        raise _fault(field, "holds a control character")
    if "=?" in value and hides_control(value):
        raise _fault(field, "hides a control character in an encoded word")
    found: list[str] = []
    mailbox: list[_Token] = []
    for token in chain(_tokens(value, field, limits.comment_depth), [(",", ",")]):
        if token[0] != ",":
            mailbox.append(token)
            continue
        if len(found) >= limits.author_addresses:
            raise _fault(field, f"holds more than {limits.author_addresses} addresses")
        found.append(_address(mailbox, field))
        mailbox = []
    return found


def check_list(raw: bytes, field: str, limits: MailLimits, addresses_max: int | None = None) -> None:
    """Raise `HeaderError` for comments nested too deeply, or more commas than the addresses allowed.

    For lists whose addresses nobody checks: whatever else is odd about them is their readers' matter.
    """
    text = _NO_MARKS.sub(b"", raw)
    for _ in range(limits.comment_depth):
        text, removed = _INNERMOST_COMMENT.subn(b"", text)
        if not removed:
            break
    if text.count(b"(") > limits.comment_depth or _INNERMOST_COMMENT.search(text):
        raise _too_deep(field, limits.comment_depth)
    if addresses_max is not None and text.count(b",") >= addresses_max:
        raise _fault(field, f"holds more than {addresses_max} addresses")


def _tokens(value: str, field: str, depth_max: int) -> Iterator[_Token]:
    """The tokens of the list; a comment is one, whatever is inside."""
    at = 0
    while at < len(value):
        found = _TOKEN.match(value, at)
        if found is None:
            raise _fault(field, "does not hold a valid address")
        kind = found.lastgroup or ""
        text = found[0]
        if text == "(":
            at = _comment_end(value, at, field, depth_max)
            yield "comment", ""
            continue
        at = found.end()
        yield (text if kind == "special" else kind), text


def _comment_end(value: str, start: int, field: str, depth_max: int) -> int:
    """Where the comment that begins at `start` ends (section 3.2.2): they nest, quotes count for nothing."""
    depth = 0
    for found in _IN_COMMENT.finditer(value, start):
        if found[0] == "(":
            depth += 1
            if depth > depth_max:
                raise _too_deep(field, depth_max)
        elif found[0] == ")":
            depth -= 1
            if not depth:
                return found.end()
    raise _fault(field, "holds a comment without an end")


def _address(tokens: Sequence[_Token], field: str) -> str:
    """The address of one mailbox: `name <local@domain>`, or `local@domain` between comments."""
    kinds = [kind for kind, _ in tokens]
    if "<" in kinds:
        start = kinds.index("<")
        end = kinds.index(">", start) if ">" in kinds[start:] else len(kinds)
        around = [*kinds[:start], *kinds[end + 1 :]]
        if end == len(kinds) or not {"text", "quoted", "comment"}.issuperset(around):
            raise _fault(field, "does not hold a valid address")
        if any(not _is_aside(token) for token in tokens[end + 1 :]):
            raise _fault(field, "holds text behind an address")
        return _spec(tokens[start + 1 : end], field)
    first, last = 0, len(tokens)
    while first < last and _is_aside(tokens[first]):
        first += 1
    while last > first and _is_aside(tokens[last - 1]):
        last -= 1
    return _spec(tokens[first:last], field)


def _is_aside(token: _Token) -> bool:
    """Whether it is a comment or blanks."""
    return token[0] == "comment" or not token[1].strip(_BLANKS)


def _spec(tokens: Sequence[_Token], field: str) -> str:
    """The addr-spec (section 3.4.1); blanks may stand around it, not inside."""
    match [kind for kind, _ in tokens]:
        case ["text" | "quoted", "@", "text" | "literal"]:
            local, domain = tokens[0][1].lstrip(_BLANKS), tokens[2][1].rstrip(_BLANKS)
        case []:
            raise _fault(field, "holds no address")
        case _:
            raise _fault(field, "does not hold a valid address")
    if "=?" in local or "=?" in domain:  # RFC 2047 section 5: never inside an address
        raise _fault(field, "holds an encoded word inside an address")
    if "\ufffd" in local or "\ufffd" in domain:
        raise _fault(field, "holds an address that is not valid UTF-8")
    try:
        return str(parse_address(f"{local}@{domain}"))
    except AddressError as error:
        raise _fault(field, f"does not hold a valid address: {error.reason}") from error


def _fault(field: str, what: str) -> HeaderError:
    return HeaderError(f"the field {field.title()} {what}", field)


def _too_deep(field: str, depth: int) -> HeaderError:
    return _fault(field, f"holds comments nested more than {depth} deep")
