"""When shared addresses ask for amounts again after a restore, and how old events are."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.add_column("chain", sa.Column("amounts_from_ms", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_event_at"), "event", ["at"], unique=False)
