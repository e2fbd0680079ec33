"""`[credits]`."""

from dataclasses import dataclass
from typing import Literal

from config.kinds import Count, Credits, Positive, WholeSeconds


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
