"""Notices that accounts are to be told (`gateway.notices`), and the language that an account is told in."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notice",
        sa.Column("account_id", sa.String(length=26), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.String(length=80), nullable=False),
        sa.Column("queued_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sent_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("message_id", sa.String(length=26), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_notice")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_notice_waiting",
        "notice",
        ["id"],
        unique=False,
        sqlite_where=sa.text("sent_ms IS NULL AND note IS NULL"),
        postgresql_where=sa.text("sent_ms IS NULL AND note IS NULL"),
    )
    op.create_index("uq_notice_account_id_dedupe_key", "notice", ["account_id", "dedupe_key"], unique=True)
    op.add_column("account", sa.Column("language", sa.Text(), nullable=True))
