"""What a chain showed becomes facts: transactions, payments, and the inbox.

These functions run in the watcher's transaction and write facts only; the invoices that they touch
are listed as due, and `payments.reassess` says what the facts mean for them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from counterfoil.core import events, matching, money
from counterfoil.core.invoice import EventType
from counterfoil.core.ports import Block, Chain, Head, Mempool, Method, Mode, Transaction, Transfer
from counterfoil.db import inbox, invoices, loops, merchants, outbox, payments, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.quotes import StoredDestination
from counterfoil.services import rates
from counterfoil.services.context import Context
from counterfoil.services.crediting import Came, credit

# A node that has just started knows little; one that has been up this long and still answers
# "unknown" for that long has dropped the transaction.
_NODE_UP_LEAST_S = 3_600
_UNKNOWN_MS = 30 * 60_000
# A longer time than this between two looks counts as not watched.
_WATCH_GAP_MAX_MS = 30_000


@dataclass(slots=True)
class _Look:
    """One look at a chain: what it is recorded into and what it has touched so far."""

    connection: Connection
    context: Context
    chain: Chain
    now: int
    watched_at: int | None
    touched: set[int] = field(default_factory=set)


def _look(connection: Connection, context: Context, chain: Chain, now: int) -> _Look:
    (state,) = loops.list_chains(connection, [chain.name])
    return _Look(connection, context, chain, now, state.watched_at)


def start(connection: Connection, chain: Chain, blocks: Iterable[Block]) -> None:
    """Begin to watch a chain after some blocks; what they hold is history and never credited."""
    for block in blocks:
        loops.add_header(connection, chain.name, block)


def list_pending_txids(connection: Connection, chain: Chain) -> frozenset[str]:
    """Return our transactions that wait for a block and are not gone."""
    pending = payments.list_pending(connection, chain.name)
    return frozenset(known.txid for known in pending if known.gone_at is None)


def record_block(
    connection: Connection, context: Context, chain: Chain, block: Block, now: int
) -> None:
    """Record the block after the cursor, and move the cursor on to it."""
    look = _look(connection, context, chain, now)
    _add_block(look, block)
    _mark_due(look, block.height)


def record_reorg(
    connection: Connection,
    context: Context,
    chain: Chain,
    ancestor: int,
    branch: Sequence[Block],
    now: int,
) -> None:
    """Record that the blocks above `ancestor` were replaced by `branch`.

    Both in one go: a payment that is in both branches never looks unconfirmed to anybody.
    """
    look = _look(connection, context, chain, now)
    look.touched.update(payments.unconfirm_above(connection, chain.name, ancestor))
    loops.cut_headers(connection, chain.name, ancestor)
    for block in branch:
        _add_block(look, block)
    _mark_due(look, branch[-1].height)


def record_mempool(
    connection: Connection,
    context: Context,
    chain: Chain,
    mempool: Mempool,
    head: Head,
    *,
    looked_at: int,
    is_tip_fresh: bool,
    now: int,
) -> None:
    """Record what is unconfirmed, what was replaced, and what the node no longer knows."""
    look = _look(connection, context, chain, now)
    destinations = _ours(connection, mempool.fresh)
    for seen in mempool.fresh:
        _observe(look, seen, None, destinations)
    pending = payments.list_pending(connection, chain.name)
    _find_displaced(look, pending, mempool.fresh, listed=mempool.txids)
    for known in pending:
        if known.txid in mempool.txids:
            if known.gone_at is not None or known.unknown_since is not None:
                payments.set_place(connection, known.id, None)
                look.touched.add(known.id)
        elif known.gone_at is None and mempool.is_complete:
            _miss(look, known, head)
    _mark_due(look, None)
    if mempool.is_complete and is_tip_fresh:
        loops.save_watched(connection, chain.name, looked_at, _WATCH_GAP_MAX_MS)


def _miss(look: _Look, known: payments.StoredTransaction, head: Head) -> None:
    """Note that the node does not list a transaction; after long enough it is gone."""
    if known.unknown_since is None:
        payments.set_unknown_since(look.connection, known.id, look.now)
    elif head.node_up_s >= _NODE_UP_LEAST_S and look.now - known.unknown_since >= _UNKNOWN_MS:
        payments.set_gone(look.connection, known.id, look.now)
        look.touched.add(known.id)


def _add_block(look: _Look, block: Block) -> None:
    pending = payments.list_pending(look.connection, look.chain.name)
    destinations = _ours(look.connection, block.transactions)
    for seen in block.transactions:
        _observe(look, seen, block, destinations)
    mined = {seen.txid for seen in block.transactions}
    waiting = [known for known in pending if known.txid not in mined]
    _find_displaced(look, waiting, block.transactions, listed=frozenset())
    loops.add_header(look.connection, look.chain.name, block)


def _ours(
    connection: Connection, transactions: Iterable[Transaction]
) -> Mapping[bytes, StoredDestination]:
    """Return the destinations of ours that the transactions pay."""
    keys = {t.destination for seen in transactions for t in seen.transfers}
    return quotes.match_destinations(connection, keys)


def _observe(
    look: _Look,
    seen: Transaction,
    block: Block | None,
    destinations: Mapping[bytes, StoredDestination],
) -> None:
    """Record a transaction if it pays a destination of ours, and what it pays."""
    paying = [t for t in seen.transfers if t.amount_atomic > 0 and t.destination in destinations]
    if not paying:
        return
    known = payments.get_transaction(look.connection, look.chain.name, seen.txid)
    if known is None:
        arrived_at = _arrival(look, seen, block)
        transaction_id = payments.insert_transaction(
            look.connection, look.chain.name, seen, arrived_at, block
        )
    else:
        transaction_id, arrived_at = known.id, known.first_seen_at
        if block is not None or known.block_height is None:
            payments.set_place(look.connection, known.id, block)
    look.touched.add(transaction_id)
    for transfer in paying:
        transfer_id = payments.insert_transfer(
            look.connection, transaction_id, transfer, destinations[transfer.destination].id
        )
        if transfer_id is not None:
            owner = destinations[transfer.destination]
            _match(look, seen, transfer, transfer_id, owner, arrived_at)


def _arrival(look: _Look, seen: Transaction, block: Block | None) -> int:
    """Return when a transaction came: now, unless it was mined while nobody looked."""
    if seen.first_seen_at is not None:
        return seen.first_seen_at
    if block is None:
        return look.now
    return min(look.now, max(block.mined_at, look.watched_at or 0))


def _match(
    look: _Look,
    seen: Transaction,
    transfer: Transfer,
    transfer_id: int,
    owner: StoredDestination,
    arrived_at: int,
) -> None:
    """Credit a new transfer to the quote that it pays, or put it into the inbox."""
    connection = look.connection
    candidates = quotes.list_candidates(connection, owner, transfer)
    is_own = owner.key in seen.senders or payments.is_from_merchant(
        connection, look.chain.name, seen.spends, owner.merchant_id
    )
    found = matching.match(
        transfer, owner.kind, [c for _, c in candidates], arrived_at, is_own=is_own
    )
    method = look.context.methods.get(transfer.method)
    if isinstance(found, matching.Unmatched) or method is None:
        reason = found.reason if isinstance(found, matching.Unmatched) else None
        reason = reason or matching.Reason.OTHER_METHOD
        asking = {invoice_id for invoice_id, _ in candidates}
        known_rates = _rates(look, method, owner.merchant_id, asking, arrived_at)
        _to_inbox(look, seen, transfer, transfer_id, owner, reason, known_rates)
        return
    invoice_id = next(i for i, c in candidates if c.quote_id == found.quote_id)
    amount, currency = invoices.get_amount(connection, invoice_id)
    rate = rates.rate_of(connection, method, currency, arrived_at)
    asked = next(
        q for q in quotes.list_of_invoice(connection, invoice_id) if q.id == found.quote_id
    )
    came = Came(
        transfer_id, method, transfer.amount_atomic, arrived_at, rate.price if rate else None
    )
    credit(connection, look.context, invoice_id, amount, came, asked, look.now)


def _rates(
    look: _Look,
    method: Method | None,
    merchant_id: int,
    invoice_ids: Iterable[int],
    arrived_at: int,
) -> dict[str, Decimal]:
    """Return what a coin costs in the currencies in which it may be credited by hand some day."""
    if method is None:
        return {}
    currencies = {merchants.get(look.connection, merchant_id).currency}
    currencies |= {invoices.get_amount(look.connection, each)[1] for each in set(invoice_ids)}
    found = {
        currency: rates.rate_of(look.connection, method, currency, arrived_at)
        for currency in currencies
    }
    return {currency: rate.price for currency, rate in found.items() if rate is not None}


def _to_inbox(
    look: _Look,
    seen: Transaction,
    transfer: Transfer,
    transfer_id: int,
    owner: StoredDestination,
    reason: matching.Reason,
    known_rates: Mapping[str, Decimal],
) -> None:
    """Keep a transfer that pays no quote, and tell those who asked to be told."""
    method = look.context.methods.get(transfer.method)
    mode = method.mode if method else Mode.LIVE
    inbox.insert(
        look.connection, owner.merchant_id, mode, transfer_id, reason, known_rates, look.now
    )
    happening = events.Happening(EventType.INBOX, None, None)

    def body(place: outbox.Place) -> bytes:
        extra: dict[str, events.Value] = {
            "id": str(place.id),
            "seq": str(place.seq),
            "created_at": events.iso(place.id.at),
            "reason": reason.value,
            "payment": None if method is None else _describe(look, seen, transfer, method),
            "test": mode is Mode.TEST,
        }
        return events.body(happening, None, extra)

    new = outbox.NewEvent(owner.merchant_id, mode, None, EventType.INBOX, None, None, body)
    outbox.append(look.connection, new, look.now)


def _describe(
    look: _Look, seen: Transaction, transfer: Transfer, method: Method
) -> dict[str, str | None]:
    """Return what an event says of a transfer that is no invoice's; money is text."""
    return {
        "coin": method.symbol,
        "network": look.chain.name,
        "txid": seen.txid,
        "amount": money.format_coin(transfer.amount_atomic, method.decimals),
    }


def _find_displaced(
    look: _Look,
    pending: Iterable[payments.StoredTransaction],
    seen: Iterable[Transaction],
    listed: frozenset[str],
) -> None:
    """Note which of our unconfirmed transactions have lost an input to another transaction.

    `listed` are the transactions that the node still lists as unconfirmed: they have lost nothing.
    """
    spenders: defaultdict[str, list[payments.StoredTransaction]] = defaultdict(list)
    for known in pending:
        if known.gone_at is None and known.txid not in listed:
            for outpoint in known.spends:
                spenders[outpoint].append(known)
    if not spenders:
        return
    for transaction in seen:
        for outpoint in transaction.spends:
            for known in spenders.get(outpoint, ()):
                if known.txid != transaction.txid:
                    payments.set_gone(look.connection, known.id, look.now)
                    look.touched.add(known.id)


def _mark_due(look: _Look, height: int | None) -> None:
    """List the invoices whose facts have changed, those grown deep enough included."""
    due = payments.list_invoices_of(look.connection, look.touched) if look.touched else set()
    if height is not None:
        due |= payments.list_ripe(look.connection, look.chain.name, height)
    if due:
        invoices.mark_due_reassess(look.connection, sorted(due), look.chain.name)
