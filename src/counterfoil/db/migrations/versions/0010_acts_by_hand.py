"""The inbox and the acts by hand: payments that no quote prices, who did what, what was ignored.

The version before this one runs on the schema, but does not count a payment without a quote: nobody
makes one before that version is gone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Expand the schema."""
    _let_quotes_be_missing()
    op.add_column("payment", sa.Column("value", sa.Text(), nullable=True))
    op.add_column(
        "payment", sa.Column("is_held", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("merchant", sa.Column("tolerance", sa.Text(), server_default="0", nullable=False))
    op.add_column(
        "merchant", sa.Column("late_money", sa.Text(), server_default="accept", nullable=False)
    )
    op.add_column("transfer", sa.Column("rates", sa.Text(), nullable=True))
    op.add_column("inbox", sa.Column("ignored_at", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_quote_created_at"), "quote", ["created_at"])
    op.create_table(
        "refund",
        sa.Column("id", _BIG, sa.Identity(always=False), nullable=False),
        sa.Column("invoice_id", _BIG, nullable=False),
        sa.Column("payment_id", _BIG, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_refund_invoice_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"], name=op.f("fk_refund_payment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_refund_invoice_id"), "refund", ["invoice_id"])
    op.create_table(
        "audit",
        sa.Column("id", _BIG, sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", _BIG, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("invoice_id", _BIG, nullable=True),
        sa.Column("payment_id", sa.BigInteger(), nullable=True),
        sa.Column("transfer_id", _BIG, nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_audit_merchant_id")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_audit_invoice_id")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfer.id"], name=op.f("fk_audit_transfer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_merchant_id_id"), "audit", ["merchant_id", "id"])
    op.create_index(op.f("ix_audit_invoice_id"), "audit", ["invoice_id"])


def _let_quotes_be_missing() -> None:
    """Let a payment have no quote; SQLite can only make the table anew."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.alter_column("payment", "quote_id", nullable=True)
        return
    count = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
    is_ours = count.c.name == "payment"
    last = connection.execute(sa.select(count.c.seq).where(is_ours)).scalar_one_or_none()
    with op.batch_alter_table(
        "payment", recreate="always", table_kwargs={"sqlite_autoincrement": True}
    ) as batch_op:
        batch_op.alter_column("quote_id", existing_type=sa.Integer(), nullable=True)
    if last is not None:
        # A restore has moved the count on beyond the rows: no id may be given out twice.
        connection.execute(sa.delete(count).where(is_ours))
        connection.execute(sa.insert(count).values(name="payment", seq=last))
