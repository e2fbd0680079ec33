"""The kinds of values a key may hold: a Python type with what is demanded of it, and the `Secret`.

A kind is `Annotated[type, demand]`; `config.decode` checks the demand and words the fault from its `meaning`.
Nothing here is read or resolved.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Between:
    """A number from `low` to `high`, both included."""

    low: float
    high: float = math.inf

    @property
    def meaning(self) -> str:
        """The range in words."""
        if math.isinf(self.high):
            return f"{self.low:g} or more"
        return f"from {self.low:.15g} to {self.high:.15g}"

    def holds(self, value: object) -> bool:
        """Whether the value is a number in the range."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Text:
    """A text that passes `test`; `meaning` says in words which texts do."""

    test: Callable[[str], object]
    meaning: str

    def holds(self, value: object) -> bool:
        """Whether the value is a text that passes."""
        return isinstance(value, str) and bool(self.test(value))


class Secret:
    """A password or token that never shows itself: `str`, `repr` and logs see `***`; `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; for the wire only."""
        return self._value

    def __repr__(self) -> str:
        """Three stars, whatever the secret."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Whether both hide the same text (so that a reload sees a change)."""
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        """A hash that agrees with `==`."""
        return hash(("Secret", self._value))

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse to be pickled: a secret does not leave the process by accident."""
        raise TypeError("a Secret is not serialised; pass reveal() where it is needed")


def is_ip_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether the host is this machine talking to itself: `localhost`, 127.0.0.0/8, ::1."""
    if host.lower() == "localhost":
        return True
    return is_ip_address(host) and ipaddress.ip_address(host).is_loopback


# A label is letters, digits and hyphens (RFC 5321 section 4.1.2, RFC 1035 section 2.3.1); underscores are
# tolerated, since container names have them.
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?\Z")


def is_host(text: str) -> bool:
    """Whether the text is an IP address or a host name of at most 253 characters."""
    return is_ip_address(text) or (len(text) <= 253 and _HOST.match(text) is not None)


# Narrower than RFC 5322 (no quoted local part, no quoted pair): what passes is one mailbox to every parser.
_AUTHOR_NAME = re.compile(r'"[^"\\]*" *|[^"<>(),:;@\[\]\\]*')
_AUTHOR_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def is_author(text: str) -> bool:
    """Whether the text is `local@domain` or `Name <local@domain>`, the address ASCII (RFC 5322, 3.4)."""
    name, address = "", text
    if text.endswith(">") and "<" in text:
        name, _, address = text[:-1].rpartition("<")
    local, at, domain = address.rpartition("@")
    return (
        at == "@"
        and (len(name) <= 200 and name.isprintable() and _AUTHOR_NAME.fullmatch(name) is not None)
        and (len(local) <= 64 and _AUTHOR_LOCAL.fullmatch(local) is not None)
        and (len(address) <= 254 and _is_domain(domain))
    )


def _is_domain(text: str) -> bool:
    """Whether the text is a host name as mail has it: no address, no underscore, no dot at its end."""
    labels = text.split(".")
    sound = not any(one.endswith("-") for one in labels) and not labels[-1].isdigit()
    return sound and "_" not in text and labels[-1] != "" and _HOST.match(text) is not None


def key_name(attribute: str) -> str:
    """The key of a schema class's attribute: the same, without the underscore behind a word of Python's."""
    return attribute.removesuffix("_")


def _ascii_up_to(octets: int) -> Text:
    """A printable ASCII text of at most `octets` octets."""
    return Text(
        lambda text: len(text) <= octets and text.isascii() and (not text or text.isprintable()),
        f"at most {octets} printable ASCII characters",
    )


Count = Annotated[int, Between(0)]
Positive = Annotated[int, Between(1)]
Octets = Annotated[int, Between(1)]
Credits = Annotated[int, Between(0)]
Port = Annotated[int, Between(0, 65535)]
"""A TCP port; 0 lets the system pick a free one, or switches a `tls_port` off."""
RemotePort = Annotated[int, Between(1, 65535)]
Seconds = Annotated[float, Between(0.001)]
WholeSeconds = Annotated[int, Between(1)]
Milliseconds = Annotated[int, Between(0)]
Days = Annotated[int, Between(1)]
Fraction = Annotated[float, Between(0, 1)]
Rate = Annotated[float, Between(0)]
"""Things per second; 0 is no limit."""
Host = Annotated[str, Text(is_host, "a host name or an IP address")]


def is_ip_network(text: str) -> bool:
    """Whether the text is a network such as 10.0.0.0/8, or one address."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


IpNetwork = Annotated[str, Text(is_ip_network, "a network such as 10.1.0.0/16 without bits behind the mask")]
IpAddress = Annotated[str, Text(is_ip_address, "an IP address")]
Url = Annotated[
    str,
    Text(re.compile(r"(?:https?://[^\s/?#][^\s?#]*)?\Z").match, "an http:// or https:// address, or empty"),
]
OptionalAuthor = Annotated[
    str,
    Text(
        lambda text: not text or is_author(text),
        "an address such as notices@example.org, or Name <notices@example.org>",
    ),
]
OptionalNumber = Annotated[
    str, Text(re.compile(r"(?:\+[1-9][0-9]{6,14})?\Z").match, "a number such as +41791234567, or empty")
]
OptionalCountry = Annotated[
    str, Text(re.compile(r"(?:[A-Z]{2})?\Z").match, "two capital letters (ISO 3166-1) such as CH, or empty")
]
SmppSystemId = Annotated[str, _ascii_up_to(15)]  # SMPP v3.4 section 5.2.1: 16 octets with the NUL
SmppSystemType = Annotated[str, _ascii_up_to(12)]  # SMPP v3.4 section 5.2.3: 13 octets with the NUL
SmppServiceType = Annotated[str, _ascii_up_to(5)]  # SMPP v3.4 section 5.2.11: 6 octets with the NUL
