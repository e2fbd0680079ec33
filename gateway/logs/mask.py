"""What must not stand in a log: bodies, secrets, addresses, phone numbers. Pure.

Keys are judged by their name, texts by what they contain, exceptions' texts included. Of an address its
domain stays, of a phone number its country code and the last two digits: enough to find a fault, too little
to find a person. It is the last net: whoever logs should not hand such things over in the first place. IP
addresses stay, for without them no attack can be told from a fault.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

REMOVED = "[removed]"
_DEPTH_MAX = 6
_ITEMS_MAX = 100
_TEXT_MAX = 10_000

# A whole word of the key: `password`, `api_key` and `auth_token`, but not `content_type` or `credential_id`.
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase)?|secrets?|tokens?|authorization|cookies?|api_?key|private_key|otp|pin"
    r"|content|bod(?:y|ies)|payload|subject|short_message|text|html|raw)(?:_hash)?$",
    re.IGNORECASE,
)
# The local part may hold nearly anything (RFC 5321 section 4.1.2), so it is taken wide; %40 is "@" in a URL.
# It begins where its run of characters begins, so that a long text is scanned once.
_LOCAL = r'[^\s<>()\[\],;:"@]'
_ADDRESS = re.compile(rf'(?:"[^"\n]{{0,200}}"|(?<!{_LOCAL}){_LOCAL}+?)(?:@|%40)(?=[\w\[])')
# E.164 with its plus or 00 and separators between the digits; without either only a bare run of digits.
_NUMBER = re.compile(
    r"(?:\+|(?<![A-Za-z0-9.])00)[ ]?(?:\d[ ()./-]{0,2}){6,16}\d(?!\d)"
    r"|(?<![A-Za-z0-9])(?<!\d\.)\d{9,15}(?![A-Za-z0-9])"
)
_CREDENTIAL = re.compile(
    r"\bgw_[A-Za-z0-9]+_[A-Za-z0-9]+"  # an API key
    r"|\bwhsec_[A-Za-z0-9+/=_-]+"  # a webhook's secret
    r"|\b(?:bearer|basic)\s+[A-Za-z0-9+/=_.~-]{6,}"
    r"|\b(?:password|passwd|secret|token|api_key)[\"']?\s*[=:]\s*(?:\"[^\"]*\"|'[^']*'|\S+)",
    re.IGNORECASE,
)
# SQLAlchemy tells the values of a statement that failed: whole messages.
_PARAMETERS = re.compile(r"\[parameters: .*", re.DOTALL)
# Whether a text, in lower case, needs a closer look. Most do not, and this is all that they cost.
_SUSPECT = re.compile(
    r"@|%40|\d{6}|\+ ?\d|(?<![a-z0-9.])00|gw_|whsec_|bearer|basic|passw|secret|token|api_key|\[param"
)
_PLAIN = frozenset({int, float, bool, type(None)})
_SEPARATORS = re.compile(r"\D")


def mask_event(_logger: Any, _method: str, event_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A structlog processor: the same line without what must not be in it."""
    return _mask_items(event_dict, 0)


def mask_text(text: str) -> str:
    """`text` without secrets, local parts and numbers; cut at some length."""
    if len(text) > _TEXT_MAX:
        text = text[: _TEXT_MAX // 2] + " […] " + text[-_TEXT_MAX // 2 :]
    if _SUSPECT.search(text.lower()) is None:
        return text
    text = _PARAMETERS.sub("[parameters removed]", text)
    text = _CREDENTIAL.sub(REMOVED, text)
    text = _ADDRESS.sub("…@", text)
    return _NUMBER.sub(_mask_number, text)


def mask_phone(number: str) -> str:
    """`+41791234567` as `+41…67`; a number without a known country code keeps its last two digits alone."""
    digits = _SEPARATORS.sub("", number)
    international = number.startswith(("+", "00"))
    digits = digits.removeprefix("00") if number.startswith("00") else digits
    for length in (1, 2, 3):
        if international and int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE:
            return f"+{digits[:length]}…{digits[-2:]}"
    return f"…{digits[-2:]}"


def _mask_number(match: "re.Match[str]") -> str:
    return mask_phone(match.group())


def _mask_items(items: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for index, (key, value) in enumerate(items.items()):
        if index >= _ITEMS_MAX:
            break
        name, secret = _key(key if isinstance(key, str) else str(key))
        masked[name] = REMOVED if secret else _mask_value(value, depth)
    return masked


@lru_cache(1024)
def _key(key: str) -> tuple[str, bool]:
    """The key as it may be shown, and whether its value may not."""
    return mask_text(key), _SECRET_KEY.search(key.replace("-", "_")) is not None


def _mask_value(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return mask_text(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, str):
        return mask_text(str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} octets]"
    if depth >= _DEPTH_MAX:
        return "[…]"
    if isinstance(value, Mapping):
        return _mask_items(value, depth + 1)
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask_value(one, depth + 1) for one in list(value)[:_ITEMS_MAX]]
    return mask_text(_text_of(value, str))


def _text_of(value: Any, form: Callable[[Any], str]) -> str:
    try:
        return form(value)
    except Exception as error:  # noqa: BLE001 - A7: no odd object breaks a log line
        return f"[{type(value).__name__}: {type(error).__name__}]"
