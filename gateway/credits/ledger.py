"""The ledger: lots and postings, inside whatever transaction the caller has open (R2–R6, R12, R13).

Every change of a lot is written together with the posting that explains it, so the postings of a lot always
sum to what remains of it. The arithmetic is `policy.lots`; this module reads, writes, and decides nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.credits.orders import open_recharge
from gateway.messages.events import AccountEvent, record_account_events
from gateway.store.tx import Tx
from policy import lots as arithmetic
from policy.lots import Lot

Parts = list[tuple[str, int]]
"""[(lot id, credits), …] in the order they were burnt."""

_LOTS = """
SELECT id, released_ms, expires_ms, remaining FROM lot
WHERE account_id = ? AND product = ? AND remaining > 0 ORDER BY released_ms, id
"""
_SET_REMAINING = "UPDATE lot SET remaining = ? WHERE account_id = ? AND product = ? AND id = ?"
_POST = """
INSERT INTO posting (account_id, id, product, lot_id, kind, credits, messages, note, at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_GRANT = """
INSERT INTO lot (account_id, product, id, source, granted, remaining, released_ms, expires_ms, order_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
