"""The tables, one schema for SQLite and PostgreSQL.

Times are BIGINT milliseconds UTC. Amounts are canonical decimal text and only ever compared for
equality in SQL: a SQLite INTEGER overflows at 9.2 ether. Lists and objects are JSON text, read and
written whole. `migrations/` makes these tables; a test holds the two together.
"""

import sqlalchemy as sa

from counterfoil.db import columns, schema_acts, schema_world
from counterfoil.db.columns import BIG as _BIG
from counterfoil.db.columns import at as _at
from counterfoil.db.columns import identity as _id
from counterfoil.db.columns import number as _number
from counterfoil.db.columns import ref as _ref
from counterfoil.db.columns import text as _text
from counterfoil.db.columns import where as _where

metadata = columns.metadata

merchant = sa.Table(
    "merchant",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("currency"),
    _text("redirect_origins"),
    _at("created_at"),
    # The end of the merchant's event log; whoever writes an event holds this row's lock.
    _number("seq_live"),
    _number("seq_test"),
    _at("last_event_at"),
    _number("last_event_number"),
    # Per cent of an invoice's amount that may be missing; copied into each when it is made.
    sa.Column("tolerance", sa.Text, nullable=False, server_default="0"),
    # What becomes of money that comes late.
    sa.Column("late_money", sa.Text, nullable=False, server_default="accept"),
)

# How deep a merchant wants the payments of a method to be, where not as deep as the chain says.
merchant_confirmations = sa.Table(
    "merchant_confirmations",
    metadata,
    _ref("merchant_id", "merchant", key=True),
    sa.Column("method", sa.Text, primary_key=True),
    _text("policy"),
)

api_key = sa.Table(
    "api_key",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("mode"),
    _text("scope"),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    # The first characters, enough for a person to tell keys apart and for nothing else.
    _text("hint"),
    _at("created_at"),
    _at("last_used_at", null=True),
    _at("revoked_at", null=True),
    sa.Index(None, "merchant_id"),
)

wallet = sa.Table(
    "wallet",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("method"),
    # "xpub": a fresh address for each invoice. "address": one address, told apart by amounts.
    _text("kind"),
    _text("value"),
    _number("next_index"),
    _at("created_at"),
    _at("removed_at", null=True),
    sa.Index(None, "merchant_id", "method"),
    # One extended key serves one merchant: two would hand out the same addresses.
    sa.Index("uq_wallet_xpub", "value", unique=True, **_where("kind = 'xpub'")),
)

destination = sa.Table(
    "destination",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    # Canonical script or key bytes in hex: one for all networks and spellings, one owner for ever.
    sa.Column("key", sa.Text, nullable=False, unique=True),
    _text("address"),
    _text("kind"),
    _ref("wallet_id", "wallet", null=True),
    _number("derivation_index", null=True),
    _at("created_at"),
    sa.Index(None, "wallet_id", "derivation_index"),
)

invoice = sa.Table(
    "invoice",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("mode"),
    sa.Column("share_token", sa.Text, nullable=False, unique=True),
    _text("type"),
    _at("created_at"),
    _at("updated_at"),
    _text("fiat_amount"),
    _text("fiat_currency"),
    _text("tolerance"),
    _text("status"),
    _text("conditions"),
    # What was told beside the status, and the sums as exact fractions: the saved `Standing`.
    _text("notices"),
    _text("seen"),
    _text("final"),
    _number("rev"),
    _at("due_at", null=True),
    _at("paid_at", null=True),
    _at("cancelled_at", null=True),
    _at("marked_at", null=True),
    _number("mark_id", null=True),
    _text("coin_symbol", null=True),
    _text("wallet_address", null=True),
    _text("coins", null=True),
    _text("memo"),
    _text("client_name"),
    _text("client_email"),
    _text("invoice_title"),
    _text("invoice_message"),
    _text("order_id"),
    _text("metadata"),
    _text("redirect_url", null=True),
    sa.Index(None, "merchant_id", "mode", "id"),
    sa.Index(None, "merchant_id", "order_id"),
    # The clock looks only at invoices that can still expire.
    sa.Index("ix_invoice_due", "due_at", **_where("status = 'Unpaid'")),
    # A transfer that is seen late looks for those that have expired too soon.
    sa.Index("ix_invoice_expired", "due_at", **_where("status = 'Expired'")),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("merchant_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("mode", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _text("body_digest"),
    _text("answer"),
    _at("created_at"),
    sa.Index(None, "created_at"),
)

quote = sa.Table(
    "quote",
    metadata,
    _id(),
    _ref("invoice_id", "invoice"),
    _text("method"),
    _text("chain"),
    _ref("destination_id", "destination"),
    _text("tag", null=True),
    _text("amount_atomic"),
    # What the amount above is worth, in the invoice's currency: what was due, or the least to send.
    _text("fiat"),
    _text("rate"),
    _text("rate_sources"),
    _at("rate_at"),
    _at("created_at"),
    _at("lock_until"),
    _at("released_at", null=True),
    # What was due where that was less than can be sent: `fiat` is what the least is worth then.
    _text("due", null=True),
    sa.Index(None, "invoice_id"),
    sa.Index(None, "created_at"),
    # A shared address is asked about a few amounts, of the thousands that it has had.
    sa.Index("ix_quote_amount", "destination_id", "method", "amount_atomic"),
)

# An amount that a quote holds on a shared address, until its quarantine is over.
amount_hold = sa.Table(
    "amount_hold",
    metadata,
    _ref("destination_id", "destination", key=True),
    # In whole coins as decimal text: tokens of different decimals on one address must differ too.
    sa.Column("amount", sa.Text, primary_key=True),
    _ref("quote_id", "quote"),
    # Quarantine counts time in which the chain was really watched, from this reading on.
    _number("watched_from_ms", null=True),
)

chain = sa.Table(
    "chain",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _text("network"),
    # Everything up to this time has been seen, if it was in a block or in the mempool then.
    _at("watched_at", null=True),
    # How long the chain has been watched in all; what quarantines count.
    _number("watched_ms"),
    # The node as it last answered, or why it did not.
    _text("trouble", null=True),
    _at("checked_at", null=True),
    _number("node_height", null=True),
    # After a restore: shared addresses ask for no new amounts before this reading of `watched_ms`.
    _number("amounts_from_ms", null=True),
    # Since when it is switched off for good: nothing waits any longer for what happened on it.
    _at("retired_at", null=True),
)

header = sa.Table(
    "header",
    metadata,
    sa.Column("chain", sa.Text, primary_key=True),
    sa.Column("height", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("hash"),
    _at("mined_at"),
)

chain_transaction = sa.Table(
    "chain_transaction",
    metadata,
    _id(),
    _text("chain"),
    _text("txid"),
    _text("spends"),
    _at("first_seen_at"),
    _number("block_height", null=True),
    _text("block_hash", null=True),
    # Since when the node has answered "unknown", and since when it counts as gone.
    _at("unknown_since", null=True),
    _at("gone_at", null=True),
    sa.Index("uq_chain_transaction_txid", "chain", "txid", unique=True),
    # Two columns that are always null, or SQLite, which counts no rows, would take the index below.
    sa.Index(
        "ix_chain_transaction_pending",
        "chain",
        "block_height",
        "gone_at",
        **_where("block_height IS NULL AND gone_at IS NULL"),
    ),
    sa.Index(None, "chain", "block_height"),
)

transfer = sa.Table(
    "transfer",
    metadata,
    _id(),
    _ref("transaction_id", "chain_transaction"),
    # The place within the transaction: vout, log index, instruction.
    _number("place"),
    _ref("destination_id", "destination"),
    _text("method"),
    _text("amount_atomic"),
    _text("tag", null=True),
    # What a coin cost when it came, by currency; kept where no payment keeps it.
    _text("rates", null=True),
    sa.Index("uq_transfer_place", "transaction_id", "place", unique=True),
    sa.Index("ix_transfer_amount", "destination_id", "method", "amount_atomic"),
)

payment = sa.Table(
    "payment",
    metadata,
    _id(),
    _ref("invoice_id", "invoice"),
    _ref("transfer_id", "transfer"),
    _ref("quote_id", "quote", null=True),
    _at("created_at"),
    _at("arrived_at"),
    # Fiat per whole coin on arrival; null where nobody knew it.
    _text("arrival_rate", null=True),
    # What it was worth then, as an exact fraction.
    _text("arrival_value", null=True),
    _number("depth_needed"),
    _at("final_at", null=True),
    _at("detached_at", null=True),
    # Who told the rate on arrival, and of when; the same of the moment when it was first final.
    _text("arrival_rate_sources", null=True),
    _text("final_rate", null=True),
    _text("final_value", null=True),
    _text("final_rate_sources", null=True),
    _at("arrival_rate_at", null=True),
    _at("final_rate_at", null=True),
    # What it is worth where no quote says it, as an exact fraction: credited by hand.
    _text("value", null=True),
    # Whether it settles nothing if it came late, because the merchant holds late money.
    sa.Column("is_held", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index(None, "invoice_id"),
    # A transfer is credited once at most.
    sa.Index("uq_payment_transfer", "transfer_id", unique=True, **_where("detached_at IS NULL")),
    # `final_at` leads though it is always null: SQLite, which counts no rows, would as soon read
    # the index above, which has all payments there ever were.
    sa.Index(
        "ix_payment_unsettled",
        "final_at",
        "transfer_id",
        **_where("final_at IS NULL AND detached_at IS NULL"),
    ),
)

# Transfers to an address of ours that pay no quote: nothing is dropped.
inbox = sa.Table(
    "inbox",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("mode"),
    sa.Column("transfer_id", _BIG, sa.ForeignKey("transfer.id"), nullable=False, unique=True),
    _text("reason"),
    _at("created_at"),
    # Since when the merchant wants to see it no more; it may still be credited.
    _at("ignored_at", null=True),
    sa.Index(None, "merchant_id", "id"),
    sa.Index(None, "created_at"),
)

# What is done by hand has a file of its own.
claim, refund, audit = schema_acts.claim, schema_acts.refund, schema_acts.audit
rescan = schema_world.rescan

# Invoices whose facts have changed since they were last assessed. A row for each chain: what one
# chain's watcher clears away must not be what another one has just noted.
due_reassess = sa.Table(
    "due_reassess",
    metadata,
    sa.Column("chain", sa.Text, primary_key=True),
    _ref("invoice_id", "invoice", key=True),
)

event = sa.Table(
    "event",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("mode"),
    _number("seq"),
    _at("at"),
    _number("number"),
    _ref("invoice_id", "invoice", null=True),
    _text("type"),
    _text("status", null=True),
    _number("payment_id", null=True),
    # The exact bytes that are signed and sent.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("uq_event_seq", "merchant_id", "mode", "seq", unique=True),
    sa.Index(None, "invoice_id"),
    sa.Index(None, "at"),
)

channel = sa.Table(
    "channel",
    metadata,
    _id(),
    _ref("merchant_id", "merchant"),
    _text("kind"),
    _text("target"),
    # Encrypted; see vault.py.
    _text("secret"),
    _text("events"),
    # The modes it hears: "live", "test", or both with a comma.
    _text("modes"),
    _at("created_at"),
    _at("failing_since", null=True),
    _at("paused_at", null=True),
    _text("pause_reason", null=True),
    sa.Index(None, "merchant_id"),
)

delivery = sa.Table(
    "delivery",
    metadata,
    _id(),
    _ref("event_id", "event"),
    _ref("channel_id", "channel"),
    # Order holds within one invoice; minus the event's id where that belongs to none.
    _number("invoice_id"),
    _text("state"),
    _number("attempts"),
    _at("first_at", null=True),
    _at("next_at"),
    _at("lease_until", null=True),
    # Grows with every claim: a courier that slept through its lease may not record over the next.
    _number("claim"),
    sa.Index("uq_delivery_event", "event_id", "channel_id", unique=True),
    # By channel: nobody who looks for what is due reads what waits at one that is paused.
    sa.Index("ix_delivery_channel_due", "channel_id", "next_at", "id", **_where("state = 'due'")),
    sa.Index("ix_delivery_order", "channel_id", "invoice_id", "id", **_where("state = 'due'")),
)

attempt = sa.Table(
    "attempt",
    metadata,
    _id(),
    _ref("delivery_id", "delivery"),
    _at("at"),
    _text("answer"),
    _number("status", null=True),
    _number("duration_ms"),
    _text("excerpt"),
    _text("error", null=True),
    sa.Index(None, "delivery_id"),
)

# Who may do what only one process may do, until when, and the how-manieth holder it is.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _text("holder"),
    _at("until"),
    _number("fence"),
)

# A text encrypted with the secret key: one that does not open it is the wrong key.
key_check = sa.Table(
    "key_check",
    metadata,
    _id(),
    _text("value"),
)

# SQLite would give the id of the last row, once that is deleted, to the next one.
for _each in metadata.tables.values():
    _each.dialect_options["sqlite"]["autoincrement"] = "id" in _each.c
