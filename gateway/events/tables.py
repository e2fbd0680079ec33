"""The table of events, which stand with their message."""

from sqlalchemy import Column, Integer, String, Table

from gateway.store.metadata import CLUSTERED, id_column, metadata, ms_column, text_column

event = Table(
    "event",
    metadata,
    id_column("account_id", key=True),
    id_column("message_id", key=True),  # an event of the account itself stands under its own id
    id_column("id", key=True),
    Column("kind", String(40), nullable=False),
    Column("n", Integer, nullable=True),  # which recipient
    ms_column("at_ms"),
    text_column("detail", nullable=True),  # JSON object
    **CLUSTERED,
)
