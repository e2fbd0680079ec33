"""The kinds of events that happen to an account's credits (R8, R13)."""

from typing import Final

CREDITS_LOW: Final = "credits.low"
CREDITS_RECHARGE: Final = "credits.recharge"
"""A recharge was ordered, confirmed, declined or capped."""
