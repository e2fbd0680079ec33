"""The table of the sandbox's captured mail."""

from sqlalchemy import Column, LargeBinary, Table

from gateway.store.metadata import id_column, int_column, metadata, ms_column, text_column

captured_mail = Table(
    "captured_mail",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    id_column("message_id"),
    text_column("mail_from"),
    text_column("recipients"),  # JSON list
    text_column("subject", nullable=True),  # for human eyes, as the message's own
    text_column("author", nullable=True),  # From, for human eyes; not known of the oldest
    int_column("size_octets"),
    ms_column("received_ms"),
    Column("data", LargeBinary, nullable=False),  # as it would have left; last, so that lists never touch it
)
