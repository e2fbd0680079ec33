"""The one way an order comes into the database, for purchases and recharges alike."""

from typing import Literal

from gateway.credits.tables import IS_OPEN_RECHARGE
from gateway.store.tx import Tx

_INSERT = f"""
INSERT INTO credit_order (account_id, id, product, credits, provider, reason, status, created_ms)
VALUES (?, ?, ?, ?, ?, ?, 'created', ?)
ON CONFLICT (account_id, product) WHERE {IS_OPEN_RECHARGE} DO NOTHING
"""  # noqa: S608 - the states stand in tables.py


def place(
    tx: Tx,
    account_id: str,
    order_id: str,
    product: str,
    credits: int,
    *,
    reason: Literal["purchase", "recharge"],
    provider: str,
    now_ms: int,
) -> bool:
    """Writes a new order. False: it is a recharge, and another one of the product is open (R13)."""
    return tx.run(_INSERT, (account_id, order_id, product, credits, provider, reason, now_ms)) == 1
