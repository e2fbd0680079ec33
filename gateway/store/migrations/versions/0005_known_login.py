"""From where each SMPP credential has logged in, as keyed digests (`gateway.accounts.known`)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "known_login",
        sa.Column("account_id", sa.String(length=26), nullable=False),
        sa.Column("credential_id", sa.String(length=26), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=40), nullable=False),
        sa.Column("last_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "credential_id", "prefix", name=op.f("pk_known_login")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_known_login_last_ms", "known_login", ["last_ms"], unique=False)
