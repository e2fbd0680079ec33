"""Orders: credits that are to be paid for, and their release once they are (R5, R9, R13, R15).

A charge has the states created, pending, confirmed, declined, needs-authentication, unknown, refunded. Every
change of state is a guarded UPDATE, so that whoever confirms twice releases once. All functions work inside
the caller's transaction.
"""

from dataclasses import dataclass

from sqlalchemy import select

from gateway.credits import ledger
from gateway.credits.events import CREDITS_RECHARGE
from gateway.credits.placing import place
from gateway.credits.tables import IS_OPEN, OPEN, OrderStatus, credit_order
from gateway.credits.terms import PRODUCTS, Terms
from gateway.errors import ServiceError
from gateway.events.record import of_account
from gateway.store.tx import Tx

_MOVE = f"""
UPDATE credit_order SET status = ?, note = coalesce(?, note), settled_ms = ?
WHERE account_id = ? AND id = ? AND {IS_OPEN}
"""  # noqa: S608 - the states stand in tables.py


class OrderError(ServiceError):
    """An order that cannot be: the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One purchase of credits."""

    account_id: str
    id: str
    product: str
    credits: int
    provider: str
    reason: str
    status: str
    note: str | None
    created_ms: int
    settled_ms: int | None


def create(
    tx: Tx, account_id: str, product: str, credits: int, *, provider: str, now_ms: int, terms: Terms
) -> str:
    """Writes a new purchase; its id. Raises OrderError for a product or quantity that is not sold."""
    if product not in PRODUCTS:
        raise OrderError(f"product: {product!r} is none of {', '.join(PRODUCTS)}")
    if credits <= 0:
        raise OrderError(f"credits: {credits} is not a positive number")
    if credits > terms.settings.quote_above:  # R9
        raise OrderError(
            f"credits: more than {terms.settings.quote_above} in one purchase needs a quote; "
            "ask the operator of this gateway"
        )
    order_id = tx.new_id(now_ms)
    place(tx, account_id, order_id, product, credits, reason="purchase", provider=provider, now_ms=now_ms)
    return order_id


def find(tx: Tx, account_id: str, order_id: str) -> Order | None:
    """The order, or None."""
    row = tx.mapping(
        select(credit_order).where(credit_order.c.account_id == account_id, credit_order.c.id == order_id)
    )
    return None if row is None else Order(**row)


def listing(tx: Tx, account_id: str | None = None, *, statuses: tuple[str, ...] = ()) -> list[Order]:
    """Orders, the newest first."""
    query = select(credit_order).order_by(credit_order.c.id.desc()).limit(500)
    if account_id is not None:
        query = query.where(credit_order.c.account_id == account_id)
    if statuses:
        query = query.where(credit_order.c.status.in_(statuses))
    return [Order(**row) for row in tx.mappings(query)]


def move(
    tx: Tx, order: Order, status: OrderStatus, *, now_ms: int, terms: Terms, note: str | None = None
) -> bool:
    """Moves an open order to `status`; confirming it releases the credits (R5). False: it is not open."""
    tx.require(ledger.locks([(order.account_id, order.product)]))
    settled_ms = now_ms if status not in OPEN else None
    if tx.run(_MOVE, (status, note, settled_ms, order.account_id, order.id)) != 1:
        return False
    if status == "confirmed":
        ledger.grant(
            tx,
            order.account_id,
            order.product,
            order.credits,
            source=order.reason,
            now_ms=now_ms,
            expires_ms=terms.expires_ms(order.product, now_ms),
            order_id=order.id,
        )
    if status != order.status and order.reason == "recharge":
        detail = {
            "product": order.product, "order": order.id, "credits": order.credits, "status": status
        }  # fmt: skip
        of_account(tx, order.account_id, CREDITS_RECHARGE, now_ms, detail)
    return True
