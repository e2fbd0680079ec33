"""The number of each writer's last batch: what a COMMIT without an answer is looked up by (PostgreSQL)."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writer_batch",
        sa.Column("holder", sa.String(length=26), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("holder", name=op.f("pk_writer_batch")),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Rows of a queue die young: vacuum before its index is mostly dead entries. A message's status
        # changes once, in its own page where there is room.
        for table in ("delivery", "webhook_delivery", "client_receipt"):
            op.execute(f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.01)")
        op.execute("ALTER TABLE message SET (fillfactor = 90)")
