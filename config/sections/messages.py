"""What happens to messages: `[mail]`, `[sms]`, `[credits]`, and the rest of the rules.

Pure data. Numbers that come from a rule of the contract have its id beside them.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from config.kinds import (
    Between,
    Fraction,
    IpAddress,
    OptionalCountry,
    Positive,
    Seconds,
    Text,
    WholeSeconds,
)
from config.sections.upstreams import Channel

Refund = Literal["cancelled", "rejected", "undelivered", "expired", "unknown"]
"""Why a message ended unsent or undelivered: by its sender, the other side, a receipt, its lifetime, or for
want of any answer or receipt.
"""

_SELECTOR = Text(
    lambda text: text.isascii() and text.replace("-", "").isalnum() and 1 <= len(text) <= 40,
    "1 to 40 letters, digits or hyphens",
)
_PREFIX = Text(
    lambda text: text == "*" or (text[:1] == "+" and text[1:].removesuffix("*").isdecimal()),
    'the start of a number such as "+41*", or "*"',
)
_DOMAIN_GLOB = Text(
    lambda text: text != "" and "@" not in text and not any(map(str.isspace, text)),
    'a domain or a pattern such as "*.example.org", or "*"',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRoute:
    """`[[mail.route]]`: the first whose `match` fits the recipient's domain is taken."""

    match: Annotated[str, _DOMAIN_GLOB] = "*"
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsRoute:
    """`[[sms.route]]`: the longest `match` that starts the recipient's number is taken."""

    match: Annotated[str, _PREFIX] = "*"
    upstream: str
    price_credits: Positive = 1  # per segment, R12


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`[mail.retry]`, `[sms.retry]`: the wait after attempt n is first_s * factor^(n-1), at most max_s."""

    first_s: Seconds = 60.0
    factor: Annotated[float, Between(1, 100)] = 2.0
    max_s: Seconds = 14_400.0
    jitter: Fraction = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """`[mail]`: routes, lifetime, signing and price of mail."""

    route: tuple[MailRoute, ...] = ()
    lifetime_s: WholeSeconds = 432_000  # 5 days, RFC 5321 section 4.5.4.1
    retry: Retry = field(default_factory=Retry)
    dkim_selector_prefix: Annotated[str, _SELECTOR] = "gw"
    dkim_ed25519: bool = True  # besides RSA-2048 (RFC 8463)
    egress_ips: tuple[IpAddress, ...] = ()
    price_credits: Positive = 1  # per recipient
    refund_on: tuple[Refund, ...] = ("cancelled",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sms:
    """`[sms]`: routes, lifetime, length and price of SMS."""

    route: tuple[SmsRoute, ...] = ()
    lifetime_s: WholeSeconds = 172_800  # 48 h; also the validity_period asked of the SMSC
    retry: Retry = field(default_factory=lambda: Retry(first_s=5.0, max_s=600.0))
    receipt_timeout_s: WholeSeconds = 259_200  # 72 h
    max_segments: Annotated[int, Between(1, 255)] = 10  # 255: 3GPP TS 23.040 section 9.2.3.24.1
    price_credits: Positive = 1  # per segment where no route is written, R12
    refund_on: tuple[Refund, ...] = ("cancelled", "rejected", "expired")
    default_country: OptionalCountry = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptableUse:
    """`[acceptable_use]`: the channels whose texts are searched for what may not be sent."""

    refuse_card_numbers: tuple[Channel, ...] = ()  # R32: which channels is the operator's choice
    refuse_ibans: tuple[Channel, ...] = ()  # R32
