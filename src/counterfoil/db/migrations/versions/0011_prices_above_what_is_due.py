"""Quotes of the least that can be sent, where less than that is due.

The version before this one runs on the schema: it writes no `due`, and counts all that a quote asks
for.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.add_column("quote", sa.Column("due", sa.Text(), nullable=True))
