"""Tables of the road itself: message, delivery (one row per recipient: queue and history in one), content,
and what correlates SMS receipts.

The two partial indexes make the queue: `due` holds only rows that wait in the database (a row that a process
has in memory is not in it, so the usual message never touches it); `held` only rows that a process holds.
"""

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, text

from gateway.store.metadata import CLUSTERED, id_column, int_column, metadata, ms_column, text_column

message = Table(
    "message",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    Column("channel", String(8), nullable=False),
    Column("ingress", String(8), nullable=False),
    text_column("sender"),
    text_column("subject", nullable=True),
    Column("status", String(20), nullable=False),
    int_column("recipients", None),
    int_column("size_octets", None),
    int_column("price_credits", None),
    int_column("refunded_credits"),
    text_column("lots"),  # JSON [[lot_id, credits], …]: what the debit burnt, in order
    text_column("envelope"),  # JSON MailEnvelope | SmsEnvelope
    text_column("tags", nullable=True),  # JSON list
    text_column("metadata", nullable=True),  # JSON object
    ms_column("accepted_ms"),
    ms_column("send_at_ms", nullable=True),
    ms_column("expires_ms"),
    ms_column("finished_ms", nullable=True),
    **CLUSTERED,
)

delivery = Table(
    "delivery",
    metadata,
    id_column("account_id", key=True),
    id_column("message_id", key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    text_column("address"),
    text_column("destination"),
    Column("status", String(20), nullable=False),  # queued, sent (SMS: awaits receipts), delivered, …
    int_column("price_credits", None),
    int_column("refunded_credits"),
    int_column("attempts"),
    ms_column("next_attempt_ms"),  # while sent: when we stop to wait for receipts
    id_column("holder", nullable=True),
    text_column("reply", nullable=True),  # the last reply of the other side, one line
    ms_column("updated_ms"),
    **CLUSTERED,
)
_WAITING = text("holder IS NULL AND status IN ('queued', 'sent')")
Index(
    "ix_delivery_due",
    delivery.c.destination,
    delivery.c.account_id,
    delivery.c.next_attempt_ms,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)
_HELD = text("holder IS NOT NULL")
Index("ix_delivery_held", delivery.c.holder, sqlite_where=_HELD, postgresql_where=_HELD)

content = Table(
    "content",
    metadata,
    id_column("account_id", key=True),
    id_column("message_id", key=True),
    Column("data", LargeBinary, nullable=False),  # mail: RFC 5322 octets; SMS: UTF-8 text or raw user data
)

sms_part = Table(
    "sms_part",
    metadata,
    Column("upstream", String(64), primary_key=True),
    Column("upstream_id", String(80), primary_key=True),  # 64 octets (SMPP 3.4, 5.2.23), 77 as a decimal
    id_column("account_id"),
    id_column("message_id"),
    Column("n", Integer, nullable=False),
    Column("part", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    ms_column("submitted_ms"),
    **CLUSTERED,
)
Index("ix_sms_part_message", sms_part.c.account_id, sms_part.c.message_id, sms_part.c.n)
Index("ix_sms_part_submitted_ms", sms_part.c.submitted_ms)

parked_receipt = Table(
    "parked_receipt",
    metadata,
    Column("upstream", String(64), primary_key=True),
    Column("upstream_id", String(80), primary_key=True),
    text_column("receipt"),  # JSON Receipt
    ms_column("received_ms"),
    **CLUSTERED,
)
