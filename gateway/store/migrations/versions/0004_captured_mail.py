"""What the sandbox's lists show in columns, before the content: a row's head is read without its mail."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FILL = """
UPDATE captured_mail AS c SET size_octets = octet_length(data), subject = (
  SELECT m.subject FROM message AS m WHERE m.account_id = c.account_id AND m.id = c.message_id)
"""
_COPY = """
INSERT INTO captured_mail
  (account_id, id, message_id, mail_from, recipients, received_ms, data, size_octets, subject)
SELECT c.account_id, c.id, c.message_id, c.mail_from, c.recipients, c.received_ms, c.data, length(c.data), (
  SELECT m.subject FROM message AS m WHERE m.account_id = c.account_id AND m.id = c.message_id)
FROM captured_mail_old AS c
"""


def upgrade() -> None:
    int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    if op.get_bind().dialect.name == "postgresql":  # which keeps large values beside the row
        op.add_column("captured_mail", sa.Column("subject", sa.Text(), nullable=True))
        op.add_column("captured_mail", sa.Column("author", sa.Text(), nullable=True))
        op.add_column("captured_mail", sa.Column("size_octets", int64, nullable=False, server_default="0"))
        op.execute(_FILL)
        return
    op.rename_table("captured_mail", "captured_mail_old")
    op.create_table(
        "captured_mail",
        sa.Column("account_id", sa.String(length=26), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("message_id", sa.String(length=26), nullable=False),
        sa.Column("mail_from", sa.Text(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("size_octets", int64, nullable=False, server_default="0"),
        sa.Column("received_ms", int64, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_captured_mail")),
    )
    op.execute(_COPY)
    op.drop_table("captured_mail_old")
