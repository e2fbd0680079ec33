"""The table of receipts that SMPP clients have asked for and not yet acknowledged."""

from sqlalchemy import Column, Index, String, Table

from gateway.store.metadata import CLUSTERED, id_column, int_column, metadata, ms_column, text_column

client_receipt = Table(
    "client_receipt",
    metadata,
    id_column("account_id", key=True),
    Column("system_id", String(16), primary_key=True),  # SMPP v3.4 section 5.2.1: 15 octets
    id_column("message_id", key=True),
    text_column("body"),  # JSON ClientReceipt
    int_column("attempts"),
    ms_column("due_ms"),  # not offered before this; pushed ahead when the client did not take it
    ms_column("queued_ms"),
    **CLUSTERED,
)
Index(
    "ix_client_receipt_due",
    client_receipt.c.account_id,
    client_receipt.c.system_id,
    client_receipt.c.due_ms,
)
