"""Tables of the ledger: lots, postings, purchase orders, and each account's settings per product."""

from typing import Literal

from sqlalchemy import CheckConstraint, Column, Index, String, Table, text

from gateway.store.metadata import CLUSTERED, id_column, int_column, metadata, ms_column, text_column

lot = Table(
    "lot",
    metadata,
    id_column("account_id", key=True),
    Column("product", String(16), primary_key=True),
    id_column("id", key=True),
    Column("source", String(24), nullable=False),  # free, purchase, recharge, grant, refund
    int_column("granted", None),
    int_column("remaining", None),
    ms_column("released_ms"),
    ms_column("expires_ms", nullable=True),
    id_column("order_id", nullable=True),
    CheckConstraint("remaining >= 0", name="never_below_zero"),  # R12
    CheckConstraint("remaining <= granted", name="never_above_granted"),
    **CLUSTERED,
)

posting = Table(
    "posting",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    Column("product", String(16), nullable=False),
    id_column("lot_id"),
    Column("kind", String(16), nullable=False),  # grant, debit, refund, expired
    int_column("credits", None),  # signed; the sum over a lot is what remains of it
    int_column("messages"),  # how many messages a debit paid for
    text_column("note", nullable=True),
    ms_column("at_ms"),
    **CLUSTERED,
)
Index("ix_posting_lot", posting.c.account_id, posting.c.lot_id)

OrderStatus = Literal[
    "created", "pending", "confirmed", "declined", "needs-authentication", "unknown", "refunded"
]
OPEN: tuple[OrderStatus, ...] = ("created", "pending", "needs-authentication", "unknown")
"""An order in one of these may still be confirmed or declined."""
IS_OPEN = f"status IN ({', '.join(repr(status) for status in OPEN)})"
"""The same as a condition of SQL."""
IS_OPEN_RECHARGE = f"reason = 'recharge' AND {IS_OPEN}"

credit_order = Table(
    "credit_order",
    metadata,
    id_column("account_id", key=True),
    id_column("id", key=True),
    Column("product", String(16), nullable=False),
    int_column("credits", None),
    Column("provider", String(24), nullable=False),
    Column("reason", String(16), nullable=False),  # purchase, recharge
    Column("status", String(24), nullable=False),  # OrderStatus
    text_column("note", nullable=True),
    ms_column("created_ms"),
    ms_column("settled_ms", nullable=True),
    **CLUSTERED,
)
Index(  # R13: one recharge in flight per account and product, whatever races
    "uq_credit_order_open_recharge",
    credit_order.c.account_id,
    credit_order.c.product,
    unique=True,
    sqlite_where=text(IS_OPEN_RECHARGE),
    postgresql_where=text(IS_OPEN_RECHARGE),
)

credit_setting = Table(
    "credit_setting",
    metadata,
    id_column("account_id", key=True),
    Column("product", String(16), primary_key=True),
    int_column("recharge_enabled"),
    int_column("recharge_threshold", None, nullable=True),  # null: the configured default (R13)
    int_column("recharge_amount", None, nullable=True),
    int_column("recharge_daily_cap", None, nullable=True),
    int_column("low_balance", None, nullable=True),  # R8
    **CLUSTERED,
)
