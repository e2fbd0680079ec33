"""Tables of sender domains and their DKIM keys."""

from sqlalchemy import Column, Index, String, Table

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
    ms_column("active_ms", nullable=True),  # since when it signs: its record was seen, or an operator said so
    ms_column("retired_ms", nullable=True),  # since when it signs no more; its record stays a while
)
Index("ix_dkim_key_domain", dkim_key.c.domain)  # selectors are unique within a domain, whoever has it
