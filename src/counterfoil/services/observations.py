"""What a chain showed becomes facts: transactions, payments, and the inbox.

These functions run in the watcher's transaction and write facts only; the invoices that they touch
are listed as due, and `payments.reassess` says what the facts mean for them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from counterfoil.core import events, matching, money
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.invoice import EventType
from counterfoil.core.matching import Kind
from counterfoil.core.payment import counted
from counterfoil.core.ports import Block, Chain, Head, Mempool, Method, Mode, Transaction, Transfer
from counterfoil.core.quote import Rate
from counterfoil.db import confirmations, invoices, loops, outbox, payments, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.quotes import Asked, StoredDestination
from counterfoil.services import rates
from counterfoil.services.context import Context

# A node that has just started knows little; one that has been up this long and still answers
# "unknown" for that long has dropped the transaction.
_NODE_UP_LEAST_S = 3_600
_UNKNOWN_MS = 30 * 60_000
# A longer time than this between two looks counts as not watched.
_WATCH_GAP_MAX_MS = 30_000


@dataclass(slots=True)
class _Look:
    """One look at a chain: what it is recorded into and what it has touched so far.

    `touched` are transactions, `found` transfers that nobody knew.
    """

    connection: Connection
    context: Context
    chain: Chain
    now: int
    watched_at: int | None
    touched: set[int] = field(default_factory=set)
    found: list[int] = field(default_factory=list)
    _rates: dict[tuple[str, str, int], Rate | None] = field(default_factory=dict)

    def rate_of(self, method: Method, currency: str, arrived_at: int) -> Rate | None:
        """Return what a coin cost on arrival, looked up once for all that came together."""
        key = (method.id, currency, arrived_at)
        if key not in self._rates:
            self._rates[key] = rates.rate_of(self.connection, method, currency, arrived_at)
        return self._rates[key]


@dataclass(frozen=True, slots=True)
class _Received:
    """A transfer to a destination of ours, with its transaction and the time of its arrival."""

    seen: Transaction
    transfer: Transfer
    owner: StoredDestination
    arrived_at: int


@dataclass(frozen=True, slots=True)
class _Credit:
    """A new transfer and the quote that it pays."""

    transfer_id: int
    received: _Received
    asked: Asked
    method: Method


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


def record_again(
    connection: Connection, context: Context, chain: Chain, block: Block, now: int
) -> list[int]:
    """Record once more a block that the cursor has passed; return the transfers that were missed.

    Whoever should have seen those was blind, so they came when they were mined. What is known is
    left as it is: a transfer is matched once. A header that is missing is kept, since the way back
    after a reorg may lead over it.
    """
    cursor = loops.get_cursor(connection, chain.name)
    assert cursor is not None, "only what the cursor has passed is read again"  # noqa: S101  # a promise of our own
    look = _Look(connection, context, chain, now, watched_at=None)
    _read_block(look, block)
    loops.fill_header(connection, chain.name, block, cursor.height)
    _mark_due(look, cursor.height)
    return look.found


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
    _observe(look, mempool.fresh, None)
    pending = payments.list_pending(connection, chain.name)
    _find_displaced(look, pending, mempool.fresh, listed=mempool.txids)
    back = []
    for known in pending:
        if known.txid in mempool.txids:
            if known.gone_at is not None or known.unknown_since is not None:
                back.append(known.id)
        elif known.gone_at is None and mempool.is_complete:
            _miss(look, known, head)
    payments.set_place(connection, back, None)
    look.touched.update(back)
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
    _read_block(look, block)
    loops.add_header(look.connection, look.chain.name, block)


def _read_block(look: _Look, block: Block) -> None:
    pending = payments.list_pending(look.connection, look.chain.name)
    _observe(look, block.transactions, block)
    mined = {seen.txid for seen in block.transactions}
    waiting = [known for known in pending if known.txid not in mined]
    _find_displaced(look, waiting, block.transactions, listed=frozenset())


def _observe(look: _Look, transactions: Sequence[Transaction], block: Block | None) -> None:
    """Record the transactions that pay destinations of ours, and what they pay.

    All at once: the statements for a thousand payments are those for one.
    """
    keys = {t.destination for seen in transactions for t in seen.transfers if t.amount_atomic > 0}
    owners = quotes.match_destinations(look.connection, keys)
    paying = {
        seen.txid: seen
        for seen in transactions
        if any(t.destination in owners and t.amount_atomic > 0 for t in seen.transfers)
    }
    if not paying:
        return
    known = payments.find_transactions(look.connection, look.chain.name, paying)
    arrivals = {
        txid: known[txid].first_seen_at if txid in known else _arrival(look, seen, block)
        for txid, seen in paying.items()
    }
    fresh = [(seen, arrivals[txid]) for txid, seen in paying.items() if txid not in known]
    ids = {txid: stored.id for txid, stored in known.items()}
    ids |= payments.insert_transactions(look.connection, look.chain.name, fresh, block)
    moved = [s.id for s in known.values() if block is not None or s.block_height is None]
    payments.set_place(look.connection, moved, block)
    look.touched.update(ids.values())
    received = {
        (ids[txid], transfer.index): _Received(
            seen, transfer, owners[transfer.destination], arrivals[txid]
        )
        for txid, seen in paying.items()
        for transfer in seen.transfers
        if transfer.destination in owners and transfer.amount_atomic > 0
    }
    new = payments.insert_transfers(
        look.connection,
        [(place[0], each.transfer, each.owner.id) for place, each in received.items()],
    )
    look.found += new.values()
    _match(look, {new[place]: each for place, each in received.items() if place in new})


def _arrival(look: _Look, seen: Transaction, block: Block | None) -> int:
    """Return when a transaction came: now, unless it was mined while nobody looked."""
    if seen.first_seen_at is not None:
        return seen.first_seen_at
    if block is None:
        return look.now
    return min(look.now, max(block.mined_at, look.watched_at or 0))


def _match(look: _Look, received: Mapping[int, _Received]) -> None:
    """Credit new transfers, by their ids, to the quotes that they pay; keep the others."""
    connection = look.connection
    exclusive = {each.owner.id for each in received.values() if each.owner.kind is Kind.EXCLUSIVE}
    asked_at = quotes.list_asked(connection, exclusive)
    spent = {outpoint for each in received.values() for outpoint in each.seen.spends}
    merchants = payments.list_owners(connection, look.chain.name, spent)
    paying: list[_Credit] = []
    for transfer_id, each in received.items():
        owner, transfer = each.owner, each.transfer
        asked = (
            asked_at[owner.id]
            if owner.id in exclusive
            else quotes.list_asked_of_shared(connection, owner.id, transfer)
        )
        is_own = owner.key in each.seen.senders or any(
            merchants.get(outpoint) == owner.merchant_id for outpoint in each.seen.spends
        )
        candidates = [one.candidate for one in asked]
        found = matching.match(transfer, owner.kind, candidates, each.arrived_at, is_own=is_own)
        method = look.context.methods.get(transfer.method)
        if isinstance(found, matching.Unmatched):
            _to_inbox(look, each, transfer_id, found.reason)
        elif method is None:
            _to_inbox(look, each, transfer_id, matching.Reason.OTHER_METHOD)
        else:
            paid = next(one for one in asked if one.candidate.quote_id == found.quote_id)
            paying.append(_Credit(transfer_id, each, paid, method))
    _credit(look, paying)


def _credit(look: _Look, paying: Sequence[_Credit]) -> None:
    """Credit transfers to the quotes that they pay."""
    merchants = {each.received.owner.merchant_id for each in paying}
    policies = confirmations.list_of_merchants(look.connection, merchants) if merchants else {}
    while paying:
        # One to an invoice at a time: the depth that the next one needs depends on those before.
        first: dict[int, _Credit] = {}
        for each in paying:
            first.setdefault(each.asked.invoice_id, each)
        known = payments.list_credited_of(look.connection, first, {})
        new = [_payment(look, each, known.get(i, []), policies) for i, each in first.items()]
        payments.insert_payments(look.connection, new, look.now)
        paying = [each for each in paying if first[each.asked.invoice_id] is not each]


def _payment(
    look: _Look,
    each: _Credit,
    known: Iterable[payments.Credited],
    policies: Mapping[tuple[int, str], Confirmations],
) -> payments.NewPayment:
    """Return what a transfer is to its invoice, `known` being the payments that came before it.

    It must be as deep as its merchant's policy asks, or the chain's where there is none.
    """
    asked, method, received = each.asked, each.method, each.received
    amount_atomic = received.transfer.amount_atomic
    rate = look.rate_of(method, asked.currency, received.arrived_at)
    coins = _coins_at_stake(asked, known, amount_atomic, method.decimals)
    policy = policies.get((received.owner.merchant_id, method.id), look.chain.confirmations)
    return payments.NewPayment(
        invoice_id=asked.invoice_id,
        transfer_id=each.transfer_id,
        quote_id=asked.candidate.quote_id,
        arrived_at=received.arrived_at,
        arrival=rates.worth_at(rate, method, amount_atomic),
        depth_needed=policy.needed(coins),
    )


def _coins_at_stake(
    asked: Asked, known: Iterable[payments.Credited], received_atomic: int, decimals: int
) -> Fraction:
    """Return what a reorg could take, in whole coins: the invoice, or what came if that is more.

    Fiat is turned into coin at the price of the payment's own quote, so no rate is needed now.
    """
    fiat_per_atomic = Fraction(asked.fiat) / asked.candidate.amount_atomic
    seen = received_atomic * fiat_per_atomic
    for earlier in counted([item.payment for item in known]):
        seen += earlier.quoted_value
    return Fraction(max(Fraction(asked.amount), seen) / fiat_per_atomic, 10**decimals)


def _to_inbox(look: _Look, each: _Received, transfer_id: int, reason: matching.Reason) -> None:
    """Keep a transfer that pays no quote, and tell those who asked to be told."""
    method = look.context.methods.get(each.transfer.method)
    mode = method.mode if method else Mode.LIVE
    merchant_id = each.owner.merchant_id
    payments.insert_inbox(look.connection, merchant_id, mode, transfer_id, reason, look.now)
    happening = events.Happening(EventType.INBOX, None, None)

    def body(place: outbox.Place) -> bytes:
        extra: dict[str, events.Value] = {
            "id": str(place.id),
            "seq": str(place.seq),
            "created_at": events.iso(place.id.at),
            "reason": reason.value,
            "payment": None if method is None else _describe(look, each, method),
            "test": mode is Mode.TEST,
        }
        return events.body(happening, None, extra)

    new = outbox.NewEvent(merchant_id, mode, None, EventType.INBOX, None, None, body)
    outbox.append(look.connection, new, look.now)


def _describe(look: _Look, each: _Received, method: Method) -> dict[str, str | None]:
    """Return what an event says of a transfer that is no invoice's; money is text."""
    return {
        "coin": method.symbol,
        "network": look.chain.name,
        "txid": each.seen.txid,
        "amount": money.format_coin(each.transfer.amount_atomic, method.decimals),
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
