"""Tables of sender domains and their DKIM keys."""

from sqlalchemy import Column, String, Table

from gateway.store.metadata import id_column, metadata, ms_column, text_column

domain = Table(
    "domain",
    metadata,
    id_column("account_id", key=True),
    Column("name", String(253), primary_key=True),  # A-labels, lower case
    Column("status", String(16), nullable=False),  # pending, verified
    ms_column("created_ms"),
    ms_column("verified_ms", nullable=True),
)

dkim_key = Table(
    "dkim_key",
    metadata,
    id_column("account_id", key=True),
    Column("domain", String(253), primary_key=True),
    Column("selector", String(63), primary_key=True),
    Column("algorithm", String(16), nullable=False),  # rsa-sha256, ed25519-sha256 (RFC 8463)
    text_column("private_pem"),
    ms_column("created_ms"),
    ms_column("retired_ms", nullable=True),
)
