"""Stretches to be read again, what payers say they have paid, and the evidence of rates."""

import sqlalchemy as sa
from alembic import op

from counterfoil.db.columns import at, identity, number, ref, text, where

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "rescan",
        identity(),
        text("chain"),
        number("first_height"),
        number("next_height"),
        number("last_height"),
        text("found"),
        text("trouble", null=True),
        at("created_at"),
        at("done_at", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rescan")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_rescan_open", "rescan", ["chain"], **where("done_at IS NULL"))
    op.create_table(
        "claim",
        identity(),
        ref("invoice_id", "invoice"),
        text("txid"),
        at("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
        sqlite_autoincrement=True,
    )
    columns = ["invoice_id", "created_at"]
    op.create_index(op.f("ix_claim_invoice_id_created_at"), "claim", columns)
    op.create_index(op.f("ix_claim_txid"), "claim", ["txid"])
    for name in ("arrival_rate_sources", "final_rate", "final_value", "final_rate_sources"):
        op.add_column("payment", text(name, null=True))
    for name in ("arrival_rate_at", "final_rate_at"):
        op.add_column("payment", at(name, null=True))
