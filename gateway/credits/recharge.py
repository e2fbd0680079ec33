"""Auto-recharge and the low-balance notice: what a debit may set off, inside its own transaction (R8, R13).

The order is a row written with the debit; paying it is `gateway.credits.service`'s work after the commit. The
unique index on open recharge orders makes "one in flight" hold whatever races.
"""

from datetime import UTC, datetime
from typing import Any

from gateway.accounts.service import language_of
from gateway.credits.events import CREDITS_LOW, CREDITS_RECHARGE
from gateway.credits.notices import LOW
from gateway.credits.placing import place
from gateway.credits.rules import recharge as rules
from gateway.credits.tables import IS_OPEN, OPEN
from gateway.credits.terms import DAY_MS, Terms
from gateway.events.record import of_account
from gateway.ids import id_floor
from gateway.notices.queue import queue
from gateway.store.tx import Tx

_SETTING = """
SELECT recharge_enabled, recharge_threshold, recharge_amount, recharge_daily_cap, low_balance
FROM credit_setting WHERE account_id = ? AND product = ?
"""
_ORDERS = f"""
SELECT status, credits, created_ms, settled_ms FROM credit_order
WHERE account_id = ? AND product = ? AND reason = 'recharge' AND (id >= ? OR {IS_OPEN})
ORDER BY id
"""  # noqa: S608 - the states stand in tables.py
PROVIDER = "invoice"


def after_debit(
    tx: Tx,
    account_id: str,
    product: str,
    *,
    before: int,
    balance: int,
    shortfall: int,
    now_ms: int,
    terms: Terms,
) -> str | None:
    """Notes a low balance, and orders a recharge where the account wants one; the order's id or None."""
    setting = tx.one(_SETTING, (account_id, product))
    enabled, threshold, amount, daily_cap, low = setting or (0, None, None, None, None)
    limit = terms.settings.low_balance_threshold if low is None else low
    if balance < limit <= before:
        _tell_low(tx, account_id, {"product": product, "balance": balance, "below": limit}, now_ms)
    if not enabled:
        return None
    decision = _decide(
        tx,
        account_id,
        product,
        balance=balance,
        threshold=terms.settings.recharge_threshold if threshold is None else threshold,
        amount=terms.settings.recharge_amount if amount is None else amount,
        daily_cap=terms.settings.recharge_daily_cap if daily_cap is None else daily_cap,
        shortfall=shortfall,
        now_ms=now_ms,
        terms=terms,
    )
    if not isinstance(decision, rules.Recharge):
        return None
    order_id = tx.new_id(now_ms)
    if not place(
        tx,
        account_id,
        order_id,
        product,
        decision.credits,
        reason="recharge",
        provider=PROVIDER,
        now_ms=now_ms,
    ):
        return None  # another process was faster
    detail = {"product": product, "order": order_id, "credits": decision.credits, "status": "created"}
    of_account(tx, account_id, CREDITS_RECHARGE, now_ms, detail)
    return order_id


def _tell_low(tx: Tx, account_id: str, detail: dict[str, Any], now_ms: int) -> None:
    """An event each time, and a mail at most once a day (UTC) and product (R8).

    Two debits of one product take turns, so no other transaction queues the same notice just now.
    """
    of_account(tx, account_id, CREDITS_LOW, now_ms, detail)
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    key = f"{CREDITS_LOW}:{detail['product']}:{day}"
    queue(tx, account_id, LOW.name, language_of(tx, account_id), detail, key, now_ms)


def _decide(
    tx: Tx,
    account_id: str,
    product: str,
    *,
    balance: int,
    threshold: int,
    amount: int,
    daily_cap: int,
    shortfall: int,
    now_ms: int,
    terms: Terms,
) -> rules.Recharge | rules.NoRecharge:
    """Asks the rules, with what the orders of the last day (and all open ones) tell."""
    if balance >= threshold and shortfall == 0:
        return rules.NoRecharge(because=rules.Because.ENOUGH)
    orders = tx.rows(_ORDERS, (account_id, product, id_floor(now_ms - DAY_MS)))
    declined = 0
    last_declined_ms = None
    for status, _, created_ms, settled_ms in orders:
        if status == "declined":
            declined += 1
            last_declined_ms = settled_ms or created_ms
        elif status == "confirmed":
            declined, last_declined_ms = 0, None
    return rules.decide(
        balance=balance,
        threshold=threshold,
        amount=amount,
        shortfall=shortfall,
        open_orders=sum(1 for status, *_ in orders if status in OPEN),
        charged_today=sum(credits for status, credits, *_ in orders if status != "declined"),
        daily_cap=daily_cap,
        declined_count=declined,
        last_declined_ms=last_declined_ms,
        now_ms=now_ms,
        backoff_first_ms=terms.settings.recharge_backoff_first_s * 1000,
        backoff_max_ms=terms.settings.recharge_backoff_max_s * 1000,
    )
