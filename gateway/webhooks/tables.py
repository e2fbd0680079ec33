"""Tables of webhooks and what is still to be told to them."""

from sqlalchemy import Column, Index, String, Table, text

from gateway.store.metadata import id_column, int_column, metadata, ms_column, text_column

webhook = Table(
    "webhook",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    text_column("url"),
    text_column("events"),  # JSON list of event kinds; ["*"] for all
    text_column("secret"),  # whsec_…: needed in clear to sign (Standard Webhooks)
    Column("status", String(16), nullable=False),  # active, disabled
    text_column("note", nullable=True),  # why it was disabled
    ms_column("created_ms"),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),  # the webhook-id header: the same at every try
    id_column("webhook_id"),
    text_column("body"),  # JSON, as it is signed and sent
    Column("status", String(16), nullable=False),  # waiting, delivered, failed
    int_column("attempts"),
    ms_column("next_attempt_ms"),  # while an attempt is under way: when it counts as lost
    text_column("reply", nullable=True),  # what became of the last attempt, one line
    ms_column("queued_ms"),  # since when it is tried: when it happened, or when it was replayed
)
_WAITING = text("status = 'waiting'")
Index(
    "ix_webhook_delivery_due",
    webhook_delivery.c.account_id,
    webhook_delivery.c.webhook_id,
    webhook_delivery.c.next_attempt_ms,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)
Index("ix_webhook_delivery_id", webhook_delivery.c.id)  # ids begin with their time: retention deletes by it
