"""Queues events for the webhooks that asked for them, inside the transaction that writes the events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.store.tx import Tx

if TYPE_CHECKING:
    from gateway.messages.events import Event


def enqueue(tx: Tx, events: "Sequence[Event]") -> None:
    """Adds a `webhook_delivery` row per event and active webhook of its account that wants its kind."""
    accounts = {
        account_id for (account_id,) in tx.rows("SELECT account_id FROM webhook WHERE status = 'active'")
    }
    if not accounts:
        return
