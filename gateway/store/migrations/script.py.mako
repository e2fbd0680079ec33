"""${message}"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None
<% lines = [line for line in (upgrades or "pass").splitlines() if not line.strip().startswith("# ###")] %>

def upgrade() -> None:
    ${"\n".join(lines).strip()}
