"""Tables of accounts, their credentials, and from where these have logged in."""

from sqlalchemy import Column, Index, String, Table

from gateway.store.metadata import CLUSTERED, id_column, int_column, metadata, ms_column, text_column

account = Table(
    "account",
    metadata,
    id_column("id", key=True),
    text_column("name"),
    Column("status", String(16), nullable=False),  # active, suspended, closed
    text_column("email", nullable=True),  # where notices go
    int_column("rate_per_s", None, nullable=True),  # R29: limits of its own
    text_column("note", nullable=True),  # why it was suspended, told to the client
    ms_column("created_ms"),
    ms_column("status_ms", nullable=True),  # since when it has its status (R37 counts from closing)
    text_column("language", nullable=True),  # of its notices (BCP 47); null: the configured one
)

credential = Table(
    "credential",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    Column("kind", String(8), nullable=False),  # api, smtp, smpp
    Column("username", String(64), nullable=False),  # api: the key's public prefix
    text_column("secret_hash"),
    text_column("scopes"),  # JSON list; api only
    text_column("label", nullable=True),
    ms_column("created_ms"),
    ms_column("revoked_ms", nullable=True),
)
Index("uq_credential_kind_username", credential.c.kind, credential.c.username, unique=True)

known_login = Table(
    "known_login",
    metadata,
    id_column("account_id", key=True),
    id_column("credential_id", key=True),
    Column("prefix", String(32), primary_key=True),  # keyed digest of the address's prefix
    Column("digest", String(40), nullable=False),  # keyed digest of the secret
    ms_column("last_ms"),  # of the last login, to a day
    **CLUSTERED,
)
Index("ix_known_login_last_ms", known_login.c.last_ms)
