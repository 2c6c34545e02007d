"""Find amounts on an address that has had thousands, and what has lately come into the inbox."""

from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema; the wider indexes serve what the narrow ones did."""
    for table in ("quote", "transfer"):
        columns = ["destination_id", "method", "amount_atomic"]
        op.create_index(f"ix_{table}_amount", table, columns)
        op.drop_index(f"ix_{table}_destination_id", table)
    op.create_index(op.f("ix_inbox_created_at"), "inbox", ["created_at"])
