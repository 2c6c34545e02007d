"""The tables of the world outside: prices, the simulated chain, and what is to be read again."""

import sqlalchemy as sa

from counterfoil.db.columns import at as _at
from counterfoil.db.columns import identity as _id
from counterfoil.db.columns import metadata
from counterfoil.db.columns import number as _number
from counterfoil.db.columns import text as _text
from counterfoil.db.columns import where as _where

rate = sa.Table(
    "rate",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("base", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    _text("price"),
    _at("at"),
    # A price that is made once a working day, and stands until the next one.
    sa.Column("is_fixing", sa.Boolean, nullable=False, server_default=sa.false()),
)

# Whose turn it is to be asked for prices, whichever process asks, and what came of the last time.
rate_source = sa.Table(
    "rate_source",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _at("due_at"),
    _at("good_at", null=True),
    _text("trouble", null=True),
)

# The lowest and highest accepted price of each hour of the last day: what a jump is measured by.
rate_hour = sa.Table(
    "rate_hour",
    metadata,
    sa.Column("base", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("low"),
    _text("high"),
)

simulator_block = sa.Table(
    "simulator_block",
    metadata,
    sa.Column("height", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    _text("parent"),
    _at("mined_at"),
)

simulator_transaction = sa.Table(
    "simulator_transaction",
    metadata,
    _id(),
    sa.Column("txid", sa.Text, nullable=False, unique=True),
    _text("spends"),
    # Null where it pays nobody we know: what a double spend does.
    _text("destination", null=True),
    _text("amount_atomic"),
    _at("first_seen_at"),
    _number("block_height", null=True),
    # What becomes of it ("replaced", "reorged"), and not before when.
    _text("fate", null=True),
    _at("fate_at", null=True),
    _at("dropped_at", null=True),
    sa.Index(None, "block_height"),
)

# Stretches of a chain that are to be read again: whoever watches the chain does it.
rescan = sa.Table(
    "rescan",
    metadata,
    _id(),
    _text("chain"),
    _number("first_height"),
    _number("next_height"),
    _number("last_height"),
    # The ids of the transfers that nobody had known.
    _text("found"),
    # Why it ended before its last block.
    _text("trouble", null=True),
    _at("created_at"),
    _at("done_at", null=True),
    sa.Index("ix_rescan_open", "chain", **_where("done_at IS NULL")),
)
