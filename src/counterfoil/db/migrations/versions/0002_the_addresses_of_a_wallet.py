"""Find the addresses of a wallet in the order in which they were shown."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    with op.batch_alter_table("destination", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_destination_wallet_id_derivation_index"),
            ["wallet_id", "derivation_index"],
            unique=False,
        )
