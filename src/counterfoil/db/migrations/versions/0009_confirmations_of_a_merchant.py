"""Keep how deep each merchant wants payments to be."""

import sqlalchemy as sa
from alembic import op

from counterfoil.db.columns import ref, text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "merchant_confirmations",
        ref("merchant_id", "merchant"),
        text("method"),
        text("policy"),
        sa.PrimaryKeyConstraint("merchant_id", "method", name=op.f("pk_merchant_confirmations")),
    )
