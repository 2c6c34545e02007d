"""The tables of what people say and do by hand; see `schema`."""

import sqlalchemy as sa

from counterfoil.db.columns import at as _at
from counterfoil.db.columns import identity as _id
from counterfoil.db.columns import metadata
from counterfoil.db.columns import number as _number
from counterfoil.db.columns import ref as _ref
from counterfoil.db.columns import text as _text

# Transactions that payers name: they make us look, and credit nothing.
claim = sa.Table(
    "claim",
    metadata,
    _id(),
    _ref("invoice_id", "invoice"),
    _text("txid"),
    _at("created_at"),
    sa.Index(None, "invoice_id", "created_at"),
    sa.Index(None, "txid"),
)

# Money that the merchant sent back: notes alone, which no credit and no status depends on.
refund = sa.Table(
    "refund",
    metadata,
    _id(),
    _ref("invoice_id", "invoice"),
    _ref("payment_id", "payment", null=True),
    _at("created_at"),
    # In whole coins of `method`, or in the invoice's currency where there is none.
    _text("amount"),
    _text("method", null=True),
    _text("txid"),
    _text("note"),
    sa.Index(None, "invoice_id"),
)

# What people and programs did by hand: who, what, on which, when.
audit = sa.Table(
    "audit",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("mode"),
    _at("at"),
    # "key 7", or "cli".
    _text("who"),
    _text("act"),
    _ref("invoice_id", "invoice", null=True),
    _number("payment_id", null=True),
    _ref("transfer_id", "transfer", null=True),
    _text("details"),
    sa.Index(None, "merchant_id", "id"),
    sa.Index(None, "invoice_id"),
)
