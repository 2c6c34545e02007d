"""Find the transactions that wait for a block without reading those that are gone.

The version before this one runs on the schema: it asks for what is gone by its chain.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index of them anew, without what is gone."""
    is_pending = sa.text("block_height IS NULL AND gone_at IS NULL")
    op.drop_index("ix_chain_transaction_pending", "chain_transaction")
    op.create_index(
        "ix_chain_transaction_pending",
        "chain_transaction",
        ["chain", "block_height", "gone_at"],
        sqlite_where=is_pending,
        postgresql_where=is_pending,
    )
