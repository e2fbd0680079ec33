"""Events of an account's credits: low balance, recharges (R8, R13)."""

from typing import Any

from gateway.events.record import Event, EventKind, record
from gateway.store.tx import Tx


def note(tx: Tx, account_id: str, kind: EventKind, now_ms: int, detail: dict[str, Any]) -> None:
    """Records an event of the account itself, in the caller's transaction."""
    event_id = tx.new_id(now_ms)
    event = Event(
        account_id=account_id, message_id=event_id, id=event_id, kind=kind, at_ms=now_ms, detail=detail
    )
    record(tx, [event])
