"""How often a lease was taken from its process: what a process that stood still learns it by."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lease", sa.Column("epoch", sa.Integer(), nullable=False, server_default="0"))
