"""The ESMTP parameters: SIZE, BODY, SMTPUTF8, AUTH, RET, ENVID of MAIL FROM; NOTIFY, ORCPT of RCPT TO.

Raises `Permanent` with 501 5.5.4 for a bad value and 555 5.5.4 for an unknown parameter (RFC 5321 section
4.1.1.11). Texts that reach a delivery report are decoded from xtext and may hold no control character.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from smtp.codes import Code, Permanent, Reply, Status
from smtp.server_api import MailParameters, Notify, Ret

_KEYWORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9\-]*")  # RFC 5321 section 4.1.2, esmtp-keyword
_SIZE = re.compile(rb"[0-9]{1,20}")  # RFC 1870 section 4
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # RFC 3461 section 4
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9\-]{1,32}")
_MAX_ENVID_OCTETS = 100  # RFC 3461 section 4.4
_MAX_ORCPT_OCTETS = 500  # section 4.2
_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")
_NO_MAIL_PARAMETERS = MailParameters()
_NO_RECIPIENT_PARAMETERS: tuple[tuple[Notify, ...], str | None] = ((), None)


def parse_mail_parameters(raw: bytes) -> MailParameters:
    """The parameters behind the reverse-path; those not given keep their defaults."""
    if not raw:
        return _NO_MAIL_PARAMETERS
    given = _split(raw, _MAIL_VALUES)
    return MailParameters(
        size_octets=cast("int | None", given.get("SIZE")),
        body_8bit=given.get("BODY") == "8BITMIME",
        smtputf8="SMTPUTF8" in given,
        ret=cast("Ret | None", given.get("RET")),
        envid=cast("str | None", given.get("ENVID")),
    )


def parse_recipient_parameters(raw: bytes) -> tuple[tuple[Notify, ...], str | None]:
    """NOTIFY and ORCPT behind the forward-path."""
    if not raw:
        return _NO_RECIPIENT_PARAMETERS
    given = _split(raw, _RECIPIENT_VALUES)
    return cast("tuple[Notify, ...]", given.get("NOTIFY", ())), cast("str | None", given.get("ORCPT"))


def _split(raw: bytes, known: dict[str, Callable[[bytes | None], object]]) -> dict[str, object]:
    given: dict[str, object] = {}
    for word in raw.split(b" "):
        if not word:
            continue
        keyword, equals, value = word.partition(b"=")
        if _KEYWORD.fullmatch(keyword) is None:
            raise _bad("malformed parameter")
        name = keyword.decode("ascii").upper()
        parse = known.get(name)
        if parse is None:
            text = f"Parameter {name} is not recognised"
            raise Permanent(Reply(Code.UNKNOWN_PARAMETER, Status.INVALID_ARGUMENTS, text))
        if name in given:
            raise _bad(f"{name} is given twice")
        given[name] = parse(value if equals else None)
    return given


def _bad(reason: str) -> Permanent:
    return Permanent(Reply(Code.PARAMETER_SYNTAX, Status.INVALID_ARGUMENTS, f"Bad parameter: {reason}"))


def _size(value: bytes | None) -> int:
    if value is None or _SIZE.fullmatch(value) is None:
        raise _bad("SIZE takes a number of octets")
    return int(value)


def _body(value: bytes | None) -> str:
    body = (value or b"").upper()
    if body not in (b"7BIT", b"8BITMIME"):  # RFC 6152 section 2; BINARYMIME is not offered
        raise _bad("BODY is 7BIT or 8BITMIME")
    return body.decode("ascii")


def _smtputf8(value: bytes | None) -> bool:
    if value is not None:
        raise _bad("SMTPUTF8 takes no value")  # RFC 6531 section 3.4
    return True


def _auth(value: bytes | None) -> None:
    """RFC 4954 section 5: understood, and treated as AUTH=<>, since no client is trusted to vouch."""
    if value is None or (value != b"<>" and _XTEXT.fullmatch(value) is None):
        raise _bad("AUTH takes a mailbox in xtext, or <>")


def _ret(value: bytes | None) -> str:
    ret = (value or b"").upper()
    if ret not in (b"FULL", b"HDRS"):
        raise _bad("RET is FULL or HDRS")
    return ret.decode("ascii")


def _envid(value: bytes | None) -> str:
    return _xtext("ENVID", value, _MAX_ENVID_OCTETS)


def _notify(value: bytes | None) -> tuple[str, ...]:
    words = (value or b"").decode("ascii", "replace").upper().split(",")
    if words == ["NEVER"]:
        return ("NEVER",)
    if len(set(words)) != len(words) or any(word not in _NOTIFY for word in words):
        raise _bad("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
    return tuple(words)


def _orcpt(value: bytes | None) -> str:
    kind, semicolon, address = (value or b"").partition(b";")
    name = kind.decode("ascii", "replace")
    if not semicolon or _ADDRESS_TYPE.fullmatch(name) is None:
        raise _bad("ORCPT is a type, a semicolon and an address: rfc822;user@example.org")
    return f"{name.lower()};{_xtext('ORCPT', address, _MAX_ORCPT_OCTETS)}"


def _xtext(name: str, value: bytes | None, limit: int) -> str:
    if not value or len(value) > limit or _XTEXT.fullmatch(value) is None:
        raise _bad(f"{name} takes up to {limit} octets of xtext")
    decoded = _HEXCHAR.sub(lambda found: bytes((int(found[1], 16),)), value)
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"{name} is not valid UTF-8") from None
    if not text.isprintable():  # CR and LF above all: it is written into the header of a report
        raise _bad(f"{name} holds a control character")
    return text


_MAIL_VALUES: dict[str, Callable[[bytes | None], object]] = {
    "SIZE": _size,
    "BODY": _body,
    "SMTPUTF8": _smtputf8,
    "AUTH": _auth,
    "RET": _ret,
    "ENVID": _envid,
}
_RECIPIENT_VALUES: dict[str, Callable[[bytes | None], object]] = {"NOTIFY": _notify, "ORCPT": _orcpt}
