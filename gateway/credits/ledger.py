"""The ledger: lots and postings, inside whatever transaction the caller has open (R2–R6, R12, R13).

Every change of a lot is written together with the posting that explains it, so the postings of a lot always
sum to what remains of it. The arithmetic is `gateway.credits.rules.lots`; this module reads, writes, and
decides nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.credits import recharge
from gateway.credits.rules import lots as arithmetic
from gateway.credits.rules.lots import Lot
from gateway.credits.terms import Terms
from gateway.store.locks import Locks, named
from gateway.store.tx import Tx

Parts = list[tuple[str, int]]
"""[(lot id, credits), …] in the order they were burnt."""

_TOTALS = """
SELECT product, source, sum(granted),
  sum(CASE WHEN expires_ms IS NULL OR expires_ms > ? THEN remaining ELSE 0 END)
FROM lot GROUP BY product, source
"""
_LOTS = """
SELECT id, released_ms, expires_ms, remaining FROM lot
WHERE account_id = ? AND product = ? AND remaining > 0 ORDER BY released_ms, id
"""
_LOTS_BY_ID = """
SELECT id, released_ms, expires_ms, remaining FROM lot WHERE account_id = ? AND product = ? AND id IN
"""
_SET_REMAINING = "UPDATE lot SET remaining = ? WHERE account_id = ? AND product = ? AND id = ?"
_ADD_REMAINING = "UPDATE lot SET remaining = remaining + ? WHERE account_id = ? AND product = ? AND id = ?"
_POST = """
INSERT INTO posting (account_id, id, product, lot_id, kind, credits, messages, note, at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_GRANT = """
INSERT INTO lot (account_id, product, id, source, granted, remaining, released_ms, expires_ms, order_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_BALANCES = """
SELECT product, sum(remaining) FROM lot
WHERE account_id = ? AND remaining > 0 AND (expires_ms IS NULL OR expires_ms > ?) GROUP BY product
"""
_UNBALANCED = """
SELECT l.account_id, l.product, l.id, l.remaining, coalesce(sum(p.credits), 0) FROM lot l
LEFT JOIN posting p ON p.account_id = l.account_id AND p.lot_id = l.id
GROUP BY l.account_id, l.product, l.id, l.remaining HAVING l.remaining <> coalesce(sum(p.credits), 0)
"""


@dataclass(frozen=True, slots=True)
class Debit:
    """What a batch of debits did: per price the parts burnt, or None where it was refused whole (R12)."""

    parts: list[Parts | None]
    balance: int
    recharge_order: str | None


def locks(pairs: Collection[tuple[str, str]]) -> Locks:
    """What is locked before lots of (account id, product) are read, to be changed by what was read."""
    return named(*(f"lots:{account_id}:{product}" for account_id, product in pairs))


def debit(
    tx: Tx, account_id: str, product: str, prices: Sequence[int], *, now_ms: int, terms: Terms
) -> Debit:
    """Burns each price from the account's lots, oldest release first (R3), in the order given.

    A price that the lots do not cover whole burns nothing and takes nothing from the next. Expired lots that
    are met on the way are voided (R4). One look-up, and one update and posting per lot touched.
    """
    if tx.shared:
        tx.require(locks([(account_id, product)]))
    before = _lots(tx.rows(_LOTS, (account_id, product)))
    usable = _void(tx, account_id, product, before, now_ms)
    burnt = arithmetic.burn_many(usable, prices, now_ms)
    spent: dict[str, list[int]] = {}  # lot id → [credits, messages]
    for parts in burnt.parts:
        for lot_id, credits in parts or ():
            total = spent.setdefault(lot_id, [0, 0])
            total[0] += credits
            total[1] += 1
    remaining = {lot.id: lot.remaining for lot in burnt.lots}
    tx.run_many(_SET_REMAINING, [(remaining[lot_id], account_id, product, lot_id) for lot_id in spent])
    tx.run_many(
        _POST,
        [
            (account_id, tx.new_id(now_ms), product, lot_id, "debit", -credits, messages, None, now_ms)
            for lot_id, (credits, messages) in spent.items()
        ],
    )
    balance = sum(lot.remaining for lot in burnt.lots)
    start = sum(lot.remaining for lot in usable)
    shortfall = max(
        (price for price, parts in zip(prices, burnt.parts, strict=True) if parts is None), default=0
    )
    order = recharge.after_debit(
        tx,
        account_id,
        product,
        before=start,
        balance=balance,
        shortfall=max(0, shortfall - balance),
        now_ms=now_ms,
        terms=terms,
    )
    return Debit(parts=burnt.parts, balance=balance, recharge_order=order)


def grant(
    tx: Tx,
    account_id: str,
    product: str,
    credits: int,
    *,
    source: str,
    now_ms: int,
    expires_ms: int | None,
    order_id: str | None = None,
    note: str | None = None,
) -> str:
    """Releases a new lot of `credits` (> 0) and posts it; the lot's id."""
    if credits <= 0:
        raise ValueError(f"credits: {credits} is not a positive number of credits")
    lot_id = tx.new_id(now_ms)
    tx.run(_GRANT, (account_id, product, lot_id, source, credits, credits, now_ms, expires_ms, order_id))
    posting = (account_id, tx.new_id(now_ms), product, lot_id, "grant", credits, 0, note, now_ms)
    tx.run(_POST, posting)
    return lot_id


def refund(
    tx: Tx, account_id: str, product: str, parts: Parts, *, debited_ms: int, now_ms: int, note: str
) -> None:
    """Gives `parts` back to the lots they came from.

    What came from a lot that has expired since becomes a new lot with the life that was left at the debit
    (R6). The caller sees to it that this happens once per debit.
    """
    tx.require(locks([(account_id, product)]))
    marks = ", ".join("?" * len(parts))
    rows = tx.rows(f"{_LOTS_BY_ID} ({marks})", (account_id, product, *[lot_id for lot_id, _ in parts]))
    back = arithmetic.refund(parts, _lots(rows), accepted_ms=debited_ms, now_ms=now_ms)
    for lot_id, credits in back.returned:
        tx.run(_ADD_REMAINING, (credits, account_id, product, lot_id))
        posting = (account_id, tx.new_id(now_ms), product, lot_id, "refund", credits, 1, note, now_ms)
        tx.run(_POST, posting)
    for new in back.reissued:
        lot_id = tx.new_id(now_ms)
        row = (account_id, product, lot_id, "refund", new.credits, new.credits, now_ms, new.expires_ms, None)
        tx.run(_GRANT, row)
        posting = (account_id, tx.new_id(now_ms), product, lot_id, "refund", new.credits, 1, note, now_ms)
        tx.run(_POST, posting)


def void_expired(tx: Tx, account_id: str, product: str, *, now_ms: int) -> None:
    """Voids what has expired, each with its posting (R4)."""
    tx.require(locks([(account_id, product)]))
    _void(tx, account_id, product, _lots(tx.rows(_LOTS, (account_id, product))), now_ms)


def totals(tx: Tx, *, now_ms: int) -> list[tuple[str, str, int, int]]:
    """All lots summed: (product, source, granted, what can still be spent)."""
    return [(row[0], row[1], int(row[2]), int(row[3])) for row in tx.rows(_TOTALS, (now_ms,))]


def with_expired(tx: Tx, *, now_ms: int) -> list[tuple[str, str]]:
    """The (account id, product) pairs that have lots to be voided."""
    return [
        (account_id, product)
        for account_id, product in tx.rows(
            "SELECT DISTINCT account_id, product FROM lot WHERE remaining > 0 AND expires_ms <= ? "
            "ORDER BY account_id, product",
            (now_ms,),
        )
    ]


def balances(tx: Tx, account_id: str, *, now_ms: int) -> dict[str, int]:
    """What can be spent now, by product (R2)."""
    return {product: int(total) for product, total in tx.rows(_BALANCES, (account_id, now_ms))}


def unbalanced(tx: Tx) -> list[tuple[Any, ...]]:
    """Lots whose postings do not sum to what remains, as (account, product, lot, remaining, sum): none."""
    return tx.rows(_UNBALANCED)


def _void(tx: Tx, account_id: str, product: str, lots: list[Lot], now_ms: int) -> list[Lot]:
    """Voids the expired among `lots` (R4); the others."""
    expired = dict(arithmetic.expire(lots, now_ms))
    for lot_id, credits in expired.items():
        tx.run(_SET_REMAINING, (0, account_id, product, lot_id))
        posting = (account_id, tx.new_id(now_ms), product, lot_id, "expired", -credits, 0, None, now_ms)
        tx.run(_POST, posting)
    return [lot for lot in lots if lot.id not in expired]


def _lots(rows: list[tuple[Any, ...]]) -> list[Lot]:
    return [
        Lot(id=lot_id, released_ms=released_ms, expires_ms=expires_ms, remaining=remaining)
        for lot_id, released_ms, expires_ms, remaining in rows
    ]
