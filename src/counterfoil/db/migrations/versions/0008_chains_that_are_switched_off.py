"""Note since when a chain is switched off for good."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.add_column("chain", sa.Column("retired_at", sa.BigInteger(), nullable=True))
