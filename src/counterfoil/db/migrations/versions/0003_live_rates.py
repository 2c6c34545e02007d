"""Live rates: whose turn it is to be asked, and which prices are fixings."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "rate_source",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("good_at", sa.BigInteger(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rate_source")),
    )
    op.add_column(
        "rate",
        sa.Column("is_fixing", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
