"""Tables of SenderNames (R22–R25) and the documents that prove them (R23)."""

from sqlalchemy import Column, LargeBinary, String, Table

from gateway.store.metadata import id_column, metadata, ms_column, text_column

sender_name = Table(
    "sender_name",
    metadata,
    id_column("account_id", key=True),
    Column("name", String(21), primary_key=True),  # SMPP 3.4 section 5.2.8: 20 octets and the NUL
    Column("status", String(16), nullable=False),  # draft, pending, approved, rejected
    text_column("note", nullable=True),  # why it was rejected
    ms_column("created_ms"),
    ms_column("decided_ms", nullable=True),
)

sender_name_document = Table(
    "sender_name_document",
    metadata,
    id_column("account_id", key=True),
    Column("name", String(21), primary_key=True),
    Column("kind", String(32), primary_key=True),  # company_registration, identity
    text_column("filename"),
    text_column("content_type"),
    Column("data", LargeBinary, nullable=False),
    ms_column("uploaded_ms"),
)
