"""Deliveries that a process holds: whose they are, and how they get back into the queue."""

from gateway.store import leases
from gateway.store.tx import Tx

_HOLDERS = "SELECT DISTINCT holder FROM delivery WHERE holder IS NOT NULL"
_HELD = "SELECT account_id, message_id, n FROM delivery WHERE holder = ? LIMIT ?"
_RELEASE = (
    "UPDATE delivery SET holder = NULL WHERE account_id = ? AND message_id = ? AND n = ? AND holder = ?"
)


def other_holders(tx: Tx, *, own: str) -> dict[str, int]:
    """Every other holder of deliveries and until when its lease says it lives; 0: it is dead."""
    return {holder: leases.expiry(tx, holder) for (holder,) in tx.rows(_HOLDERS) if holder != own}


def release(tx: Tx, holder: str, limit: int) -> int:
    """Puts up to `limit` deliveries that `holder` holds back into the queue; how many it were.

    It is a sweep: what somebody is at just now is passed over.
    """
    keys = tx.rows(_HELD + tx.skip_locked, (holder, limit))
    tx.run_many(_RELEASE, [(*key, holder) for key in keys])
    return len(keys)
