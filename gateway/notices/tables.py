"""The table of notices: what accounts are to be told, and what became of it."""

from sqlalchemy import Column, Index, String, Table, text

from gateway.store.metadata import CLUSTERED, id_column, metadata, ms_column, text_column

notice = Table(
    "notice",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    Column("kind", String(40), nullable=False),
    Column("language", String(8), nullable=True),  # null: the configured one, when it is sent
    text_column("data"),  # JSON object: what its text says
    Column("dedupe_key", String(80), nullable=False),
    ms_column("queued_ms"),
    ms_column("sent_ms", nullable=True),
    id_column("message_id", nullable=True),  # the mail that tells it
    text_column("note", nullable=True),  # why it was not sent, and will not be
    **CLUSTERED,
)
Index("uq_notice_account_id_dedupe_key", notice.c.account_id, notice.c.dedupe_key, unique=True)
_WAITING = text("sent_ms IS NULL AND note IS NULL")
Index("ix_notice_waiting", notice.c.id, sqlite_where=_WAITING, postgresql_where=_WAITING)
