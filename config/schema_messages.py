"""What happens to messages: `[mail]`, `[sms]`, `[credits]`, and the rest of the rules.

Pure data. Numbers that come from a rule of the contract have its id beside them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from config.kinds import (
    Between,
    Count,
    Credits,
    Fraction,
    IpAddress,
    OptionalCountry,
    OptionalNumber,
    Positive,
    Seconds,
    Text,
    WholeSeconds,
)
from config.schema_upstreams import Channel

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
class Credit:
    """`[credits]`: gifts, lives of lots, recharge and purchases."""

    free_mail_credits: Credits = 500  # R11
    mail_life_days: Count = 0  # R1: none unless the operator sets one
    sms_life_days: Count = 0  # R1: none unless the operator sets one
    validation_life_days: Count = 60  # R1
    query_life_days: Count = 30  # R1
    recharge_threshold: Credits = 100  # R13
    recharge_amount: Positive = 2000  # R13
    recharge_daily_cap: Positive = 20_000  # R13
    recharge_backoff_first_s: WholeSeconds = 3600  # R13
    recharge_backoff_max_s: WholeSeconds = 86_400  # R13
    low_balance_threshold: Credits = 200  # R8
    quote_above: Positive = 2_000_000  # R9
    invoice_confirm: Literal["operator", "at-once"] = "operator"  # R5, R18


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderName:
    """`[sender_name]`: names shown as the sender of an SMS."""

    max_length: Annotated[int, Between(1, 11)] = 10  # R22; 11 is what GSM allows (3GPP TS 23.040, 9.1.2.5)
    countries_file: Path | None = None  # R25; None: the table that is shipped
    fallback_number: OptionalNumber = ""  # R25
    numbers_need_approval: bool = True  # R23


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptableUse:
    """`[acceptable_use]`: the channels whose texts are searched for what may not be sent."""

    refuse_card_numbers: tuple[Channel, ...] = ()  # R32: which channels is the operator's choice
    refuse_ibans: tuple[Channel, ...] = ()  # R32
