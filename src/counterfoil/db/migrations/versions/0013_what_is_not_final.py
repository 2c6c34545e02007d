"""Find the payments that are not final yet without reading all there ever were.

The version before this one runs on the schema: it does not use the index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index of them anew, with a first column that it can be asked for."""
    is_unsettled = sa.text("final_at IS NULL AND detached_at IS NULL")
    op.drop_index("ix_payment_unsettled", "payment")
    op.create_index(
        "ix_payment_unsettled",
        "payment",
        ["final_at", "transfer_id"],
        sqlite_where=is_unsettled,
        postgresql_where=is_unsettled,
    )
