"""Whether an account's credits are bought anew by themselves, and how many (R13).

`decide` is asked after a debit or a refusal for lack of credits. The caller knows whether the account wants
auto-recharge and has a means to pay, and makes the order in the transaction in which it asked.
"""

from dataclasses import dataclass
from enum import StrEnum


class Because(StrEnum):
    """Why nothing is bought: a bounded set."""

    ENOUGH = "enough"
    """The balance is not below the threshold, and nothing waits for credits."""
    IN_FLIGHT = "in-flight"
    """An order is open; there is one at a time."""
    BACKING_OFF = "backing-off"
    """The last charge was declined, and the wait is not over."""
    DAILY_CAP = "daily-cap"
    """The day's cap leaves no room."""


@dataclass(frozen=True, slots=True)
class Recharge:
    """Buy so many credits, in one charge."""

    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRecharge:
    """Buy nothing; `until_ms` is when a wait ends, where it is one."""

    because: Because
    until_ms: int | None = None


def decide(
    *,
    balance: int,
    threshold: int,
    amount: int,
    shortfall: int,
    open_orders: int,
    charged_today: int,
    daily_cap: int,
    declined_count: int,
    last_declined_ms: int | None,
    now_ms: int,
    backoff_first_ms: int = 3_600_000,
    backoff_max_ms: int = 86_400_000,
) -> Recharge | NoRecharge:
    """What to buy now, if anything.

    A balance strictly below the threshold asks for a purchase; so does a shortfall (what the dearest
    refused message lacks), whatever the balance. Purchases are whole multiples of `amount`: the fewest that
    cover the shortfall and leave at least the threshold once it is spent, so that one charge closes it. If
    the day's cap has no room for that, the fewest that cover the shortfall alone; if not for that either,
    what the threshold alone asks for. `declined_count` counts the declines since the last charge that went
    through, and the wait after them doubles with each. All numbers are 0 or more, `amount` is 1 or more.
    """
    if amount < 1 or min(balance, threshold, shortfall, charged_today, daily_cap) < 0:
        raise ValueError("amount must be 1 or more, and no number below zero")
    below = balance < threshold  # strict: R13
    if not below and shortfall == 0:
        return NoRecharge(because=Because.ENOUGH)
    if open_orders > 0:
        return NoRecharge(because=Because.IN_FLIGHT)
    if declined_count > 0 and last_declined_ms is not None:
        until_ms = last_declined_ms + _wait_ms(declined_count, backoff_first_ms, backoff_max_ms)
        if now_ms < until_ms:
            return NoRecharge(because=Because.BACKING_OFF, until_ms=until_ms)
    wanted = [_multiple(shortfall + threshold, amount), _multiple(shortfall, amount)] if shortfall else []
    if below:
        wanted.append(_multiple(threshold - balance, amount))
    for credit in wanted:
        if charged_today + credit <= daily_cap:
            return Recharge(credit)
    return NoRecharge(because=Because.DAILY_CAP)


def _multiple(credit: int, amount: int) -> int:
    """The least multiple of `amount` that is `credit` or more."""
    return -(-credit // amount) * amount


def _wait_ms(declined_count: int, first_ms: int, max_ms: int) -> int:
    """How long to leave a payer in peace after so many declines in a row."""
    return int(min(max_ms, first_ms << min(declined_count - 1, 32)))
